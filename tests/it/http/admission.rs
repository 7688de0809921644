//! Floods of connections, and the clients beside them; and the source that a proxy names.

use std::time::Duration;

use imagestore_agent::http::ServerLimits;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::api::LogBuffer;
use crate::support::http_server::*;

const LIST: &str = "GET /zstack/v1/backup-storage/image-store";
const LONG: Duration = Duration::from_secs(60);

fn health() -> Vec<u8> {
    HttpRequest::new("GET /healthz", "").bytes()
}

/// Returns true if the server has closed this connection by now.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[tokio::test]
async fn silent_connections_of_one_source_lock_nobody_out_and_no_kept_connection_is_lost() {
    let server = TestServer::start();
    let list = HttpRequest::new(LIST, "").bytes();
    let mut kept = server.connect().await;
    assert_eq!(exchange(&mut kept, &list).await.status, 200);
    let mut silent = Vec::new();
    for n in 0..620 {
        let mut stream = server.connect().await;
        // A head that never ends counts as silence.
        if n % 2 == 1 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
        }
        silent.push(stream);
    }
    // The source keeps its share, and its oldest connections are closed first.
    for stream in &mut silent[..620 - 128] {
        closed(stream).await;
    }
    for source in ["127.0.0.1", "127.0.0.2"] {
        let mut stream = server.connect_from(source).await;
        let answer = exchange(&mut stream, &list).await;
        assert_eq!((answer.status, answer.header("connection")), (200, None), "{source}");
        let answer = exchange(server.connect_from(source).await, &health()).await;
        assert_eq!(answer.status, 200, "{source}");
    }
    let answer = exchange(&mut kept, &list).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    let open = silent.iter().filter(|stream| !is_closed(stream)).count();
    assert!((120..=128).contains(&open), "{open} are open");
}

#[tokio::test]
async fn many_sources_together_lose_their_oldest_silent_connections() {
    let limits =
        ServerLimits { max_connections: 4, max_source_connections: 2, ..ServerLimits::default() };
    let server = TestServer::with(limits, LONG);
    // The oldest of all, and not silent.
    let mut served = server.connect_from("127.0.0.9").await;
    assert_eq!(exchange(&mut served, &health()).await.status, 200);
    let mut first = server.connect_from("127.0.0.2").await;
    let mut second = server.connect_from("127.0.0.3").await;
    let third = server.connect_from("127.0.0.2").await;
    let fourth = server.connect_from("127.0.0.4").await;
    closed(&mut first).await;
    let fifth = server.connect_from("127.0.0.5").await;
    closed(&mut second).await;
    assert!([&third, &fourth, &fifth].iter().all(|stream| !is_closed(stream)));
    assert_eq!(exchange(&mut served, &health()).await.status, 200);
}

#[tokio::test]
async fn a_source_that_uses_its_share_up_still_gets_health_checks_and_sessions_answered() {
    let limits = ServerLimits { max_source_connections: 2, ..ServerLimits::default() };
    let server = TestServer::with(limits, LONG);
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        assert_eq!(exchange(&mut stream, &health()).await.status, 200);
        busy.push(stream);
    }
    let mut over = server.connect().await;
    let answer = exchange(&mut over, &health()).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(closed(&mut over).await.is_empty());
    // Silent connections of the reserve are closed for newer ones of their source.
    let mut reserve = Vec::new();
    for _ in 0..17 {
        reserve.push(server.connect().await);
    }
    closed(&mut reserve[0]).await;
    let mut session = server.connect().await;
    let answer = exchange(&mut session, &HttpRequest::new(LIST, "").bytes()).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert!(busy.iter().all(|stream| !is_closed(stream)));
}

#[tokio::test]
async fn a_silent_connection_gives_its_permit_back_when_it_ends() {
    let limits =
        ServerLimits { max_connections: 2, max_source_connections: 2, ..ServerLimits::default() };
    let server = TestServer::with(limits, LONG);
    let keeper = server.connect_from("127.0.0.2").await;
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let last = HttpRequest {
            headers: "Connection: close\r\n",
            ..HttpRequest::new("GET /healthz", "")
        };
        assert_eq!(exchange(&mut stream, &last.bytes()).await.status, 200);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
    }
    assert!(!is_closed(&keeper), "no place was missing");
}

#[tokio::test]
async fn an_agent_protocol_connection_is_kept_beside_a_flood() {
    let server = TestServer::for_agents_of(&["127.0.0.0/8"]);
    let echo = HttpRequest { token: None, ..HttpRequest::new("POST /imagestore/echo", "") }.bytes();
    let mut kept = server.connect_from("127.0.0.7").await;
    assert_eq!(exchange(&mut kept, &echo).await.status, 200);
    let mut flood = Vec::new();
    for n in 0..600 {
        flood.push(server.connect_from(&format!("127.1.0.{}", 1 + n % 20)).await);
    }
    closed(&mut flood[0]).await;
    let answer = exchange(&mut kept, &echo).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
}

async fn ask_as(server: &TestServer, forwarded: &str, token: &str) -> HttpResponse {
    let headers = format!("X-Forwarded-For: {forwarded}\r\n");
    let request =
        HttpRequest { token: Some(token), headers: &headers, ..HttpRequest::new(LIST, "") };
    server.ask(request).await
}

#[tokio::test]
async fn the_client_that_a_trusted_proxy_names_is_the_source_for_limits_and_audit() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::with_settings(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut statuses = Vec::new();
    for n in 0..21 {
        // A client may begin the header itself.
        let forwarded = format!("198.51.100.{n}, 203.0.113.7, 127.0.0.3");
        statuses.push(ask_as(&server, &forwarded, "a-guess").await.status);
    }
    assert_eq!(statuses, [[401; 20].as_slice(), &[429]].concat());
    assert_eq!(ask_as(&server, "203.0.113.8", "a-guess").await.status, 401);
    assert_eq!(ask_as(&server, "203.0.113.7", OPERATOR).await.status, 200);
    let refused = log.lines().into_iter().find(|line| line["message"] == "request rejected");
    assert_eq!(refused.unwrap()["span"]["client"], json!("203.0.113.7"));
    let line = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
    let headers = "X-Forwarded-For: 203.0.113.9\r\n";
    server.ask(HttpRequest { headers, ..HttpRequest::new(&line, "") }).await;
    let audit = log.audit();
    assert_eq!(audit[0]["span"]["client"], json!("203.0.113.9"));
    assert!(audit[0]["span"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn the_header_of_anyone_else_counts_for_nothing_and_never_for_the_agent_protocol() {
    let server = TestServer::start();
    let mut last = 0;
    for n in 0..21 {
        last = ask_as(&server, &format!("203.0.113.{n}"), "a-guess").await.status;
    }
    assert_eq!(last, 429, "the peer is the source");
    let server = TestServer::with_settings(|settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        settings.agent_allow = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let headers = "X-Forwarded-For: 192.0.2.1\r\n";
    let line = "POST /imagestore/echo";
    let request = HttpRequest { token: None, headers, ..HttpRequest::new(line, "") };
    assert_eq!(server.ask(request).await.status, 403);
}

#[tokio::test]
async fn the_connections_of_a_trusted_proxy_have_no_share() {
    let limits = ServerLimits { max_source_connections: 2, ..ServerLimits::default() };
    let server = TestServer::with_limits_behind(limits, &["127.0.0.1/32"]);
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(server.connect().await);
    }
    for stream in &mut open {
        assert_eq!(exchange(stream, &health()).await.header("connection"), None);
    }
}
