//! Requests in forms that the standards permit and few clients use.

use serde_json::json;

use crate::http::api::LogBuffer;
use crate::support::http_server::*;

const STORES: &str = "/zstack/v1/backup-storage/image-store";
const PARAMS: &str = r#"{"params":{}}"#;

fn actions() -> String {
    format!("PUT {STORES}/{GOOD}/actions")
}

async fn raw(server: &TestServer, request: &str) -> HttpResponse {
    exchange(server.connect().await, request.as_bytes()).await
}

#[tokio::test]
async fn a_health_check_in_http_1_0_needs_no_host_and_every_other_request_does() {
    let server = TestServer::start();
    for (request, status) in [
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET /readyz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("HEAD /%68ealthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.0\r\nHost: attacker.example\r\n\r\n".to_owned(), 421),
        ("GET http://attacker.example/healthz HTTP/1.0\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET {STORES} HTTP/1.0\r\nAuthorization: OAuth {OPERATOR}\r\n\r\n"), 400),
    ] {
        let mut stream = server.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, status, "{request}");
    }
}

#[tokio::test]
async fn parameters_of_a_json_type_have_no_effect() {
    let server = TestServer::start();
    let line = actions();
    for kind in [
        "application/json; charset=utf8",
        "application/json;charset=\"UTF-8\"; version=1",
        "application/json; charset=latin1",
        "application/vnd.zstack+json",
        "text/json",
    ] {
        let headers = format!("Content-Type: {kind}\r\n");
        let request = HttpRequest { headers: &headers, ..HttpRequest::new(&line, PARAMS) };
        assert_eq!(server.ask(request).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn encoded_unreserved_characters_of_a_path_are_equal_for_routes_rules_and_the_log() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::for_agents_of(&["127.0.0.0/8"]);
    let uuid = GOOD.to_string().replace('0', "%30");
    let lines = [
        format!("PUT /%7Astack/v1/backup%2Dstorage/image%2dstore/{uuid}/action%73"),
        format!("DELETE /zstack/v1/backup-storage/{uuid}"),
    ];
    for (line, body) in lines.iter().zip([PARAMS, ""]) {
        assert_eq!(server.ask(HttpRequest::new(line, body)).await.status, 200, "{line}");
    }
    let paths: Vec<_> = log.audit().iter().map(|line| line["span"]["path"].clone()).collect();
    let expected =
        [format!("{STORES}/{GOOD}/actions"), format!("/zstack/v1/backup-storage/{GOOD}")];
    assert_eq!(paths, expected.map(|path| json!(path)));

    // The agent protocol is recognized in any form, with its rules.
    let echo = HttpRequest { token: None, ..HttpRequest::new("POST /image%73tore/%65cho", "") };
    assert_eq!(server.ask(echo).await.status, 200);
    let foreign = HttpRequest { headers: "Origin: http://attacker.example\r\n", ..echo };
    assert_eq!(server.ask(foreign).await.status, 403);
    assert_eq!(
        raw(&server, "GET /%68%65althz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status,
        200
    );
    // A reserved character that is encoded is no delimiter.
    let slash = HttpRequest { token: None, ..HttpRequest::new("POST /imagestore%2Fecho", "") };
    assert_eq!(server.ask(slash).await.status, 401);
}

#[tokio::test]
async fn a_byte_order_mark_before_the_json_is_passed_over() {
    let server = TestServer::for_agents_of(&["127.0.0.0/8"]);
    let marked = format!("\u{feff}{PARAMS}");
    assert_eq!(server.ask(HttpRequest::new(&actions(), &marked)).await.status, 200);
    let body = format!("\u{feff}{}", json!({"uuid": GOOD.to_string()}));
    let connect =
        HttpRequest { token: None, ..HttpRequest::new("POST /imagestore/connect", &body) };
    assert_eq!(server.ask(connect).await.status, 200);
    let twice = format!("\u{feff}{marked}");
    assert_eq!(server.ask(HttpRequest::new(&actions(), &twice)).await.status, 400);
}

#[tokio::test]
async fn a_content_coding_is_415_with_its_name_and_what_is_accepted() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::for_agents_of(&["127.0.0.0/8"]);
    let (put, add) = (actions(), format!("POST {STORES}"));
    for (line, coding, named) in [
        (put.as_str(), "gzip", "gzip"),
        (&add, "identity, br", "br"),
        ("POST /imagestore/connect", "zstd", "zstd"),
    ] {
        let headers = format!("Content-Encoding: {coding}\r\n");
        let request = HttpRequest { headers: &headers, ..HttpRequest::new(line, PARAMS) };
        let answer = server.ask(request).await;
        assert_eq!((answer.status, answer.error("/code")), (415, &json!("SYS.1007")), "{line}");
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
        let details = format!(
            "the Content-Encoding {named} is not supported; remedy: send the body without a \
             Content-Encoding"
        );
        assert_eq!(answer.error("/details"), &json!(details));
    }
    assert_eq!(log.audit().len(), 3, "each left its line");
    assert!(server.stores.tags().is_empty() && server.stores.added().is_empty());
    let headers = "Content-Encoding: Identity\r\n";
    let request = HttpRequest { headers, ..HttpRequest::new(&put, PARAMS) };
    assert_eq!(server.ask(request).await.status, 200);
    // A request without a body has no coding.
    let headers = "Content-Encoding: gzip\r\n";
    let list = format!("GET {STORES}");
    assert_eq!(
        server.ask(HttpRequest { headers, ..HttpRequest::new(&list, "") }).await.status,
        200
    );
}

#[tokio::test]
async fn two_actions_in_one_body_are_400_with_both_names() {
    let server = TestServer::start();
    let key = "A".repeat(43);
    for (body, named) in [
        (
            json!({"params": {}, "updateImageStoreBackupStorage": {"name": "hunter2"}}),
            "params and updateImageStoreBackupStorage",
        ),
        (
            json!({"reconnectImageStoreBackupStorage": null, "acceptHostKey": {"fingerprint": key}}),
            "reconnectImageStoreBackupStorage and acceptHostKey",
        ),
        (
            json!({"params": {}, "reconnectImageStoreBackupStorage": {}, "acceptHostKey": {}}),
            "reconnectImageStoreBackupStorage and params and acceptHostKey",
        ),
    ] {
        let answer = server.ask(HttpRequest::new(&actions(), &body.to_string())).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{body}");
        let details = format!(
            "the body has several actions: {named}; remedy: send one request for each action"
        );
        assert_eq!(answer.error("/details"), &json!(details), "{body}");
    }
    let zone = format!("POST /zstack/v1/zones/{}/backup-storage/{GOOD}", "a".repeat(32));
    let add = format!("POST {STORES}");
    let two = json!({
        "params": {"hostname": "127.0.0.1", "username": "root", "password": "secret",
            "url": "/srv/images/a", "name": "a"},
        "updateBackupStorage": {"name": "hunter2"},
    });
    let other = json!({"updateBackupStorage": {"name": "hunter2"}});
    for (line, body, expected) in [
        (&add, &two, "the body has several actions: params and updateBackupStorage"),
        (&zone, &two, "the body has several actions: params and updateBackupStorage"),
        (&zone, &other, "the body has no action; expected one of params"),
    ] {
        let answer = server.ask(HttpRequest::new(line, &body.to_string())).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{body}");
        let details = answer.error("/details").as_str().unwrap();
        assert!(details.starts_with(expected), "{line}: {details}");
    }
    assert!(server.stores.tags().is_empty() && server.stores.updated().is_empty());
    assert!(server.stores.added().is_empty());
}
