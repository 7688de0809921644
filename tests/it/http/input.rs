//! Invalid requests: each gets the status and the error object that say why.

use imagestore_agent::http::{RouteMethod, served_paths};
use imagestore_agent::model::Tags;
use imagestore_agent::wire::MAX_BODY_BYTES;
use serde_json::json;

use crate::support::http_server::*;

const STORES: &str = "/zstack/v1/backup-storage/image-store";
const PARAMS: &str = r#"{"params":{}}"#;

fn line() -> String {
    format!("PUT {STORES}/{GOOD}/actions")
}

/// Sends the request and checks the status, the code and the start of the details.
async fn refused(
    server: &TestServer,
    request: HttpRequest<'_>,
    status: u16,
    code: &str,
    expected: &str,
) {
    let answer = server.ask(request).await;
    assert_eq!(answer.status, status, "{}: {answer:?}", request.line);
    assert_eq!(answer.error("/code"), code, "{answer:?}");
    let details = answer.error("/details").as_str().unwrap();
    assert!(details.starts_with(expected), "{details}");
    assert!(answer.error("/elaboration").is_string(), "{answer:?}");
    assert!(!answer.body.to_string().contains("hunter2"), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_bad_body_is_400_and_says_where_and_what_is_expected() {
    let server = TestServer::start();
    let deep = format!("{{\"params\":{}", "[".repeat(10_000));
    let tags = json!({"params": {"systemTags": vec!["hunter2"; 65]}}).to_string();
    for (body, details) in [
        ("", "the body has no action; expected one of reconnectImageStoreBackupStorage, params"),
        ("{}", "the body has no action"),
        (r#"{"reconnectBackupStorage":{"password":"hunter2"}}"#, "the body has no action"),
        ("hunter2", "the body is not JSON: expected value at line 1 column 1"),
        (r#"{"params":{"#, "the body is not JSON: EOF while parsing"),
        (r#"["hunter2"]"#, "$: expected a JSON object"),
        (r#"{"params":"hunter2"}"#, "$.params: expected a JSON object"),
        (r#"{"params":{"userTags":[7]}}"#, "$.params.userTags[0]: expected a string"),
        (&tags, "$.params.systemTags: expected a list of at most 64 strings"),
        (&deep, "the body is not JSON: nested deeper than 127 levels"),
    ] {
        refused(&server, HttpRequest::new(&line(), body), 400, "SYS.1007", details).await;
    }
    assert!(server.stores.tags().is_empty());
}

/// The library that decodes paths has a text of its own for such a request.
#[tokio::test]
async fn a_path_that_is_not_utf8_gets_an_error_in_json_on_every_route() {
    let server = TestServer::start();
    let paths = served_paths(&["/zstack".to_owned()], &["/imagestore".to_owned()]);
    let is_legacy = |path: &str| path.starts_with("/zstack/api");
    for (method, path) in paths.into_iter().filter(|(_, path)| path.contains('{')) {
        let method = method.map_or("GET", RouteMethod::as_str);
        let segments = path.split('/').map(|segment| match segment.starts_with('{') {
            true => "%ff",
            false => segment,
        });
        let line = format!("{method} {}", segments.collect::<Vec<_>>().join("/"));
        for token in [Some(ADMIN), None] {
            let answer = server.ask(HttpRequest { token, ..HttpRequest::new(&line, "{}") }).await;
            let is_json = match is_legacy(&path) {
                true => answer.body["state"] == json!("Done"),
                false => answer.body.is_object(),
            };
            assert!(is_json, "{line}: {answer:?}");
            if !is_legacy(&path) && answer.status >= 400 {
                assert!(answer.error("/code").is_string(), "{line}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_with_the_same_key_twice_is_400_and_names_its_position() {
    let server = TestServer::start();
    let (action, post) = (line(), format!("POST {STORES}"));
    for (line, body, column) in [
        (&action, r#"{"params":{},"params":{}}"#, 21),
        (&action, r#"{"params":{"force":false,"force":true}}"#, 32),
        (&action, r#"{"params":{},"x":[{"hunter2":1,"y":{"a":1,"\u0061":2}}]}"#, 50),
        (&action, r#"{"hunter2":"hunter2","hunter2":1}"#, 30),
        (&action, r#"{"acceptHostKey":{"fingerprint":"hunter2","fingerprint":"hunter2"}}"#, 55),
        (&post, r#"{"params":{"url":"/srv/images/a","url":"/srv/images/b"}}"#, 38),
        // A byte order mark hides nothing.
        (&post, "\u{feff}{\"params\":{},\"params\":null}", 21),
    ] {
        let details =
            format!("an object in the body has the same key twice: line 1 column {column}");
        refused(&server, HttpRequest::new(line, body), 400, "SYS.1007", &details).await;
    }
    assert!(server.stores.tags().is_empty());
}

#[tokio::test]
async fn a_bad_add_is_400_before_anything_is_touched() {
    let server = TestServer::start();
    let post = format!("POST {STORES}");
    for (body, details) in [
        ("", "$.params: expected a JSON object"),
        (r#"{"params":{"name":"x"}}"#, "$.params.url: expected an absolute path"),
        (r#"{"params":{"name":"x","url":"/etc"}}"#, "$.params.url: expected an absolute path"),
        (r#"{"params":{"name":"x","url":"/srv/images/../x"}}"#, "$.params.url: expected"),
    ] {
        refused(&server, HttpRequest::new(&post, body), 400, "SYS.1007", details).await;
    }
    assert!(server.stores.added().is_empty());
}

#[tokio::test]
async fn a_malformed_uuid_is_400_and_an_unknown_one_404() {
    let server = TestServer::start();
    let upper = GOOD.to_string().replace('0', "A");
    for bad in ["8a2f", upper.as_str(), "%ff%fe", "00000000-0000-4000-8000-000000000001"] {
        let details = "the uuid in the path is not 32 lower-case";
        for line in [
            format!("PUT {STORES}/{bad}/actions"),
            format!("GET {STORES}/{bad}"),
            format!("DELETE /zstack/v1/backup-storage/{bad}"),
        ] {
            let body = if line.starts_with("PUT") { PARAMS } else { "" };
            refused(&server, HttpRequest::new(&line, body), 400, "SYS.1007", details).await;
        }
    }
    let unknown = format!("PUT {STORES}/{}/actions", "a".repeat(32));
    refused(
        &server,
        HttpRequest::new(&unknown, PARAMS),
        404,
        "SYS.1003",
        "no store has the uuid aaaa",
    )
    .await;
    assert!(server.stores.removed().is_empty());
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let server = TestServer::start();
    for line in [
        "GET /",
        "GET /metrics/",
        "GET /zstack/v1/backup-storages",
        "GET /v1/backup-storage/image-store",
        "GET /zstack/v1/backup-storage/image-store/",
        "GET //healthz",
    ] {
        refused(&server, HttpRequest::new(line, ""), 404, "SYS.1003", "the path does not exist")
            .await;
    }
}

#[tokio::test]
async fn a_method_a_path_does_not_have_is_405_with_those_it_has() {
    let server = TestServer::start();
    for (path, method, allow) in [
        (format!("{STORES}/{GOOD}/actions"), "POST", "PUT"),
        (STORES.to_owned(), "DELETE", "GET,HEAD,POST"),
        (format!("{STORES}/{GOOD}"), "PATCH", "GET,HEAD"),
        (format!("/zstack/v1/backup-storage/{GOOD}"), "PUT", "GET,HEAD,DELETE"),
        ("/healthz".to_owned(), "POST", "GET,HEAD"),
    ] {
        let line = format!("{method} {path}");
        let answer = server.ask(HttpRequest::new(&line, "")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{line}");
        assert_eq!(answer.error("/code"), "SYS.1007");
    }
}

#[tokio::test]
async fn who_has_no_known_session_is_401_and_who_may_not_is_403() {
    let server = TestServer::start();
    let line = line();
    let request = HttpRequest::new(&line, PARAMS);
    let without = HttpRequest { token: None, ..request };
    refused(&server, without, 401, "ID.1001", "the request does not have exactly one valid Auth")
        .await;
    let empty = HttpRequest { headers: "Authorization: OAuth \r\n", ..without };
    refused(&server, empty, 401, "ID.1001", "the request does not have exactly one valid Auth")
        .await;
    let undated = HttpRequest { headers: "Authorization: ZStack id:sig\r\n", ..without };
    refused(&server, undated, 400, "SYS.1007", "the signed request has no Date header").await;
    let twice = HttpRequest { headers: "Authorization: OAuth x\r\n", ..request };
    refused(&server, twice, 401, "ID.1001", "the request does not have exactly one valid Auth")
        .await;
    let wrong = HttpRequest { token: Some("hunter2"), ..request };
    refused(&server, wrong, 401, "ID.1001", "the session is unknown").await;
    let challenge = server.ask(wrong).await;
    assert!(challenge.header("www-authenticate").unwrap().starts_with("OAuth "));
    // A client without a session does not learn which paths exist.
    let nowhere = HttpRequest { token: None, ..HttpRequest::new("GET /nowhere", "") };
    refused(&server, nowhere, 401, "ID.1001", "the request does not have exactly one valid Auth")
        .await;

    let add = format!("POST {STORES}");
    let remove = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
    for (line, body) in [(&line, PARAMS), (&add, PARAMS), (&remove, "")] {
        let small = HttpRequest { token: Some(READER), ..HttpRequest::new(line, body) };
        refused(&server, small, 403, "ID.1002", "the request needs the role operate").await;
    }
    let list = format!("GET {STORES}");
    let look = HttpRequest { token: Some(READER), ..HttpRequest::new(&list, "") };
    assert_eq!(server.ask(look).await.status, 200);
    let bearer = HttpRequest { headers: "Authorization: Bearer operator-token\r\n", ..without };
    assert_eq!(server.ask(bearer).await.status, 200);
    assert_eq!(server.stores.tags().len(), 1);
    assert!(server.stores.removed().is_empty() && server.stores.added().is_empty());
}

#[tokio::test]
async fn a_host_this_daemon_does_not_answer_to_is_421() {
    let server = TestServer::start();
    for host in ["127.0.0.1:7811", "[::1]", "localhost:1", "NODE-1.example"] {
        let line = line();
        let answer = server.ask(HttpRequest { host, ..HttpRequest::new(&line, PARAMS) }).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for line in [line().as_str(), "GET /healthz"] {
        let other = HttpRequest { host: "attacker.example", ..HttpRequest::new(line, "") };
        refused(&server, other, 421, "SYS.1007", "the request names a host that is not allowed")
            .await;
        let none = "the request does not have exactly one valid Host header";
        let two = HttpRequest { headers: "Host: localhost\r\n", ..HttpRequest::new(line, "") };
        refused(&server, two, 400, "SYS.1007", none).await;
    }
    let answer = exchange(server.connect().await, b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_body_that_is_not_said_to_be_json_is_415() {
    let server = TestServer::start();
    let line = line();
    for headers in [
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json, text/plain\r\n",
    ] {
        let request = HttpRequest { headers, ..HttpRequest::new(&line, PARAMS) };
        refused(&server, request, 415, "SYS.1007", "the Content-Type is not application/json")
            .await;
    }
    let headers = "Content-Type: application/json; charset=utf-8\r\n";
    let request = HttpRequest { headers, ..HttpRequest::new(&line, PARAMS) };
    assert_eq!(server.ask(request).await.status, 200);
}

#[tokio::test]
async fn a_body_of_ten_mebibytes_is_413_whether_its_length_is_announced_or_not() {
    let server = TestServer::start();
    let line = line();
    let large = "x".repeat(10 << 20);
    let details = format!("the body is larger than {MAX_BODY_BYTES} bytes");
    refused(&server, HttpRequest::new(&line, &large), 413, "SYS.1007", &details).await;

    let mut chunked =
        HttpRequest { headers: "Transfer-Encoding: chunked\r\n", ..HttpRequest::new(&line, "") }
            .bytes();
    chunked.extend_from_slice(format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes());
    let answer = exchange(server.connect().await, &chunked).await;
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));

    // A client that waits for a 100 gets the final status at once.
    let headers = "Expect: 100-continue\r\nContent-Length: 10485760\r\n";
    let patient = HttpRequest { headers, ..HttpRequest::new(&line, "") }.bytes();
    assert_eq!(exchange(server.connect().await, &patient).await.status, 413);

    let most = format!("{PARAMS}{}", " ".repeat(MAX_BODY_BYTES - PARAMS.len()));
    assert_eq!(server.ask(HttpRequest::new(&line, &most)).await.status, 200);
}

#[tokio::test]
async fn an_add_with_the_longest_key_and_tags_is_no_413() {
    let server = TestServer::start();
    // A character as a client writes it, and as the daemon counts it.
    for (written, read) in
        [("t", "t"), ("é", "é"), (r"\u00e9", "é"), (r"\ud83d\ude00", "\u{1f600}")]
    {
        let tags = vec![format!("\"{}\"", written.repeat(Tags::MAX_CHARS)); Tags::MAX_COUNT];
        let tags = tags.join(",");
        let body = format!(
            r#"{{"systemTags":[{tags}],"userTags":[{tags}],"params":{{"name":"images",
                "hostname":"127.0.0.1","username":"root","url":"/srv/images/a",
                "privateKey":"{}","systemTags":[{tags}],"userTags":[{tags}]}}}}"#,
            written.repeat(32 * 1024),
        );
        let answer = server.ask(HttpRequest::new(&format!("POST {STORES}"), &body)).await;
        assert_eq!(answer.status, 200, "{written}: {answer:?}");
        let added = server.stores.added().pop().unwrap();
        assert_eq!(added.tags.user_tags()[63], read.repeat(Tags::MAX_CHARS));
    }
}

#[tokio::test]
async fn a_large_body_does_not_drown_the_answer_that_a_session_is_missing() {
    let server = TestServer::start();
    let large = "x".repeat(1 << 20);
    let line = line();
    let request = HttpRequest { token: None, ..HttpRequest::new(&line, &large) };
    refused(&server, request, 401, "ID.1001", "the request does not have exactly one valid Auth")
        .await;
}

#[tokio::test]
async fn a_body_that_is_not_framed_as_announced_is_400() {
    let server = TestServer::start();
    let mut bytes =
        HttpRequest { headers: "Transfer-Encoding: chunked\r\n", ..HttpRequest::new(&line(), "") }
            .bytes();
    bytes.extend_from_slice(b"zz\r\n");
    let answer = exchange(server.connect().await, &bytes).await;
    assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")));
    assert!(server.stores.tags().is_empty());
}
