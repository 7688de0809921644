//! Clients that hold connections: deadlines, limits, and a stop that breaks no request.

use std::net::TcpListener;
use std::time::Duration;

use imagestore_agent::http::{BindError, HttpServer, InheritedSockets, ServerLimits};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::http_server::*;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(60);
const LIST: &str = "GET /zstack/v1/backup-storage/image-store";

fn line(store: imagestore_agent::model::StoreUuid) -> String {
    format!("PUT /zstack/v1/backup-storage/image-store/{store}/actions")
}

fn reconnect(store: imagestore_agent::model::StoreUuid) -> Vec<u8> {
    HttpRequest::new(&line(store), r#"{"params":{}}"#).bytes()
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_408() {
    let server = TestServer::with(
        ServerLimits { body_read_timeout: SHORT, ..ServerLimits::default() },
        LONG,
    );
    let headers = "Content-Length: 100\r\n";
    let mut bytes = HttpRequest { headers, ..HttpRequest::new(&line(GOOD), "") }.bytes();
    bytes.extend_from_slice(br#"{"params""#);
    let mut stream = server.connect().await;
    let answer = exchange(&mut stream, &bytes).await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert_eq!(answer.error("/opaque/milliseconds"), 100);
    // Without it, OkHttp repeats the request by itself.
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(closed(&mut stream).await.is_empty());
    assert!(server.stores.tags().is_empty());
}

#[tokio::test]
async fn large_bodies_wait_for_their_turn_and_delay_no_others() {
    let large = format!(r#"{{"params":{{}}}}{}"#, " ".repeat(100 << 10));
    let limits = |max_large_bodies| ServerLimits { max_large_bodies, ..ServerLimits::default() };
    let server = TestServer::with(limits(1), LONG);
    // This client pauses within its body.
    let (path, headers) = (line(GOOD), format!("Content-Length: {}\r\n", 2 * large.len()));
    let head = HttpRequest { headers: &headers, ..HttpRequest::new(&path, "") }.bytes();
    let mut paused = server.connect().await;
    paused.write_all(&[head.as_slice(), large.as_bytes()].concat()).await.unwrap();
    let waiting = server.ask(HttpRequest::new(&path, &large));
    let others = async {
        let small = exchange(server.connect().await, &reconnect(GOOD)).await.status;
        let paused = exchange(&mut paused, " ".repeat(large.len()).as_bytes()).await.status;
        (small, paused)
    };
    let (waiting, (small, paused)) = tokio::join!(waiting, others);
    assert_eq!((waiting.status, small, paused), (200, 200, 200));

    let server = TestServer::with(limits(0), LONG);
    let answer = server.ask(HttpRequest::new(&line(GOOD), &large)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.error("/cause/opaque/reason"), "agent_busy");
    assert_eq!(server.stores.tags().len(), 0);
    assert_eq!(exchange(server.connect().await, &reconnect(GOOD)).await.status, 200);
    // A path without a session has no large body, so that it takes no turn of others.
    for path in ["PUT /zstack/v1/accounts/login", "GET /healthz"] {
        let request = HttpRequest { token: None, ..HttpRequest::new(path, &large) };
        assert_eq!(server.ask(request).await.status, 413, "{path}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_and_an_idle_connection_are_closed() {
    let server = TestServer::with(
        ServerLimits { header_read_timeout: SHORT, ..ServerLimits::default() },
        LONG,
    );
    let mut silent = server.connect().await;
    assert!(closed(&mut silent).await.is_empty());
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").await.unwrap();
    assert!(closed(&mut slow).await.is_empty());
    let mut idle = server.connect().await;
    let request = HttpRequest::new("GET /healthz", "").bytes();
    assert_eq!(exchange(&mut idle, &request).await.status, 200);
    assert!(closed(&mut idle).await.is_empty());
}

#[tokio::test]
async fn the_time_an_attempt_takes_counts_towards_no_deadline() {
    let limits = ServerLimits {
        header_read_timeout: SHORT,
        body_read_timeout: SHORT,
        ..ServerLimits::default()
    };
    let server = TestServer::with(limits, LONG);
    let mut connection = server.connect().await;
    connection.write_all(&reconnect(HELD)).await.unwrap();
    server.stores.until_begun().await;
    // A connection that was opened later reaches its deadline first.
    let mut silent = server.connect().await;
    assert!(closed(&mut silent).await.is_empty());
    server.stores.release();
    assert_eq!(read_answer(&mut connection).await.status, 200);
}

#[tokio::test]
async fn a_client_that_reads_no_responses_loses_its_connection_and_its_permit() {
    let limits = ServerLimits {
        max_trusted_connections: 1,
        max_local_connections: 1,
        write_timeout: SHORT,
        ..ServerLimits::default()
    };
    let server = TestServer::with(limits, LONG);
    let request = HttpRequest::new(LIST, "").bytes();
    // Sends requests without reading until the server, which cannot answer, closes.
    async fn ask_on(mut stream: impl tokio::io::AsyncWrite + Unpin, request: &[u8]) {
        let many = request.repeat(1000);
        while stream.write_all(&many).await.is_ok() {}
    }
    with_timeout(ask_on(server.connect_local().await, &request)).await;
    with_timeout(ask_on(server.connect().await, &request)).await;
    assert_eq!(status_of(&server, &request).await, 200);
    assert_eq!(exchange(server.connect_local().await, &request).await.status, 200);
}

#[tokio::test]
async fn what_is_no_request_is_refused_by_the_protocol_without_a_body_or_an_id() {
    let server = TestServer::start();
    let endless = |start: &str| start.to_owned() + &"x".repeat(100_000);
    for (sent, status) in [
        (endless("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "), 431),
        (endless("GET /"), 431),
        ("this is no HTTP\r\n\r\n".to_owned(), 400),
    ] {
        let answer = exchange(server.connect().await, sent.as_bytes()).await;
        assert_eq!((answer.status, answer.header("content-length")), (status, Some("0")));
        assert_eq!(answer.header("x-request-id"), None);
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_rejected_until_one_ends() {
    let server = TestServer::with(
        ServerLimits { max_trusted_connections: 2, ..ServerLimits::default() },
        LONG,
    );
    let request = HttpRequest::new(LIST, "").bytes();
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    assert_eq!(exchange(&mut one, &request).await.status, 200);
    assert_eq!(exchange(&mut two, &request).await.status, 200);
    let mut over = server.connect().await;
    let answer = exchange(&mut over, &request).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.error("/cause/opaque/reason"), "agent_busy");
    assert_eq!(answer.error("/cause/opaque/connections"), 2);
    // A health check needs no session and none of these permits.
    let health = HttpRequest::new("GET /healthz", "").bytes();
    assert_eq!(exchange(&mut over, &health).await.status, 200);
    // The operator's permits are separate.
    assert_eq!(exchange(server.connect_local().await, &request).await.status, 200);
    // The server closes it, so its permit is free once the client sees the end.
    let last = HttpRequest { headers: "Connection: close\r\n", ..HttpRequest::new(LIST, "") };
    assert_eq!(exchange(&mut one, &last.bytes()).await.status, 200);
    closed(&mut one).await;
    assert_eq!(status_of(&server, &request).await, 200);
}

#[tokio::test]
async fn in_a_crowd_each_answer_is_the_last_of_its_connection() {
    let server = TestServer::with(
        ServerLimits { max_keep_alive_connections: 2, ..ServerLimits::default() },
        LONG,
    );
    let request = HttpRequest::new("GET /healthz", "").bytes();
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    assert_eq!(exchange(&mut one, &request).await.header("connection"), None);
    assert_eq!(exchange(&mut two, &request).await.header("connection"), None);
    let mut three = server.connect().await;
    let answer = exchange(&mut three, &request).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(closed(&mut three).await.is_empty());
    drop(two);
    // Their permits are free a moment later.
    let kept_alive = async {
        while exchange(&mut one, &request).await.header("connection").is_some() {
            one = server.connect().await;
        }
    };
    with_timeout(kept_alive).await;
    // The permits of the Unix socket are separate.
    assert_eq!(exchange(server.connect_local().await, &request).await.header("connection"), None);
}

/// Repeats the request until a permit is free: the server returns it a moment after the client sees
/// the end of the connection.
async fn status_of(server: &TestServer, request: &[u8]) -> u16 {
    let trying = async {
        loop {
            match exchange(server.connect().await, request).await.status {
                503 => tokio::task::yield_now().await,
                status => return status,
            }
        }
    };
    with_timeout(trying).await
}

#[tokio::test]
async fn a_stop_answers_the_request_in_flight_and_takes_no_more() {
    let server = TestServer::start();
    let (mut connection, mut idle) = (server.connect().await, server.connect().await);
    let request = HttpRequest::new("GET /readyz", "").bytes();
    assert_eq!(exchange(&mut idle, &request).await.status, 200);
    connection.write_all(&reconnect(HELD)).await.unwrap();
    server.stores.until_begun().await;
    server.stop.cancel();
    // The server closes the idle one at once, which also shows that it has seen the stop.
    assert!(closed(&mut idle).await.is_empty());
    assert!(server.try_connect().await.is_err());
    server.stores.release();
    let answer = read_answer(&mut connection).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(closed(&mut connection).await.is_empty());
    server.ended().await;
}

#[tokio::test]
async fn a_request_that_outlasts_the_time_to_drain_is_cut_off() {
    let server = TestServer::with(ServerLimits::default(), SHORT);
    let mut connection = server.connect().await;
    connection.write_all(&reconnect(HELD)).await.unwrap();
    server.stores.until_begun().await;
    server.stop.cancel();
    assert!(closed(&mut connection).await.is_empty());
    server.stores.until_wait_ended().await;
    server.ended().await;
}

fn of_tcp(listener: TcpListener) -> InheritedSockets {
    InheritedSockets { tcp: vec![listener], unix: Vec::new() }
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = settings(&dir);
    settings.listen = vec![address];
    let error = HttpServer::bind(&settings, InheritedSockets::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    // An inherited socket replaces the address.
    let server = HttpServer::bind(&settings, of_tcp(listener)).unwrap();
    assert_eq!(server.addresses(), [address]);
    let error =
        HttpServer::bind(&settings, of_tcp(TcpListener::bind("127.0.0.1:0").unwrap())).unwrap_err();
    assert!(
        matches!(&error, BindError::AddressInUse { path } if *path == settings.socket),
        "{error}"
    );
    drop(server);
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let error = HttpServer::bind(&settings, of_tcp(open.try_clone().unwrap())).unwrap_err();
    assert!(
        matches!(error, BindError::NotLoopback(exposed) if exposed == open.local_addr().unwrap())
    );
    settings.insecure_http = true;
    assert!(HttpServer::bind(&settings, of_tcp(open)).is_ok());
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let server = TestServer::start();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let stream = server.connect().await;
        clients.spawn(async move { exchange(stream, &reconnect(HELD)).await });
    }
    for _ in 0..100 {
        server.stores.until_begun().await;
    }
    for _ in 0..100 {
        server.stores.release();
    }
    while let Some(answer) = clients.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, &answer.body["inventory"]["uuid"]),
            (200, &json!(HELD.to_string()))
        );
    }
}
