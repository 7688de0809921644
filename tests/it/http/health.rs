//! The health view over a real socket.

use serde_json::{Value, json};

use crate::support::http_server::{BROKEN, GOOD, HttpRequest, READER, TestServer};

fn kinds(conditions: &Value) -> Vec<(&str, &str)> {
    let conditions = conditions.as_array().unwrap();
    conditions
        .iter()
        .map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_reader_sees_a_store_in_full() {
    let server = TestServer::start();
    let line = format!("GET /imagestore/stores/{GOOD}/health");
    let answer =
        server.ask(HttpRequest { token: Some(READER), ..HttpRequest::new(&line, "") }).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body;
    assert_eq!(body["inventory"]["uuid"], GOOD.to_string());
    assert_eq!(
        kinds(&body["conditions"]),
        [
            ("examine", "Unknown"),
            ("write", "Unknown"),
            ("ssh", "Unknown"),
            ("unverified", "True"),
            ("shared_filesystem", "True"),
            ("legacy_algorithms", "True"),
            ("state_disk_trouble", "True"),
        ]
    );
    for condition in &body["conditions"].as_array().unwrap()[3..] {
        assert_eq!(condition["reason"], condition["type"]);
        assert!(!condition["message"].as_str().unwrap().is_empty(), "{condition}");
        assert!(!condition["remedy"].as_str().unwrap().is_empty(), "{condition}");
    }
    let shared = &body["conditions"][4]["message"];
    assert!(shared.as_str().unwrap().contains(&BROKEN.to_string()), "{shared}");
    assert_eq!(body["conditions"][5]["lastTransitionTime"], "2016-12-22T17:10:06.000Z");
    assert_eq!(body["filesystem"]["mountPoint"], "/srv");
    assert_eq!(body["delivery"], Value::Null, "there is no callback");
    let line = json!({
        "time": "1970-01-01T00:00:00.000Z", "attempt": 1, "event": "condition",
        "condition": "near_full", "holds": true,
    });
    assert_eq!((&body["history"], &body["historyGone"]), (&json!([line]), &json!(3)));
}

#[tokio::test]
async fn all_stores_are_seen_at_a_glance_and_a_shared_filesystem_counts_once() {
    let server = TestServer::start();
    let answer = server.ask(HttpRequest::new("GET /imagestore/stores", "")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body;
    assert_eq!(body["nodeId"], "00000000000000000000000000000007");
    assert_eq!(body["residentBytes"], 9 << 20);
    assert_eq!(body["stores"].as_array().unwrap().len(), 2);
    // An unknown value is no fault.
    let conditions = &body["stores"][0]["conditions"];
    assert_eq!(
        *conditions,
        json!(["unverified", "shared_filesystem", "legacy_algorithms", "state_disk_trouble"])
    );
    let once = json!({ "totalCapacity": 1000, "availableCapacity": 400, "filesystems": 1 });
    assert_eq!(body["capacity"], once, "both lie on 8:1");
}

#[tokio::test]
async fn the_view_wants_a_session_and_a_store() {
    let server = TestServer::start();
    for (line, token, status, code) in [
        ("GET /imagestore/stores".to_owned(), None, 401, "ID.1001"),
        (format!("GET /imagestore/stores/{GOOD}/health"), None, 401, "ID.1001"),
        (
            format!("GET /imagestore/stores/{}/health", "a".repeat(32)),
            Some(READER),
            404,
            "SYS.1003",
        ),
        ("GET /imagestore/stores/nonsense/health".to_owned(), Some(READER), 400, "SYS.1007"),
        ("POST /imagestore/stores".to_owned(), Some(READER), 405, "SYS.1007"),
    ] {
        let answer = server.ask(HttpRequest { token, ..HttpRequest::new(&line, "") }).await;
        assert_eq!((answer.status, answer.error("/code")), (status, &json!(code)), "{line}");
    }
}
