//! Web hooks of jobs: when the result is posted, what the receiver gets, and which URLs are called.

use std::time::Duration;

use imagestore_agent::management::MAX_HOOK_URL_BYTES;
use imagestore_agent::settings::{ApiSettings, ServerSettings};
use serde_json::json;
use tokio::time::Instant;

use crate::support::golden_request::GoldenRequest;
use crate::support::http_server::{
    BROKEN, GOOD, HELD, HttpRequest, HttpResponse, OPERATOR, READER, TestServer, exchange, tokens,
    with_timeout,
};
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::silent_receiver::{Silence, SilentReceiver};

const RECONNECT: &str = r#"{"reconnectImageStoreBackupStorage":{}}"#;
/// The time that ZStack's SDK needs between the response and the result.
const SDK_DELAY: Duration = Duration::from_millis(250);

fn allow_loopback(settings: &mut ServerSettings) {
    settings.agent_allow = vec!["127.0.0.0/8".parse().unwrap()];
}

/// Starts a server that refers callers to their jobs after 1 s, and calls web hooks on loopback.
fn server() -> TestServer {
    let quick = |api: &mut ApiSettings| api.answer_within = Duration::from_secs(1);
    TestServer::with_api(allow_loopback, quick)
}

fn job(n: u128) -> String {
    format!("{:032x}", n | 0x4000_8000 << 64)
}

fn actions(store: impl std::fmt::Display) -> String {
    format!("PUT /zstack/v1/backup-storage/image-store/{store}/actions")
}

/// Sends a reconnect of `store` as the job `id` with this web hook.
async fn call(
    server: &TestServer,
    store: impl std::fmt::Display,
    id: &str,
    hook: &str,
) -> HttpResponse {
    call_as(OPERATOR, server, store, id, hook).await
}

async fn call_as(
    token: &str,
    server: &TestServer,
    store: impl std::fmt::Display,
    id: &str,
    hook: &str,
) -> HttpResponse {
    let headers = format!("X-Job-UUID: {id}\r\nX-Web-Hook: {hook}\r\n");
    let (line, token) = (actions(store), Some(token));
    server.ask(HttpRequest { token, headers: &headers, ..HttpRequest::new(&line, RECONNECT) }).await
}

/// Sends a call that is answered with 202, and returns the time of the answer.
async fn referred(server: &TestServer, n: u128, hook: &str) -> Instant {
    let answer = call(server, BROKEN, &job(n), hook).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    Instant::now()
}

async fn poll(server: &TestServer, id: &str) -> HttpResponse {
    let line = format!("GET /zstack/v1/api-jobs/{id}");
    server.ask(HttpRequest { token: None, ..HttpRequest::new(&line, "") }).await
}

/// Compares what the receiver got with the job and with what a poll returns.
async fn assert_result(server: &TestServer, received: &Received, id: &str, success: bool) {
    assert_eq!(received.line, "POST /hook?key=invented");
    assert_eq!(received.header("x-job-uuid"), id);
    assert_eq!(received.header("x-job-success"), success.to_string());
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!((received.id(), received.header("webhook-signature")), (id, ""));
    assert!(!received.header("webhook-timestamp").is_empty());
    let polled = poll(server, id).await;
    assert_eq!(polled.status, if success { 200 } else { 503 });
    assert_eq!(received.json, polled.body);
    let length = polled.header("content-length").unwrap();
    assert_eq!(received.body.len().to_string(), length, "the bytes are those of a poll");
}

#[tokio::test]
async fn a_result_follows_the_response_that_refers_to_the_job() {
    let server = server();
    let mut receiver = ManagementNode::answering([]).await;
    let hook = receiver.url_of("/hook?key=invented");
    // A failure has ended before the response.
    let answered = referred(&server, 1, &hook).await;
    let received = receiver.next().await;
    let delay = received.at.saturating_duration_since(answered);
    assert!(delay >= SDK_DELAY, "{delay:?}");
    assert_result(&server, &received, &job(1), false).await;
    assert_eq!(received.json["error"]["code"], "BS.1500");

    // A success that ends after the response, as the SDK for Java asks for it.
    let call = GoldenRequest::read("java-reconnect-with-web-hook", OPERATOR)
        .with_header("X-Job-UUID", &job(2))
        .with_header("X-Web-Hook", &hook)
        .replacing("4b4448ff5cab4f06a275f6bdf437f88a", &HELD.to_string());
    let answer = call.send_once_to(server.address()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(poll(&server, &job(2)).await.status, 202);
    assert!(receiver.try_next().is_none(), "the job runs");
    server.stores.release();
    let received = receiver.next().await;
    assert_result(&server, &received, &job(2), true).await;
    assert!(received.json["schema"]["inventory"].is_string(), "{}", received.json);
    // ZStack's header asks for an answer of a job by itself.
    let headers = format!("X-Web-Hook: {hook}\r\n");
    let line = actions(BROKEN);
    let without_uuid = HttpRequest { headers: &headers, ..HttpRequest::new(&line, RECONNECT) };
    let answer = server.ask(without_uuid).await;
    let location = answer.body["location"].as_str().unwrap();
    let received = receiver.next().await;
    assert!(location.ends_with(received.header("x-job-uuid")), "{location}");
}

#[tokio::test]
async fn a_result_in_the_response_is_not_posted() {
    let server = server();
    let mut receiver = ManagementNode::answering([]).await;
    let hook = receiver.url_of("/hook");
    for n in 1..=3 {
        assert_eq!(call(&server, GOOD, &job(n), &hook).await.status, 200);
    }
    // The same call again, and one whose error is no result of a job.
    assert_eq!(call(&server, GOOD, &job(1), &hook).await.status, 200);
    let headers = format!("X-Web-Hook: {hook}\r\n");
    let line = actions(GOOD);
    let answer = server.ask(HttpRequest { headers: &headers, ..HttpRequest::new(&line, "{}") });
    assert_eq!(answer.await.status, 400);
    // What comes later is the first that the receiver gets.
    referred(&server, 9, &hook).await;
    assert_eq!(receiver.next().await.header("x-job-uuid"), job(9));
    assert!(receiver.try_next().is_none());
}

#[tokio::test]
async fn a_url_that_is_not_called_is_refused_before_anything_is_done() {
    let only = |settings: &mut ServerSettings| {
        settings.agent_allow = vec!["127.0.0.2/32".parse().unwrap()];
    };
    let server = TestServer::with_settings(only);
    let too_long = format!("http://127.0.0.2/{}", "a".repeat(MAX_HOOK_URL_BYTES - 16));
    for (url, why) in [
        ("http://127.0.0.1:8080/hook", "127.0.0.1 is not in server.agent_allow"),
        ("http://[::1]/hook", "::1 is not in server.agent_allow"),
        ("http://[::ffff:127.0.0.1]/hook", "127.0.0.1 is not in server.agent_allow"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254 is not in"),
        ("http://localhost/hook", "is not in server.agent_allow"),
        ("http://0/hook", "is not in server.agent_allow"),
        ("http://no.such.host.invalid/", "its host name does not resolve"),
        ("http://user:hunter2@127.0.0.2/", "it has a user name or a password"),
        ("http://127.0.0.2@127.0.0.1/", "it has a user name or a password"),
        ("https://127.0.0.2/hook", "it is not an http:// URL"),
        ("ftp://127.0.0.2/hook", "it is not an http:// URL"),
        ("file:///etc/passwd", "it is not an http:// URL"),
        ("/hook", "it is not an http:// URL"),
        ("127.0.0.2:80", "it is not an http:// URL"),
        ("http://127.0.0.2:0/", "it is not an http:// URL"),
        ("http://127.0.0.2:65536/", "it is not an http:// URL"),
        ("", "it is not an http:// URL"),
        (&too_long, "it has more than 2048 bytes"),
    ] {
        for store in [GOOD, BROKEN] {
            let answer = call(&server, store, &job(1), url).await;
            assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{url}");
            let details = answer.error("/details").as_str().unwrap();
            assert!(details.contains(why), "{url}: {details}");
            assert!(details.contains("X-Web-Hook") && !details.contains("hunter2"), "{details}");
        }
    }
    let hooks = "X-Web-Hook: http://127.0.0.2/\r\nX-Web-Hook: http://127.0.0.2/\r\n";
    let line = actions(GOOD);
    let twice = server.ask(HttpRequest { headers: hooks, ..HttpRequest::new(&line, RECONNECT) });
    assert_eq!(twice.await.status, 400);
    assert!(server.stores.tags().is_empty(), "an attempt began");
    assert_eq!(poll(&server, &job(1)).await.status, 404);
    // A caller that may change nothing does not make the daemon look a name up.
    let headers = "X-Web-Hook: http://no.such.host.invalid/\r\n";
    let reader = HttpRequest { token: Some(READER), headers, ..HttpRequest::new(&line, RECONNECT) };
    assert_eq!(server.ask(reader).await.status, 403);
    // Without networks, no web hook is called. The commands use the socket.
    let closed = TestServer::start();
    let headers = "X-Web-Hook: http://127.0.0.2/\r\n";
    let local = HttpRequest { token: None, headers, ..HttpRequest::new(&line, RECONNECT) };
    let answer = exchange(closed.connect_local().await, &local.bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    // A query is no job, so that the header has no effect.
    let query = "GET /zstack/v1/backup-storage/image-store";
    let answer = closed.ask(HttpRequest { headers, ..HttpRequest::new(query, "") }).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_result_is_posted_until_it_is_delivered_and_not_after_404_or_410() {
    let server = server();
    let mut other = ManagementNode::answering([]).await;
    let location = ("location", other.url_of("/elsewhere"));
    let mut receiver = ManagementNode::answering([
        Answer::Status(500),
        Answer::Full(503, ("retry-after", "1".to_owned()), "later"),
        Answer::Status(204),
        Answer::Status(404),
        Answer::Status(410),
        Answer::Full(307, location, ""),
    ])
    .await;
    let hook = receiver.url_of("/hook");
    referred(&server, 1, &hook).await;
    let first = receiver.next().await;
    let mut last = first.clone();
    for _ in 0..2 {
        let again = receiver.next().await;
        assert_eq!((again.id(), &again.body), (first.id(), &first.body));
        let before = std::mem::replace(&mut last, again);
        if before.at > first.at {
            assert!(last.at - before.at >= Duration::from_secs(1), "Retry-After was not honoured");
        }
    }
    for n in [2, 3, 4] {
        referred(&server, n, &hook).await;
        assert_eq!(receiver.next().await.header("x-job-uuid"), job(n));
    }
    // A retry would precede the next result, which waits for longer. That of the redirect comes in
    // 5 min, and not at the other receiver.
    referred(&server, 5, &hook).await;
    assert_eq!(receiver.next().await.header("x-job-uuid"), job(5));
    referred(&server, 6, &other.url_of("/hook")).await;
    assert_eq!(other.next().await.line, "POST /hook");
    assert!(receiver.try_next().is_none() && other.try_next().is_none());
}

#[tokio::test]
async fn the_summary_of_the_daemon_shows_web_hooks_that_do_not_arrive() {
    let server = server();
    let summary = async || {
        let answer = server.ask(HttpRequest::new("GET /imagestore/stores", "")).await;
        answer.body["hooks"].clone()
    };
    assert_eq!(summary().await, json!({"givenUp": 0, "oldest": null, "pending": 0}));
    let mut receiver = ManagementNode::answering([Answer::Status(410), Answer::Status(400)]).await;
    for (n, expected) in [(1, json!([1, null, 0])), (2, json!([1, "2023-11-14T22:13:20.000Z", 1]))]
    {
        referred(&server, n, &receiver.url_of("/hook")).await;
        receiver.next().await;
        with_timeout(async {
            loop {
                let found = summary().await;
                if json!([found["givenUp"], found["oldest"], found["pending"]]) == expected {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn each_response_that_refers_to_the_job_is_followed_by_the_result() {
    let server = server();
    let mut receiver = ManagementNode::answering([]).await;
    let (hook, other) = (receiver.url_of("/hook"), receiver.url_of("/other"));
    referred(&server, 1, &hook).await;
    assert_eq!(receiver.next().await.header("x-job-uuid"), job(1));
    // OkHttp repeats a call whose connection was lost.
    let answered = referred(&server, 1, &hook).await;
    let again = receiver.next().await;
    assert_eq!(again.header("x-job-uuid"), job(1));
    assert!(again.at.saturating_duration_since(answered) >= SDK_DELAY);
    // Another web hook makes another call, and none at all does as well.
    assert_eq!(call(&server, BROKEN, &job(1), &other).await.status, 400);
    let headers = format!("X-Job-UUID: {}\r\n", job(1));
    let line = actions(BROKEN);
    let none = server.ask(HttpRequest { headers: &headers, ..HttpRequest::new(&line, RECONNECT) });
    assert_eq!(none.await.status, 400);
    // Two calls that wait for one job get one result after the later response.
    let id = job(2);
    let (first, second) =
        tokio::join!(call(&server, HELD, &id, &hook), call(&server, HELD, &id, &hook));
    assert_eq!((first.status, second.status), (202, 202));
    server.stores.release();
    assert_eq!(receiver.next().await.header("x-job-uuid"), id);
    // The result is the response now, and nothing follows it.
    assert_eq!(call(&server, HELD, &id, &hook).await.status, 200);
    referred(&server, 3, &hook).await;
    assert_eq!(receiver.next().await.header("x-job-uuid"), job(3));
    assert!(receiver.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_silent_delays_no_other() {
    let server = server();
    let silent = SilentReceiver::start(Silence::NeverAnswers).await;
    let mut receiver = ManagementNode::answering([]).await;
    for n in 0..20 {
        referred(&server, n, &silent.url()).await;
    }
    let answered = referred(&server, 100, &receiver.url_of("/hook")).await;
    let received = receiver.next().await;
    assert_eq!(received.header("x-job-uuid"), job(100));
    let delay = received.at.saturating_duration_since(answered);
    assert!(delay < Duration::from_secs(5), "{delay:?}");
    with_timeout(async {
        while silent.peak() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(silent.peak() <= 8, "{}", silent.peak());
}

/// The share of one caller alone is a part of that of the receiver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_receiver_of_several_callers_holds_eight_places_under_any_spelling() {
    let server = server();
    let names: Vec<String> = (0..6).map(|n| format!("caller-{n}")).collect();
    let lines = names.iter().map(|name| {
        let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        format!("{name}:{}\n", data_encoding::HEXLOWER.encode(hash.as_ref()))
    });
    server.tokens.send_replace(tokens(&lines.collect::<String>()));
    let silent = SilentReceiver::start(Silence::NeverAnswers).await;
    let port = silent.address.port();
    let hosts = ["127.0.0.1", "LOCALHOST", "2130706433", "[::ffff:127.0.0.1]"];
    for (n, (name, host)) in (0..).zip(names.iter().flat_map(|name| hosts.map(|host| (name, host))))
    {
        let hook = format!("http://{host}:{port}/hook");
        assert_eq!(call_as(name, &server, BROKEN, &job(n), &hook).await.status, 202);
    }
    with_timeout(async {
        while silent.peak() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Another receiver of a caller that waits gets its result, and the silent one gets no more.
    let mut receiver = ManagementNode::answering([]).await;
    let answer = call_as(&names[0], &server, BROKEN, &job(100), &receiver.url_of("/hook")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(receiver.next().await.header("x-job-uuid"), job(100));
    assert_eq!(silent.peak(), 8);
}
