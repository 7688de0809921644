//! The counts of refused callers and of unknown fields, as a scrape shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use imagestore_agent::http::ServerLimits;

use crate::support::golden_request::GoldenRequest;
use crate::support::http_server::{
    ADMIN, GOOD, HttpRequest, READER, TestServer, closed, exchange, with_timeout,
};
use crate::support::scrape::Scrape;

const LONG: Duration = Duration::from_secs(60);
const ADD: &str = "POST /zstack/v1/backup-storage/image-store";
const LIST: &str = "GET /zstack/v1/backup-storage/image-store";

async fn scrape(server: &TestServer) -> Scrape {
    let request =
        HttpRequest { token: Some(READER), ..HttpRequest::new("GET /metrics", "") }.bytes();
    scrape_over(server.connect().await, &request).await
}

async fn scrape_over<S>(stream: S, request: &[u8]) -> Scrape
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let response = exchange(stream, request).await;
    assert_eq!(response.status, 200, "{}", response.body);
    Scrape::parse(response.body.as_str().unwrap())
}

/// Returns the refused callers by the rule.
fn refused(scrape: &Scrape) -> BTreeMap<&str, f64> {
    let samples = scrape.all("imagestore_callers_refused_total", &[]);
    samples.into_iter().map(|sample| (sample.labels["why"].as_str(), sample.value)).collect()
}

#[tokio::test]
async fn a_refused_caller_counts_by_the_rule_of_the_audit_log() {
    let server = TestServer::start();
    assert_eq!(refused(&scrape(&server).await), BTreeMap::new());
    let list = HttpRequest::new(LIST, "");
    for (request, status) in [
        (HttpRequest { token: None, ..list }, 401),
        (HttpRequest { token: None, ..list }, 401),
        (HttpRequest { token: Some("a-guess"), ..list }, 401),
        (HttpRequest { host: "evil.example", ..list }, 421),
        (HttpRequest { token: None, ..HttpRequest::new("POST /imagestore/echo", "") }, 403),
        (HttpRequest { token: Some(READER), ..HttpRequest::new(ADD, "{}") }, 403),
        // A path that does not exist, and a caller that is admitted.
        (HttpRequest::new("GET /nowhere", ""), 404),
        (list, 200),
    ] {
        assert_eq!(server.ask(request).await.status, status, "{}", request.line);
    }
    let expected = [
        ("insufficient role", 1.0),
        ("invalid or unknown Host", 1.0),
        ("no session", 2.0),
        ("not in server.agent_allow", 1.0),
        ("unknown session", 1.0),
    ];
    assert_eq!(refused(&scrape(&server).await), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_connection_beyond_the_limits_counts_as_refused() {
    let limits = ServerLimits {
        max_connections: 2,
        max_source_connections: 2,
        max_trusted_connections: 1,
        max_local_connections: 1,
        ..ServerLimits::default()
    };
    let server = TestServer::with(limits, LONG);
    let mut first = server.connect_from("127.0.0.2").await;
    let _second = server.connect_from("127.0.0.3").await;
    let _third = server.connect_from("127.0.0.4").await;
    with_timeout(closed(&mut first)).await;

    let mut session = server.connect().await;
    let list = HttpRequest::new(LIST, "").bytes();
    assert_eq!(exchange(&mut session, &list).await.status, 200);
    assert_eq!(exchange(server.connect().await, &list).await.status, 503);

    let mut local = server.connect_local().await;
    assert_eq!(exchange(&mut local, &list).await.status, 200);
    let mut beyond = server.connect_local().await;
    with_timeout(closed(&mut beyond)).await;

    let request = HttpRequest::new("GET /metrics", "").bytes();
    let scrape = scrape_over(&mut local, &request).await;
    let counts = refused(&scrape);
    assert_eq!(counts["too many connections with a session"], 1.0, "{counts:?}");
    assert_eq!(counts["too many connections of the Unix socket"], 1.0, "{counts:?}");
    // The connections of the sessions displaced others too.
    assert!(counts["too many connections without a session"] >= 1.0, "{counts:?}");
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[tokio::test]
async fn an_unknown_field_counts_and_a_call_of_zstacks_clients_has_none() {
    let server = TestServer::start();
    let unknown = async || scrape(&server).await.value("imagestore_unknown_fields_total", &[]);
    for call in [
        "go-add",
        "go-add-2",
        "go-attach",
        "go-disable",
        "go-reclaim",
        "go-reconnect",
        "go-reconnect-2",
        "go-update",
        "java-add",
        "java-attach-zone",
        "java-disable",
        "java-reconnect",
        "java-reconnect-generic",
        "java-reconnect-with-tags-timeout-and-request-ip",
        "java-update-generic",
        "java-update-login",
        "java-update-name",
    ] {
        let request = GoldenRequest::read(call, ADMIN).of_store(&GOOD.to_string());
        let request = request.replacing("/var/lib/imagestore/a", "/srv/images/a");
        assert_ne!(request.send_to(server.address()).await.status, 400, "{call}");
        assert_eq!(unknown().await, 0.0, "{call}");
    }
    let actions = format!("PUT /zstack/v1/backup-storage/image-store/{GOOD}/actions");
    let update = r#"{"updateImageStoreBackupStorage":{"name":"a","sshport":22},"comment":"x"}"#;
    let reconnect = r#"{"reconnectImageStoreBackupStorage":{"requestIp":"::1"}}"#;
    let attach = format!("POST /zstack/v1/zones/{}/backup-storage/{GOOD}", "a".repeat(32));
    for (line, body, expected) in [
        (actions.as_str(), update, 2.0),
        (&actions, reconnect, 2.0),
        (&attach, r#"{"params":{"zone":"b"}}"#, 3.0),
        // A body that is refused had no effect at all.
        (&actions, r#"{"params":{"comment":"x"}}"#, 3.0),
    ] {
        server.ask(HttpRequest::new(line, body)).await;
        assert_eq!(unknown().await, expected, "{line} {body}");
    }
}
