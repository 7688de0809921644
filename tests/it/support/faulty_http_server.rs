//! An HTTP receiver that resets connections or never answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The reaction to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Answers 200 and keeps the connection.
    Accepts,
    /// Resets the connection.
    Resets,
    /// Never answers on this connection, as a network that drops packets.
    NeverAnswers,
}

/// Chooses an action by the number of the connection and that of the request on it, both from 0.
type Script = fn(usize, usize) -> Action;

/// A received request: the number of its connection, and its head in lower case.
pub(crate) struct ReceivedRequest {
    pub(crate) connection: usize,
    pub(crate) head: String,
}

/// The receiver, on a free port of 127.0.0.1. It stops when dropped.
pub(crate) struct FaultyHttpServer {
    pub(crate) address: SocketAddr,
    received: mpsc::UnboundedReceiver<ReceivedRequest>,
    _tasks: JoinSet<()>,
}

impl FaultyHttpServer {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                connections.spawn(async move { serve(tcp, connection, script, sender).await });
            }
        });
        Self { address, received, _tasks: tasks }
    }

    /// Waits for the next request.
    pub(crate) async fn next(&mut self) -> ReceivedRequest {
        timeout(TEST_TIMEOUT, self.received.recv()).await.expect("no request came").unwrap()
    }
}

async fn serve(
    mut tcp: TcpStream,
    connection: usize,
    script: Script,
    sender: mpsc::UnboundedSender<ReceivedRequest>,
) {
    for request in 0.. {
        let Some(head) = read(&mut tcp).await else { return };
        let _ = sender.send(ReceivedRequest { connection, head });
        match script(connection, request) {
            Action::Accepts => {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                tcp.write_all(answer).await.unwrap();
            }
            Action::Resets => {
                tcp.set_zero_linger().unwrap();
                return;
            }
            Action::NeverAnswers => std::future::pending().await,
        }
    }
}

/// Reads one request with a `Content-Length`. Returns `None` at the end of the connection.
async fn read(tcp: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    tcp.read_exact(&mut body).await.ok()?;
    Some(head)
}
