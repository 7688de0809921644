//! Answers of receivers as bytes on a connection: what the daemon makes of each, and how long it
//! takes.

use std::time::Duration;

use imagestore_agent::catalog::Language;
use imagestore_agent::delivery::{DeliveryOutcome, ReceiverReply, classify};
use imagestore_agent::management::{CallbackClient, RequestTimeouts};
use imagestore_agent::model::NodeId;
use imagestore_agent::settings::{CallbackSettings, FilePolicy, Settings};
use imagestore_agent::wire::{EventFormat, HeartbeatWriter, WebhookEvent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::fixtures::{NOW, notice};

/// The whole time of a request. A test fails if an answer with a status takes half of it.
const WHOLE: Duration = Duration::from_secs(20);

/// A receiver that answers each request with the same bytes.
struct RawReceiver {
    url: String,
    _tasks: JoinSet<()>,
}

impl RawReceiver {
    /// Starts a receiver that leaves each connection open, or closes it.
    async fn start(answer: &'static [u8], is_left_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                read_request(&mut tcp).await;
                let _ = tcp.write_all(answer).await;
                if is_left_open {
                    open.push(tcp);
                }
            }
        });
        Self { url, _tasks: tasks }
    }
}

/// Returns an answer with as many headers as the daemon accepts.
fn many_headers() -> &'static [u8] {
    let headers: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n").leak().as_bytes()
}

async fn read_request(tcp: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    tcp.read_exact(&mut body).await.unwrap();
}

fn transition() -> WebhookEvent {
    WebhookEvent::from_notice(
        &notice(1, 1),
        NodeId::from_u128(7),
        EventFormat::CloudEvents,
        Language::English,
    )
    .remove(0)
}

/// Posts an event, and checks that a body that is left open does not delay the result.
async fn post(url: &str, event: &WebhookEvent) -> (ReceiverReply, Vec<u8>) {
    let settings = CallbackSettings { urls: vec![url.to_owned()], ..Settings::built_in().callback };
    let limits = RequestTimeouts { total: WHOLE, ..RequestTimeouts::default() };
    let client =
        CallbackClient::new(&settings, &FilePolicy::of_process(), limits).unwrap().unwrap();
    let start = Instant::now();
    let reply = client.post_event(0, event, NOW).await;
    let took = start.elapsed();
    assert!(took < WHOLE / 2, "{took:?}: {reply:?}");
    reply
}

const OPEN: bool = true;
const CLOSED: bool = false;

#[tokio::test]
async fn the_status_of_an_answer_counts_whatever_its_body_is() {
    use DeliveryOutcome::{Delivered, Rejected, Retry};
    let again = Retry(Duration::ZERO);
    for (answer, is_left_open, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\nand no end"[..], OPEN, Delivered),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", OPEN, Delivered),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", CLOSED, Delivered),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n", OPEN, Delivered),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", CLOSED, Delivered),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
            OPEN,
            Delivered,
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", OPEN, Delivered),
        // RFC 9112 section 5.2: a client takes a folded header.
        (b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\tc\r\ncontent-length: 0\r\n\r\n", OPEN, Delivered),
        (b"HTTP/1.1 503 Busy\r\nx: a\r\n b\r\nretry-after:\r\n 60\r\n\r\n", OPEN, Retry(Duration::from_secs(60))),
        (b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length : 0\r\n\r\n", OPEN, Delivered),
        (b"HTTP/1.1 200 OK\r\nno header at all\r\nx y: z\r\ncontent-length: 0\r\n\r\n", OPEN, Delivered),
        (many_headers(), OPEN, Delivered),
        (b"HTTP/1.1 204 No Content\r\n\r\nno body is due", OPEN, Delivered),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nbody", CLOSED, Delivered),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nbody", OPEN, Rejected),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", OPEN, Rejected),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            OPEN,
            Delivered,
        ),
        (b"HTTP/1.1 503 Busy\r\nretry-after: -1\r\n\r\nwait", OPEN, again),
        (b"HTTP/1.1 503 Busy\r\nretry-after: Thu Jan  1 00:00:00 1970\r\n\r\n", OPEN, again),
        (
            b"HTTP/1.1 503 Busy\r\nretry-after: 1000000000000000000000000000000\r\n\r\n",
            OPEN,
            Retry(Duration::from_secs(300)),
        ),
        (
            b"HTTP/1.1 429 Slow\r\nretry-after: Tuesday, 14-Nov-23 22:14:20 GMT\r\n\r\n",
            OPEN,
            Retry(Duration::from_secs(60)),
        ),
        (
            b"HTTP/1.1 429 Slow\r\nretry-after: Tue Nov 14 22:14:20 2023\r\n\r\n",
            OPEN,
            Retry(Duration::from_secs(60)),
        ),
    ] {
        let receiver = RawReceiver::start(answer, is_left_open).await;
        let (reply, body) = post(&receiver.url, &transition()).await;
        let text = String::from_utf8_lossy(answer);
        assert!(matches!(reply, ReceiverReply::Response { .. }), "{text}: {reply}");
        assert_eq!(classify(&reply, false), expected, "{text}");
        assert!(body.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_no_answer_and_is_named() {
    let long: &'static str =
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)).leak();
    for answer in [&b"<html>hello</html>\r\n\r\n"[..], b"", b"HTTP/1.1 200", long.as_bytes()] {
        let receiver = RawReceiver::start(answer, CLOSED).await;
        let (reply, _) = post(&receiver.url, &transition()).await;
        let ReceiverReply::NoResponse(why) = &reply else { panic!("{reply}") };
        assert!(!why.is_empty() && why.len() < 200, "{why}");
        assert_eq!(classify(&reply, false), DeliveryOutcome::Retry(Duration::ZERO));
    }
}

#[tokio::test]
async fn a_compressed_refusal_is_named_and_not_quoted() {
    let answer =
        b"HTTP/1.1 400 Bad\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let receiver = RawReceiver::start(answer, OPEN).await;
    let (reply, _) = post(&receiver.url, &transition()).await;
    assert_eq!(reply.to_string(), "status 400: body with the content coding gzip, not shown");
}

#[tokio::test]
async fn the_answer_to_a_heartbeat_counts_although_it_is_left_open() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\n{\"resync\":[]}\r\n";
    let receiver = RawReceiver::start(answer, OPEN).await;
    let heartbeat = HeartbeatWriter::new(NodeId::from_u128(7), NOW, 1).finish();
    let (reply, body) = post(&receiver.url, &heartbeat).await;
    assert_eq!(reply.to_string(), "status 200");
    assert_eq!(body, b"{\"resync\":[]}");
}
