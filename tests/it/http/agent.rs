//! The agent protocol over a real socket: calls in the shapes in which ZStack's management node
//! sends them (`core/rest/RESTFacadeImpl.java`), and malformed ones.

use serde_json::{Value, json};

use crate::http::api::LogBuffer;
use crate::support::http_server::{
    BROKEN, GOOD, HELD, HttpRequest, HttpResponse, STOPPING, TestServer,
};
use crate::support::management_node::{Answer, ManagementNode};

const TASK: &str = "taskuuid: 0a1b2c3d4e5f40718293a4b5c6d7e8f9\r\n";

/// Sends a call as Spring's `RestTemplate` does.
async fn call(server: &TestServer, path: &str, headers: &str, body: &str) -> HttpResponse {
    let line = format!("POST {path}");
    let headers = format!(
        "Accept: text/plain, application/json, application/*+json, */*\r\n\
         Content-Type: application/json\r\nUser-Agent: Java/1.8.0_342\r\n{headers}"
    );
    let request = HttpRequest {
        token: None,
        host: "127.0.0.1",
        headers: &headers,
        ..HttpRequest::new(&line, body)
    };
    server.ask(request).await
}

fn later(node: &ManagementNode) -> String {
    format!("{TASK}callbackurl: {}\r\n", node.url())
}

fn local() -> TestServer {
    TestServer::for_agents_of(&["127.0.0.0/8"])
}

fn of(uuid: impl std::fmt::Display) -> String {
    json!({"uuid": uuid.to_string()}).to_string()
}

#[tokio::test]
async fn echo_is_answered_at_once_with_nothing() {
    let server = local();
    for path in ["/imagestore/echo", "/imagestore/echo/"] {
        let answer = call(&server, path, "", "").await;
        assert_eq!((answer.status, answer.body), (200, Value::Null));
        let wrong = call(&server, path, TASK, "").await;
        assert_eq!(wrong.status, 500);
        assert_eq!(wrong.error("/code"), "SYS.1006");
    }
}

#[tokio::test]
async fn connect_answers_with_the_figures_on_every_call() {
    let server = local();
    let sent = json!({
        "uuid": GOOD.to_string(), "storagePath": "/srv/images/a/",
        "sendCommandUrl": "http://127.0.0.1:8080/zstack/asyncrest/sendcommand",
    });
    for slash in ["", "/", "", "/", ""] {
        let answer =
            call(&server, &format!("/imagestore/connect{slash}"), "", &sent.to_string()).await;
        assert_eq!(answer.status, 200);
        let expected = json!({"success": true, "totalCapacity": 1000, "availableCapacity": 400});
        assert_eq!(answer.body, expected);
    }
    assert_eq!(server.stores.tags().len(), 5);
    let wrong = call(&server, "/imagestore/connect", TASK, &of(GOOD)).await;
    assert_eq!(wrong.status, 500);
    assert_eq!(server.stores.tags().len(), 5);
}

#[tokio::test]
async fn a_failed_connect_is_answered_with_the_reason() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = local();
    for (body, expected_error) in [
        (of("00000000000040008000000000000bad"), "no store has the uuid 0000"),
        (of("no uuid at all"), "no store has the uuid no uuid at all"),
        (
            json!({"uuid": GOOD.to_string(), "storagePath": "/srv/images/b"}).to_string(),
            "the image directory of this store is /srv/images/a, not /srv/images/b",
        ),
        (
            of(BROKEN),
            "read_only: /srv is read-only; credentials_refused: root may not log in. Remedy: ",
        ),
    ] {
        let answer = call(&server, "/imagestore/connect", "", &body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["success"], false);
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.starts_with(expected_error), "{error}");
    }
    // The status is 200, so the log line has the outcome.
    let audit = log.audit();
    let reasons: Vec<_> = audit.iter().map(|line| line["reason"].as_str()).collect();
    assert_eq!(reasons, [None, None, None, Some("read_only")]);
    // The management node repeats a call that failed for a temporary reason.
    let answer = call(&server, "/imagestore/connect", "", &of(STOPPING)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    for bad in ["", "{}", "[]", "no", r#"{"uuid": 7}"#] {
        let answer = call(&server, "/imagestore/connect", "", bad).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{bad}");
    }
}

#[tokio::test]
async fn ping_is_answered_where_it_is_waited_for() {
    let server = local();
    let mut node = ManagementNode::answering([]).await;
    for slash in ["", "/"] {
        let path = format!("/imagestore/ping{slash}");
        let answer = call(&server, &path, &later(&node), &of(GOOD)).await;
        assert_eq!((answer.status, answer.body), (200, Value::Null));
        let reply = node.next().await;
        assert_eq!(reply.header("taskuuid"), "0a1b2c3d4e5f40718293a4b5c6d7e8f9");
        assert_eq!(reply.header("content-type"), "application/json");
        // Still Connecting and not probed since the start: without its uuid.
        assert_eq!(reply.json, json!({"success": false, "error": "the store is Connecting"}));
    }
    call(&server, "/imagestore/ping", &later(&node), &of("x")).await;
    assert!(
        node.next().await.json["error"].as_str().unwrap().starts_with("no store has the uuid x")
    );
}

#[tokio::test]
async fn a_ping_that_cannot_be_answered_later_is_refused_at_once() {
    let server = local();
    let mut node = ManagementNode::answering([]).await;
    let url = format!("callbackurl: {}\r\n", node.url());
    let long = format!("taskuuid: {}\r\n{url}", "a".repeat(65));
    for headers in ["", TASK, &url, &format!("taskuuid: \r\n{url}"), &long] {
        let answer = call(&server, "/imagestore/ping", headers, &of(GOOD)).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{headers}");
    }
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn an_answer_is_posted_again_while_it_is_waited_for_and_dropped_when_it_is_not() {
    let server = local();
    let mut node = ManagementNode::answering([
        Answer::Status(500),
        Answer::Full(503, ("retry-after", "0".to_owned()), ""),
        Answer::Status(200),
        Answer::Status(404),
    ])
    .await;
    call(&server, "/imagestore/ping", &later(&node), &of(GOOD)).await;
    let tries = [node.next().await, node.next().await, node.next().await];
    assert!(tries.iter().all(|one| one.body == tries[0].body));
    // 404: nobody waits for the reply any more. The next one belongs to another ping.
    call(&server, "/imagestore/ping", &later(&node), &of(GOOD)).await;
    node.next().await;
    call(&server, "/imagestore/ping", &later(&node), &of("another")).await;
    assert!(node.next().await.json["error"].as_str().unwrap().contains("another"));
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn one_answer_is_posted_for_a_task_however_often_it_is_sent() {
    let server = local();
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let shut = std::sync::Arc::clone(&permits);
    let mut node = ManagementNode::scripted(move |_| Answer::AfterPermit(200, shut.clone())).await;
    for _ in 0..3 {
        assert_eq!(call(&server, "/imagestore/ping", &later(&node), &of(GOOD)).await.status, 200);
    }
    node.next().await;
    permits.add_permits(9);
    let other = later(&node).replace("0a1b", "ffff");
    call(&server, "/imagestore/ping", &other, &of(GOOD)).await;
    assert_eq!(node.next().await.header("taskuuid"), "ffff2c3d4e5f40718293a4b5c6d7e8f9");
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn nobody_outside_the_networks_is_called() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = local();
    let outside = format!("{TASK}callbackurl: http://169.254.169.254/latest/\r\n");
    let answer = call(&server, "/imagestore/ping", &outside, &of(GOOD)).await;
    assert_eq!((answer.status, answer.error("/code")), (403, &json!("ID.1002")));
    let details = answer.error("/details").as_str().unwrap();
    let (details, _) = details.split_once("; remedy: ").unwrap();
    assert_eq!(
        details,
        "the daemon does not call the URL in callbackurl: 169.254.169.254 is not in server.agent_allow"
    );
    let body = json!({"uuid": GOOD.to_string(), "sendCommandUrl": "http://192.0.2.1/"}).to_string();
    assert_eq!(call(&server, "/imagestore/connect", "", &body).await.status, 403);
    assert!(server.stores.tags().is_empty(), "an attempt ran");
    let other = format!("{TASK}callbackurl: file:///etc/passwd\r\n");
    assert_eq!(call(&server, "/imagestore/ping", &other, &of(GOOD)).await.status, 400);
    let refused = log.lines().into_iter().filter(|line| line["message"] == "request rejected");
    let logged: Vec<_> =
        refused.map(|line| (line["status"].clone(), line["name"].clone())).collect();
    let expected = [(403, "callbackurl"), (403, "sendCommandUrl"), (400, "callbackurl")];
    assert_eq!(logged, expected.map(|(status, name)| (json!(status), json!(name))));
}

#[tokio::test]
async fn a_caller_outside_the_networks_is_refused_and_so_is_everybody_when_it_is_off() {
    for networks in [&["192.0.2.0/24"][..], &[]] {
        let server = TestServer::for_agents_of(networks);
        for path in ["echo", "connect/", "ping"] {
            let answer = call(&server, &format!("/imagestore/{path}"), "", &of(GOOD)).await;
            assert_eq!((answer.status, answer.error("/code")), (403, &json!("ID.1002")), "{path}");
            assert!(answer.error("/elaboration").as_str().unwrap().contains("server.agent_allow"));
        }
    }
    assert!(local().stores.tags().is_empty());
}

#[tokio::test]
async fn the_networks_open_nothing_else() {
    let server = local();
    for (line, status) in [
        ("GET /imagestore/echo", 405),
        ("PUT /imagestore/ping/", 405),
        ("GET /imagestore/stores", 401),
        ("POST /imagestore/download", 401),
        ("POST /imagestore/sshkey", 401),
        ("POST /sftpbackupstorage/echo", 401),
        ("GET /zstack/v1/backup-storage/image-store", 401),
    ] {
        let answer = server.ask(HttpRequest { token: None, ..HttpRequest::new(line, "") }).await;
        assert_eq!(answer.status, status, "{line}");
    }
    // Also not from a page in a browser of such a network.
    let request = HttpRequest {
        token: None,
        host: "attacker.example",
        ..HttpRequest::new("POST /imagestore/echo", "")
    };
    assert_eq!(server.ask(request).await.status, 421);
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_no_attempt() {
    let server = local();
    let body = of(HELD);
    let line = "POST /imagestore/connect";
    let request = HttpRequest { token: None, ..HttpRequest::new(line, &body) }.bytes();
    let mut stream = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
    server.stores.until_begun().await;
    drop(stream);
    server.stores.until_wait_ended().await;
    assert_eq!(server.stores.tags().len(), 1);
}
