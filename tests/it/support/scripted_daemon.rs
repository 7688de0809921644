//! A daemon that gives prepared responses to the requests of a client command.

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
    /// Gives this response to every request.
    pub(crate) fn answering(status: u16, body: &Value) -> Self {
        Self::answering_in_turn(&[(status, "", body)])
    }

    /// Gives these responses in turn, and the last one to every later request. Each has a status,
    /// lines of headers, and a body. A text is the body of a stream as it is.
    pub(crate) fn answering_in_turn(responses: &[(u16, &str, &Value)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let responses: Vec<Arc<String>> = responses.iter().map(response).map(Arc::new).collect();
        thread::spawn(move || {
            let last = Arc::clone(responses.last().unwrap());
            let mut responses = responses.into_iter().chain(std::iter::repeat(last));
            for stream in listener.incoming().map_while(Result::ok) {
                let response = responses.next().unwrap();
                thread::spawn(move || answer(stream, &response));
            }
        });
        Self { url }
    }
}

fn response((status, headers, body): &(u16, &str, &Value)) -> String {
    let body = match body {
        Value::String(text) if headers.contains("text/event-stream") => text.clone(),
        body => body.to_string(),
    };
    let kind = match headers.contains("Content-Type:") {
        true => "",
        false => "Content-Type: application/json\r\n",
    };
    format!(
        "HTTP/1.1 {status} Scripted\r\n{kind}{headers}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
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
