//! Prometheus and Alertmanager as processes on loopback, and what they scrape.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::programs::program;
use crate::support::agent::TEST_TIMEOUT;

/// A server that runs until it is dropped.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that logs the address on which it listens, and then that it is ready.
    fn start(mut command: Command, ready: &str, dir: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let mut address = None;
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("{command:?} has ended:\n{log}") };
            if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
                address = Some(rest.trim().parse().unwrap());
            }
            if let Some(address) = address.filter(|_| line.contains(ready)) {
                break address;
            }
            log += &format!("{line}\n");
        };
        // A full pipe would stop the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _dir: dir }
    }

    /// Starts Prometheus with a configuration. `rules` is the text of its rules, if it has any.
    pub(super) fn prometheus(configuration: &str, rules: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut text = configuration.to_owned();
        if let Some(rules) = rules {
            let file = dir.path().join("rules.yml");
            fs::write(&file, rules).unwrap();
            text += &format!("rule_files: [{:?}]\n", file);
        }
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program("prometheus"));
        command.arg("--web.listen-address=127.0.0.1:0");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        Self::start(command, "Server is ready", dir)
    }

    /// Starts Alertmanager with a configuration. As root only: Debian's program reads a template
    /// below `/usr/share`, and finds the unpacked one there in a mount namespace of its own.
    pub(super) fn alertmanager(configuration: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "mount -t overlay overlay -o lowerdir={}:/usr/share /usr/share && exec \"$0\" \"$@\"",
            program("../share").canonicalize().unwrap().display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        command.arg(program("prometheus-alertmanager"));
        command.args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.path={}", dir.path().join("data").display()));
        Self::start(command, "Listening on", dir)
    }

    /// Returns the answer to a request of the API: its `data`, or its error.
    pub(super) fn ask(&self, path: &str) -> Result<Value, String> {
        let (status, body) = get(self.address, path);
        let body: Value = serde_json::from_str(&body).map_err(|_| format!("{status}: {body}"))?;
        match status {
            200 => Ok(body),
            _ => Err(body.to_string()),
        }
    }

    /// Returns the series of a query.
    pub(super) fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = self.ask(&format!("/api/v1/query?query={query}"))?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a query has a series.
    pub(super) fn until_found(&self, query: &str) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.query(query).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "timeout: {query}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Time between two questions to a server for what it cannot announce.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Sends a GET request. Returns the status and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    // HTTP 1.0, so that the answer is neither in chunks nor kept open.
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Serves a text at every path, until the test ends. Returns the address.
pub(super) fn serve_text(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&connection);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                        Connection: close\r\n\r\n";
            let _ = (&connection).write_all(format!("{head}{text}").as_bytes());
        }
    });
    address
}
