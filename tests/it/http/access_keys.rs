//! Requests that are signed with an access key, as ZStack's SDKs send them.

use std::sync::Arc;

use data_encoding::BASE64;
use imagestore_agent::http::AccessKeyTable;
use ring::hmac;
use serde_json::json;

use crate::http::api::LogBuffer;
use crate::support::http_server::*;

const KEYS: &str = "go:AKIDxxxxxxxxxxxxxxxx:secret\njava:AKID-2:WbRgM5AZpL0jUnS2cQ7x:read\n";
const LIST: &str = "/v1/backup-storage/image-store";
/// The clock of the test server, as the SDKs of Go and Java write it in several zones.
const UTC: &str = "Tue, 14 Nov 2023 22:13:20 UTC";
const SHANGHAI: &str = "Wed, 15 Nov 2023 06:13:20 Asia/Shanghai";
const CST: &str = "Wed, 15 Nov 2023 06:13:20 CST";

/// The headers of a request that is signed with a key.
pub(crate) fn signed_headers(
    (id, secret): (&str, &str),
    method: &str,
    date: &str,
    path: &str,
) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let signature = hmac::sign(&key, format!("{method}\n{date}\n{path}").as_bytes());
    let signature = BASE64.encode(signature.as_ref());
    format!("Date: {date}\r\nAuthorization: ZStack {id}:{signature}\r\n")
}

const GO: (&str, &str) = ("AKIDxxxxxxxxxxxxxxxx", "secret");
const JAVA: (&str, &str) = ("AKID-2", "WbRgM5AZpL0jUnS2cQ7x");

fn server() -> TestServer {
    let server = TestServer::start();
    server.access_keys.send_replace(Arc::new(AccessKeyTable::read_file(KEYS).unwrap()));
    server
}

async fn ask(server: &TestServer, line: &str, headers: &str, body: &str) -> HttpResponse {
    server.ask(HttpRequest { token: None, headers, ..HttpRequest::new(line, body) }).await
}

#[tokio::test]
async fn the_requests_of_the_sdks_are_admitted_with_the_role_of_their_key() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = server();
    let list = format!("GET /zstack{LIST}");
    for date in [UTC, SHANGHAI, CST, "Tue, 14 Nov 2023 19:13:20 -03"] {
        let headers = signed_headers(GO, "GET", date, LIST);
        assert_eq!(ask(&server, &list, &headers, "").await.status, 200, "{date}");
        // The query is not signed, and the same headers come twice within a second.
        let query = format!("{list}?limit=1");
        assert_eq!(ask(&server, &query, &headers, "").await.status, 200, "{date}");
    }
    let path = format!("{LIST}/{GOOD}/actions");
    let put = format!("PUT /zstack{path}");
    let body = r#"{"reconnectImageStoreBackupStorage":{}}"#;
    let date = UTC;
    let answer = ask(&server, &put, &signed_headers(GO, "PUT", date, &path), body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = ask(&server, &put, &signed_headers(JAVA, "PUT", date, &path), body).await;
    assert_eq!((answer.status, answer.error("/code")), (403, &json!("ID.1002")));
    let line = log.lines().into_iter().find(|line| line["message"] == "request").unwrap();
    let told = (&line["caller"], &line["kind"], &line["role"]);
    assert_eq!(told, (&json!("go"), &json!("access_key"), &json!("operate")));
    assert!(!log.text().contains("secret\""), "{}", log.text());
}

/// All clients with an access key poll, and the one of Go sends no uuid of a job.
#[tokio::test]
async fn a_failed_call_with_an_access_key_is_read_from_its_job() {
    let server = server();
    for (store, code) in [(BROKEN.to_string(), "BS.1500"), ("f".repeat(32), "SYS.1003")] {
        let path = format!("{LIST}/{store}/actions");
        let headers = signed_headers(GO, "PUT", UTC, &path);
        let body = r#"{"reconnectImageStoreBackupStorage":{}}"#;
        let answer = ask(&server, &format!("PUT /zstack{path}"), &headers, body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        // The client repeats the signature of its call, which is for another method and path.
        let location = answer.body["location"].as_str().unwrap();
        let line = format!("GET {}", location.strip_prefix("http://localhost").unwrap());
        let polled = with_timeout(async {
            loop {
                let polled = ask(&server, &line, &headers, "").await;
                if polled.status != 202 {
                    return polled;
                }
            }
        })
        .await;
        assert_eq!((polled.status, polled.error("/code")), (503, &json!(code)), "{store}");
    }
}

#[tokio::test]
async fn a_signature_that_is_wrong_says_so_in_the_words_that_the_clients_compare() {
    let server = server();
    let list = format!("GET /zstack{LIST}");
    let other = ("AKIDxxxxxxxxxxxxxxxx", "another");
    let unknown = ("AKID-3", "secret");
    for (headers, status, code, words) in [
        (signed_headers(unknown, "GET", UTC, LIST), 401, "ID.1001", "access key id"),
        (signed_headers(other, "GET", UTC, LIST), 401, "ID.1001", "wrong accessKey signature"),
        (signed_headers(GO, "PUT", UTC, LIST), 401, "ID.1001", "wrong accessKey signature"),
        (
            signed_headers(GO, "GET", UTC, &format!("/zstack{LIST}")),
            401,
            "ID.1001",
            "wrong accessKey signature",
        ),
        (
            signed_headers(GO, "GET", UTC, LIST).replace("Date: Tue", "Date: Wed"),
            401,
            "ID.1001",
            "wrong accessKey signature",
        ),
        (
            signed_headers(GO, "GET", "Tue, 14 Nov 2023 21:58:19 UTC", LIST),
            403,
            "ID.1002",
            "requestTimeTooSkewed: the Date of the request is 901 s behind the clock",
        ),
        (
            signed_headers(GO, "GET", "Tue, 14 Nov 2023 22:28:21 UTC", LIST),
            403,
            "ID.1002",
            "requestTimeTooSkewed: the Date of the request is 901 s ahead of the clock",
        ),
        (
            signed_headers(GO, "GET", "2023-11-14T22:13:20Z", LIST),
            400,
            "SYS.1007",
            "the Date does not have the form",
        ),
        (
            signed_headers(GO, "GET", "Tue, 14 Nov 2023 22:13:20 Mars/Base", LIST),
            400,
            "SYS.1007",
            "the time zone of the Date is unknown",
        ),
        (
            signed_headers(GO, "GET", UTC, LIST).replace("Date:", "X-Date:"),
            400,
            "SYS.1007",
            "no Date header",
        ),
        (
            signed_headers(GO, "GET", UTC, LIST) + &format!("Date: {UTC}\r\n"),
            400,
            "SYS.1007",
            "several Date headers",
        ),
        ("Authorization: ZStack AKID\r\n".to_owned(), 401, "ID.1001", "Authorization header"),
    ] {
        let answer = ask(&server, &list, &headers, "").await;
        assert_eq!((answer.status, answer.error("/code")), (status, &json!(code)), "{headers}");
        let details = answer.error("/details").as_str().unwrap();
        assert!(details.contains(words), "{headers}: {details}");
        assert!(answer.error("/elaboration").is_string(), "{headers}");
        assert!(!answer.body.to_string().contains(JAVA.1), "{headers}");
    }
    assert!(server.stores.tags().is_empty());
}

#[tokio::test]
async fn guesses_of_keys_are_limited_and_a_key_still_works() {
    let server = server();
    let list = format!("GET /zstack{LIST}");
    let unknown = signed_headers(("AKID-3", "secret"), "GET", UTC, LIST);
    let wrong = signed_headers(("AKID-2", "another"), "GET", UTC, LIST);
    for count in 1..=20 {
        let headers = if count % 2 == 0 { &unknown } else { &wrong };
        assert_eq!(ask(&server, &list, headers, "").await.status, 401, "{count}");
    }
    for headers in [&unknown, &wrong] {
        let answer = ask(&server, &list, headers, "").await;
        assert_eq!(answer.status, 429);
        assert!(answer.header("retry-after").is_some());
        let details = answer.error("/details").as_str().unwrap();
        assert!(details.contains("wrong signatures"), "{details}");
    }
    let good = signed_headers(GO, "GET", UTC, LIST);
    assert_eq!(ask(&server, &list, &good, "").await.status, 200);
    // A date that is wrong is no guess, because its caller has the key.
    let skewed = signed_headers(GO, "GET", "Tue, 14 Nov 2023 21:13:20 UTC", LIST);
    assert_eq!(ask(&server, &list, &skewed, "").await.status, 403);
}

#[tokio::test]
async fn a_new_table_takes_effect_with_the_next_request_and_a_page_gains_nothing() {
    let server = server();
    let list = format!("GET /zstack{LIST}");
    let headers = signed_headers(GO, "GET", UTC, LIST);
    // A signature is consent, as a session is.
    let foreign = format!("{headers}Origin: http://attacker.example\r\n");
    assert_eq!(ask(&server, &list, &foreign, "").await.status, 200);
    // The agent protocol has no key, and the Unix socket needs none.
    let echo = signed_headers(GO, "POST", UTC, "/imagestore/echo");
    assert_eq!(ask(&server, "POST /imagestore/echo", &echo, "").await.status, 403);
    server.access_keys.send_replace(Arc::default());
    let answer = ask(&server, &list, &headers, "").await;
    assert_eq!((answer.status, answer.error("/code")), (401, &json!("ID.1001")));
}

#[tokio::test]
async fn a_path_is_signed_before_or_after_its_percent_encoding() {
    let server = server();
    // The uuid has an encoded digit, which the daemon decodes before it looks for the store.
    let encoded =
        format!("{LIST}/%{:02x}{}", GOOD.to_string().as_bytes()[0], &GOOD.to_string()[1..]);
    let line = format!("GET /zstack{encoded}");
    for path in [&encoded, &format!("{LIST}/{GOOD}")] {
        let headers = signed_headers(GO, "GET", UTC, path);
        let answer = ask(&server, &line, &headers, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body["inventories"][0]["uuid"], GOOD.to_string());
    }
    let headers = signed_headers(GO, "GET", UTC, &format!("{LIST}/{BROKEN}"));
    assert_eq!(ask(&server, &line, &headers, "").await.status, 401);
}
