//! Requests as the SDKs of ZStack send them, byte for byte but for their values
//! (`tests/it/http/golden/`).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;

use super::http_server::{HttpResponse, exchange, with_timeout};

/// The stores of the recorded requests.
const RECORDED_STORES: [&str; 3] = [
    "20f4094e42a64213b9b992b0eb02b488",
    "1ecebf211fab419293ac6630493ef25e",
    "4b4448ff5cab4f06a275f6bdf437f88a",
];
/// The zone of the recorded requests.
pub(crate) const RECORDED_ZONE: &str = "c0a80101000040008000000000000001";

/// A recorded request.
#[derive(Clone)]
pub(crate) struct GoldenRequest {
    head: Vec<String>,
    body: String,
}

impl GoldenRequest {
    /// Reads the request in the file `name` of `tests/it/http/golden/`, for the session `token`. It
    /// gets a job uuid of its own, as each call of a client does.
    pub(crate) fn read(name: &str, token: &str) -> Self {
        static JOBS: AtomicU64 = AtomicU64::new(1);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/http/golden");
        let text = std::fs::read_to_string(folder.join(format!("{name}.http"))).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let job = u128::from(JOBS.fetch_add(1, Ordering::Relaxed)) | (0x4000_8000 << 64);
        let head = head.lines().filter(|line| !line.starts_with('#')).map(|line| {
            match line.starts_with("X-Job-UUID: ") {
                true => format!("X-Job-UUID: {job:032x}"),
                false => line.replace("TOKEN", token),
            }
        });
        Self { head: head.collect(), body: body.trim_end().to_owned() }
    }

    /// Replaces the recorded store by another one.
    pub(crate) fn of_store(self, uuid: &str) -> Self {
        RECORDED_STORES.iter().fold(self, |request, recorded| request.replacing(recorded, uuid))
    }

    /// Replaces a text in the request line and in the body.
    pub(crate) fn replacing(mut self, text: &str, by: &str) -> Self {
        self.head[0] = self.head[0].replace(text, by);
        self.body = self.body.replace(text, by);
        self
    }

    /// Returns the method and the path with its query.
    pub(crate) fn target(&self) -> (&str, &str) {
        let mut words = self.head[0].split(' ');
        (words.next().unwrap(), words.next().unwrap())
    }

    /// Returns the value of a header, or `None` if the request has no such header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Replaces the value of a header.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        let is_named = |line: &&mut String| line.starts_with(&format!("{name}: "));
        *self.head.iter_mut().find(is_named).unwrap() = format!("{name}: {value}");
        self
    }

    /// Sends the request, and returns the answer itself.
    pub(crate) async fn send_once_to(&self, address: SocketAddr) -> HttpResponse {
        Self::exchange_once(&self.bytes(address), address).await
    }

    /// Sends the request, and polls the job if the answer names one, as the SDKs do.
    pub(crate) async fn send_to(&self, address: SocketAddr) -> HttpResponse {
        let answer = self.send_once_to(address).await;
        match answer.status {
            202 => Self::until_ended(&answer, address).await,
            _ => answer,
        }
    }

    /// Polls the job that an answer refers to until it has ended.
    pub(crate) async fn until_ended(answer: &HttpResponse, address: SocketAddr) -> HttpResponse {
        loop {
            let polled = Self::poll(answer, address).await;
            if polled.status != 202 {
                return polled;
            }
        }
    }

    /// Polls the job that an answer refers to, as the SDK for Java does with an access key.
    pub(crate) async fn poll(answer: &HttpResponse, address: SocketAddr) -> HttpResponse {
        let location = answer.body["location"].as_str().unwrap();
        let path = &location[location.find("/zstack/v1/api-jobs/").unwrap()..];
        let poll =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: OAuth null\r\n\r\n");
        Self::exchange_once(poll.as_bytes(), address).await
    }

    async fn exchange_once(bytes: &[u8], address: SocketAddr) -> HttpResponse {
        exchange(with_timeout(TcpStream::connect(address)).await.unwrap(), bytes).await
    }

    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let lines = self.head.iter().map(|line| match line.split_once(": ") {
            Some(("Host", _)) => format!("Host: {address}\r\n"),
            Some(("Content-Length", _)) => format!("Content-Length: {}\r\n", self.body.len()),
            _ => format!("{line}\r\n"),
        });
        format!("{}\r\n{}", lines.collect::<String>(), self.body).into_bytes()
    }
}
