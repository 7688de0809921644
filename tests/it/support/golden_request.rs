//! Requests as the SDKs of ZStack send them, byte for byte but for their values
//! (`tests/it/http/golden/`).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;

use super::http_server::{HttpResponse, exchange, with_timeout};

/// The stores of the recorded requests.
const RECORDED_STORES: [&str; 2] =
    ["20f4094e42a64213b9b992b0eb02b488", "1ecebf211fab419293ac6630493ef25e"];
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

    /// Sends the request, and polls the job if the answer names one, as the SDKs do.
    pub(crate) async fn send_to(&self, address: SocketAddr) -> HttpResponse {
        let mut answer = Self::exchange_once(&self.bytes(address), address).await;
        while answer.status == 202 {
            let location = answer.body["location"].as_str().map(str::to_owned);
            let job = self.job_path(location);
            let poll = format!(
                "GET {job} HTTP/1.1\r\nHost: {address}\r\nAuthorization: OAuth null\r\n\r\n"
            );
            answer = Self::exchange_once(poll.as_bytes(), address).await;
        }
        answer
    }

    fn job_path(&self, location: Option<String>) -> String {
        match location {
            Some(location) => location[location.find("/zstack/v1/api-jobs/").unwrap()..].to_owned(),
            None => {
                let job = self.head.iter().find_map(|line| line.strip_prefix("X-Job-UUID: "));
                format!("/zstack/v1/api-jobs/{}", job.unwrap())
            }
        }
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
