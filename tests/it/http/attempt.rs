//! `GET {prefix}/stores/{uuid}/attempt`: as JSON, and as a stream of one attempt after another.

use std::sync::Arc;

use imagestore_agent::agent::{AttemptNews, AttemptWatch};
use imagestore_agent::common::PhaseEnd;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Duration;

use crate::support::http_server::{GOOD, HttpRequest, READER, TestServer, snapshot, with_timeout};

const JSON: &str = "Accept: application/json\r\n";

async fn ask(server: &TestServer, target: &str, token: Option<&str>) -> (u16, Value) {
    let line = format!("GET /imagestore/stores/{target}");
    let answer =
        server.ask(HttpRequest { headers: JSON, token, ..HttpRequest::new(&line, "") }).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn the_running_attempt_is_json_if_it_is_preferred_and_wrong_requests_are_refused() {
    let server = TestServer::start();
    let attempt = format!("{GOOD}/attempt");
    assert_eq!(ask(&server, &attempt, Some(READER)).await, (200, json!({ "phases": null })));
    assert_eq!(ask(&server, &attempt, None).await.0, 401);
    assert_eq!(ask(&server, &format!("{attempt}?phase=auth"), Some(READER)).await.0, 400);
    assert_eq!(ask(&server, "no-uuid/attempt", Some(READER)).await.0, 400);
    let unknown = "00000000000040008000000000000009/attempt";
    assert_eq!(ask(&server, unknown, Some(READER)).await.0, 404);
    // The store of the test server is gone at once, which ends the stream.
    let line = format!("GET /imagestore/stores/{attempt}");
    let mut connection = server.connect().await;
    connection.write_all(&HttpRequest::new(&line, "").bytes()).await.unwrap();
    let mut bytes = Vec::new();
    with_timeout(connection.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("content-type: text/event-stream\r\n"), "{text}");
    assert!(text.contains("\r\n:\n\n\r\n") && text.ends_with("0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_watch_returns_each_phase_of_each_attempt_once() {
    let end = |phase| PhaseEnd { phase, took: Duration::from_millis(3), failed: false };
    let with_phases = |phases| {
        let mut store = snapshot(GOOD).as_ref().clone();
        (store.has_attempt, store.phases) = (phases, None);
        store
    };
    let idle = with_phases(false);
    let (snapshots, receiver) = watch::channel(Arc::new(idle.clone()));
    let mut attempts = AttemptWatch::new(receiver.clone());
    assert_eq!(attempts.running_phases(), None);
    let (progress, phases) = watch::channel(vec![end("resolve")]);
    let mut running = with_phases(true);
    running.phases = Some(phases);
    snapshots.send_replace(Arc::new(running.clone()));
    assert_eq!(attempts.next_news().await, Some(AttemptNews::Phase(end("resolve"))));
    // One that comes later gets the phases so far.
    let mut late = AttemptWatch::new(receiver);
    progress.send_modify(|ended| ended.extend([end("connect"), end("auth")]));
    assert_eq!(late.running_phases().unwrap().len(), 3);
    for phase in ["connect", "auth"] {
        assert_eq!(attempts.next_news().await, Some(AttemptNews::Phase(end(phase))));
    }
    progress.send_modify(|ended| ended.push(end("commit")));
    drop(progress);
    for watch in [&mut attempts, &mut late] {
        let mut news = Vec::new();
        while news.last() != Some(&AttemptNews::Over) {
            news.push(watch.next_news().await.unwrap());
        }
        assert_eq!(news[news.len() - 2], AttemptNews::Phase(end("commit")));
        assert_eq!(watch.running_phases(), None);
    }
    // The snapshot with the attempt that is over is not another attempt.
    snapshots.send_replace(Arc::new(running));
    let (progress, phases) = watch::channel(vec![end("resolve")]);
    let mut next = with_phases(true);
    next.phases = Some(phases);
    snapshots.send_replace(Arc::new(next));
    assert_eq!(attempts.next_news().await, Some(AttemptNews::Phase(end("resolve"))));
    drop((progress, snapshots));
    assert_eq!(attempts.next_news().await, Some(AttemptNews::Over));
    assert_eq!(attempts.next_news().await, None);
}
