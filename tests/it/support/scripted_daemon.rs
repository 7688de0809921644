//! A daemon that gives one response to every request of a client command.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

/// The daemon. Its thread ends with the test process.
pub(crate) struct ScriptedDaemon {
    pub(crate) url: String,
}

impl ScriptedDaemon {
    pub(crate) fn answering(status: u16, body: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let body = body.to_string();
        let response = format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let response = Arc::new(response);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let response = Arc::clone(&response);
                thread::spawn(move || answer(stream, &response));
            }
        });
        Self { url }
    }
}

fn answer(stream: TcpStream, response: &str) {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_ok() {
        // A client that has ended does not wait for its response.
        let _ = (&stream).write_all(response.as_bytes());
    }
}
