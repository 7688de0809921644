//! Rejected requests from more sources than the daemon remembers.

use crate::http::api::LogBuffer;
use crate::support::http_server::*;

const LIST: &str = "GET /zstack/v1/backup-storage/image-store";

async fn ask_from(server: &TestServer, source: u32, request: HttpRequest<'_>) -> HttpResponse {
    let source = format!("127.2.{}.{}", source / 250, 1 + source % 250);
    exchange(server.connect_from(&source).await, &request.bytes()).await
}

#[tokio::test]
async fn sources_beyond_the_table_share_one_limit_and_the_log_has_a_bounded_number_of_lines() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let guess = HttpRequest { token: Some("a-guess"), ..HttpRequest::new(LIST, "") };
    for source in 0..1024 {
        assert_eq!(ask_from(&server, source, guess).await.status, 401);
    }
    let mut statuses = Vec::new();
    for source in 1024..1050 {
        let answer = ask_from(&server, source, guess).await;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429);
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [[401; 20].as_slice(), &[429; 6]].concat());
    assert_eq!(ask_from(&server, 7, guess).await.status, 401, "it has a limit of its own");
    assert_eq!(ask_from(&server, 1060, HttpRequest::new(LIST, "")).await.status, 200);
    let remove = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
    assert_eq!(ask_from(&server, 1061, HttpRequest::new(&remove, "")).await.status, 200);

    server.stop.cancel();
    server.ended().await;
    let lines = log.lines();
    let count = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    assert_eq!(count("request rejected"), 210);
    assert_eq!(log.audit().len(), 1, "the line of the change is there");
    let summary = lines.iter().find(|line| line["message"] == "rejected requests not logged");
    let summary = summary.unwrap();
    assert_eq!((&summary["target"], &summary["level"]), (&"audit".into(), &"INFO".into()));
    assert_eq!(summary["requests"], 1024 + 26 + 1 - 210);
}

#[tokio::test]
async fn rejections_without_an_address_have_a_bounded_number_of_lines_too() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let mut stream = server.connect_local().await;
    let request = HttpRequest { host: "attacker.example", ..HttpRequest::new(LIST, "") }.bytes();
    for _ in 0..250 {
        assert_eq!(exchange(&mut stream, &request).await.status, 421);
    }
    drop(stream);
    server.stop.cancel();
    server.ended().await;
    let lines = log.lines();
    let rejected = lines.iter().filter(|line| line["message"] == "request rejected").count();
    assert_eq!(rejected, 210);
    assert!(lines.iter().any(|line| line["requests"] == 40), "{lines:?}");
}
