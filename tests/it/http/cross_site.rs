//! Web pages that make a browser send requests: over TCP to the agent protocol, and over the Unix
//! socket.

use serde_json::json;

use crate::http::api::LogBuffer;
use crate::support::http_server::*;

const FOREIGN: &str = "Origin: http://attacker.example\r\n";
const OWN: &str = "Origin: http://localhost\r\n";
const SENTENCE: &str = "a web page of another site sent this request";

fn assert_refused(answer: &HttpResponse, what: &str) {
    assert_eq!((answer.status, answer.error("/code")), (403, &json!("ID.1002")), "{what}");
    assert!(answer.error("/details").as_str().unwrap().starts_with(SENTENCE), "{what}");
    assert_eq!(answer.error("/opaque/rule"), "cross_site_request", "{what}");
    assert!(answer.error("/elaboration").is_string(), "{what}");
}

fn without_token<'a>(line: &'a str, headers: &'a str, body: &'a str) -> HttpRequest<'a> {
    HttpRequest { token: None, headers, ..HttpRequest::new(line, body) }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_call_the_agent_protocol() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::for_agents_of(&["127.0.0.0/8"]);
    let body = json!({"uuid": GOOD.to_string()}).to_string();
    let connect = "POST /imagestore/connect";
    let sites = ["Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n"];
    let navigation = format!("{}Sec-Fetch-Mode: navigate\r\n", sites[0]);
    for headers in [FOREIGN, "Origin: null\r\n", sites[0], sites[1], &navigation] {
        for line in [connect, "POST /imagestore/echo/", "POST /imagestore/ping"] {
            let answer = server.ask(without_token(line, headers, &body)).await;
            assert_refused(&answer, &format!("{line} {headers}"));
        }
    }
    assert!(server.stores.tags().is_empty(), "an attempt was made");
    let refused = log.lines().into_iter().find(|line| line["message"] == "request rejected");
    let refused = refused.unwrap();
    let told = (&refused["status"], &refused["why"], &refused["target"]);
    assert_eq!(told, (&json!(403), &json!("request of another site"), &json!("audit")));
    for headers in ["", OWN, "Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n"] {
        let answer = server.ask(without_token(connect, headers, &body)).await;
        assert_eq!(answer.status, 200, "{headers}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_call_a_forwarded_unix_socket() {
    let (log, _taken) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let put = format!("PUT /zstack/v1/backup-storage/image-store/{GOOD}/actions");
    let remove = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
    let params = r#"{"params":{}}"#;
    let list = "GET /zstack/v1/backup-storage/image-store";
    let ask = async |request: HttpRequest<'_>| {
        exchange(server.connect_local().await, &request.bytes()).await
    };
    for (line, body) in [(put.as_str(), params), (&remove, ""), (list, ""), ("GET /healthz", "")] {
        for headers in [FOREIGN, "Sec-Fetch-Site: cross-site\r\n"] {
            let answer = ask(without_token(line, headers, body)).await;
            assert_refused(&answer, &format!("{line} {headers}"));
        }
        // The page's own name, which its owner has pointed at the forwarded port.
        let headers = "Origin: http://attacker.example\r\nSec-Fetch-Site: same-origin\r\n";
        let host = "attacker.example";
        let answer = ask(HttpRequest { host, ..without_token(line, headers, body) }).await;
        assert_eq!(answer.status, 421, "{line}");
    }
    assert!(server.stores.tags().is_empty() && server.stores.removed().is_empty());
    let rejected = log.lines().into_iter().filter(|line| line["message"] == "request rejected");
    assert_eq!(rejected.count(), 12);
    // A program, a page of the daemon's own origin, and a link that the user follows.
    let navigation = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    for (line, body, headers) in
        [(list, "", ""), (list, "", navigation), (&put, params, OWN), (&put, params, "")]
    {
        assert_eq!(ask(without_token(line, headers, body)).await.status, 200, "{line} {headers}");
    }
    let bare = format!("{list} HTTP/1.0\r\n\r\n");
    let answer = exchange(server.connect_local().await, bare.as_bytes()).await;
    assert_eq!(answer.status, 200, "no browser omits the host");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_a_path_without_a_session() {
    let server = TestServer::start();
    for line in [
        "PUT /zstack/v1/accounts/login",
        "GET /zstack/v1/accounts/sessions/4cd9fb914f5f4a1d8d2f000000000001/valid",
        "DELETE /zstack/v1/accounts/sessions/4cd9fb914f5f4a1d8d2f000000000001",
        "GET /zstack/v1/api-jobs/4cd9fb914f5f4a1d8d2f000000000001",
        "PUT /zstack/v1/management-nodes/actions",
    ] {
        for headers in [FOREIGN, "Sec-Fetch-Site: cross-site\r\n"] {
            assert_refused(&server.ask(without_token(line, headers, "")).await, line);
        }
        let answer = server.ask(without_token(line, OWN, "")).await;
        assert!(![401, 403].contains(&answer.status), "{line}: {}", answer.status);
    }
    // The older protocol has a form of its own.
    let refused = server.ask(without_token("POST /zstack/api/", FOREIGN, "")).await;
    assert_eq!((refused.status, &refused.body["state"]), (403, &"Done".into()));
}

#[tokio::test]
async fn a_session_is_consent_whatever_the_origin_is() {
    let server = TestServer::start();
    let put = format!("PUT /zstack/v1/backup-storage/image-store/{GOOD}/actions");
    let request = HttpRequest { headers: FOREIGN, ..HttpRequest::new(&put, r#"{"params":{}}"#) };
    assert_eq!(server.ask(request).await.status, 200);
    let health = HttpRequest { headers: FOREIGN, ..HttpRequest::new("GET /healthz", "") };
    assert_eq!(server.ask(health).await.status, 200);
}
