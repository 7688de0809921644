//! The health view over a real socket.

use serde_json::{Value, json};

use imagestore_agent::lifecycle::RequestedCheck;

use crate::support::http_server::{
    BROKEN, GOOD, HELD, HttpRequest, READER, STOPPING, TestServer, exchange,
};

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
async fn a_shared_filesystem_names_a_few_stores_and_the_number_of_the_others() {
    let server = TestServer::start();
    let named = |numbers: std::ops::RangeInclusive<u32>| {
        let uuids = numbers.map(|n| format!("000000000000400080000000{n:08x}"));
        uuids.collect::<Vec<_>>().join(", ")
    };
    for (count, expected) in [
        (1, None),
        (2, Some(named(2..=2))),
        (6, Some(named(2..=6))),
        (7, Some(format!("{} and 1 more", named(2..=6)))),
        (1000, Some(format!("{} and 994 more", named(2..=6)))),
    ] {
        server.stores.list_many(count);
        let line = format!("GET /imagestore/stores/{GOOD}/health");
        let health = server.ask(HttpRequest::new(&line, "")).await.body;
        let conditions = health["conditions"].as_array().unwrap();
        let shared = conditions.iter().find(|c| c["type"] == "shared_filesystem");
        let message = shared.map(|shared| shared["message"].as_str().unwrap().to_owned());
        let expected = expected.map(|others| format!("on the same filesystem as {others}"));
        assert_eq!(message, expected, "{count} stores");
        // The summary of all stores agrees.
        let summary = server.ask(HttpRequest::new("GET /imagestore/stores", "")).await.body;
        let stores = summary["stores"].as_array().unwrap();
        assert_eq!(u128::try_from(stores.len()).unwrap(), count);
        for store in stores {
            let kinds = store["conditions"].as_array().unwrap();
            let is_shared = kinds.contains(&json!("shared_filesystem"));
            assert_eq!(is_shared, expected.is_some(), "{store}");
        }
    }
}

/// The test and the server share one thread, so that a handler that does not yield delays all
/// others until its response is written.
#[tokio::test]
async fn a_request_about_ten_thousand_stores_delays_no_other_request() {
    let server = TestServer::start();
    server.stores.list_many(10_000);
    let list = "GET /zstack/v1/backup-storage/image-store";
    for line in ["GET /imagestore/stores", list] {
        let long_request = HttpRequest::new(line, "").bytes();
        let mut long = std::pin::pin!(exchange(server.connect().await, &long_request));
        let requested = server.stores.until_list_requested();
        tokio::select! {
            biased;
            () = requested => {}
            answer = &mut long => panic!("{line}: {}", answer.status),
        }
        let short = server.ask(HttpRequest::new("GET /healthz", ""));
        tokio::select! {
            biased;
            _ = &mut long => panic!("{line} was answered before /healthz"),
            answer = short => assert_eq!(answer.status, 200),
        }
        let answer = long.await;
        assert_eq!(answer.status, 200, "{line}");
    }
}

#[tokio::test]
async fn the_health_of_one_store_needs_no_other_store() {
    let server = TestServer::start();
    server.stores.list_many(1000);
    for path in [format!("stores/{GOOD}/health"), format!("diagnosis?store={GOOD}")] {
        let line = format!("GET /imagestore/{path}");
        let answer = server.ask(HttpRequest::new(&line, "")).await;
        assert_eq!((answer.status, server.stores.list_requests()), (200, 0), "{path}");
    }
    for (requests, path) in ["stores", "diagnosis"].into_iter().enumerate() {
        server.ask(HttpRequest::new(&format!("GET /imagestore/{path}"), "")).await;
        assert_eq!(server.stores.list_requests(), requests + 1, "{path}");
    }
}

/// Returns the processor time of this thread so far, in nanoseconds.
fn processor_time() -> u64 {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    used.split(' ').next().unwrap().parse().unwrap()
}

/// The test and the server share one thread, whose processor time is that of both.
#[tokio::test]
async fn eight_times_the_stores_cost_eight_times_as_much() {
    const FEW: u128 = 500;
    let server = TestServer::start();
    let list = "GET /zstack/v1/backup-storage/image-store";
    for (line, rounds) in [("GET /imagestore/stores", 2), (list, 2)] {
        let cost = async |stores: u128, requests: u32| {
            server.stores.list_many(stores);
            let before = processor_time();
            for _ in 0..requests {
                let answer = server.ask(HttpRequest::new(line, "")).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            processor_time() - before
        };
        cost(FEW, 1).await;
        // The same number of stores in both. A quadratic cost would be eight times as high.
        let (of_few, of_many) = (cost(FEW, 8 * rounds).await, cost(8 * FEW, rounds).await);
        assert!(of_many < 3 * of_few, "{line}: {of_few} ns, {of_many} ns");
    }
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

/// Returns the ids of the findings with this verdict.
fn ids<'a>(body: &'a Value, verdict: &str) -> Vec<&'a str> {
    let checks = body["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["verdict"] == verdict)
        .map(|it| it["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_diagnosis_has_a_finding_for_each_check_of_the_daemon_and_of_each_store() {
    let server = TestServer::start();
    let ask = async |query: &str| {
        let line = format!("GET /imagestore/diagnosis{query}");
        server.ask(HttpRequest { token: Some(READER), ..HttpRequest::new(&line, "") }).await
    };
    let answer = ask("").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body;
    assert_eq!((&body["outputVersion"], &body["worst"]), (&json!(1), &json!("error")));
    let of_daemon: Vec<&Value> = body["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["store"].is_null())
        .collect();
    assert_eq!(
        of_daemon.iter().map(|check| check["id"].as_str().unwrap()).collect::<Vec<_>>(),
        [
            "state.writable",
            "service.answers",
            "management.delivered",
            "service.clock",
            "management.callback",
            "management.agent_allow",
            "certificate.server",
            "certificate.client",
        ]
    );
    let good: Vec<&Value> = body["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["store"]["uuid"] == GOOD.to_string())
        .collect();
    // The state disk of this server has a problem, which concerns each store.
    assert_eq!(good.len(), 15);
    let brief = ask(&format!("?store={GOOD}&brief=true")).await.body;
    assert_eq!(ids(&brief, "error"), ["state.writable"]);
    assert!(ids(&brief, "ok").is_empty() && ids(&brief, "skipped").is_empty(), "{brief}");
    let finding = &brief["checks"][0];
    assert_eq!(finding["see"], "imagestore-agent explain state_disk_trouble");
    let impact = finding["impact"].as_str().unwrap();
    let chinese = ask(&format!("?store={GOOD}&brief=true&language=zh")).await.body;
    // The observation is evidence: it stands behind the meaning of its reason.
    let observed = format!("（{}）", finding["summary"].as_str().unwrap());
    let summary = chinese["checks"][0]["summary"].as_str().unwrap();
    assert!(summary.ends_with(&observed) && !summary.starts_with('（'), "{summary}");
    assert!(impact.is_ascii() && !chinese["checks"][0]["impact"].as_str().unwrap().is_ascii());
    for (query, status) in [
        ("?store=images", 400),
        ("?brief=yes", 400),
        ("?language=fr", 400),
        ("?stores=1", 400),
        ("?store=4cd9fb914f5f4a1d8d2f000000000009", 404),
    ] {
        assert_eq!(ask(query).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_requested_check_is_answered_with_the_health_or_the_reason_why_it_was_not_made() {
    let server = TestServer::start();
    for (path, check) in [("probe", RequestedCheck::Probe), ("login", RequestedCheck::Login)] {
        let ask = async |store: &str, body: &str| {
            let line = format!("POST /imagestore/stores/{store}/{path}");
            server.ask(HttpRequest::new(&line, body)).await
        };
        let view = format!("GET /imagestore/stores/{GOOD}/health");
        let view = server.ask(HttpRequest::new(&view, "")).await.body;
        assert_eq!(view["loginsLeft"], 3);
        let good = GOOD.to_string();
        for body in ["", "{}", " {} ", "null"] {
            let answer = ask(&good, body).await;
            assert_eq!((answer.status, &answer.body), (200, &view), "{path} {body:?}");
        }
        assert_eq!(server.stores.checked().last(), Some(&check));
        let made = server.stores.checked().len();
        for body in [r#"{"params":{}}"#, r#"{"force":true}"#, r#"{"x":null}"#, "[]", "x", "{"] {
            assert_eq!(ask(&good, body).await.status, 400, "{path} {body:?}");
        }
        assert_eq!(ask("images", "").await.status, 400);
        assert_eq!(server.stores.checked().len(), made, "nothing was done");
        let line = format!("POST /imagestore/stores/{good}/{path}");
        let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(&line, "") };
        assert_eq!(server.ask(reader).await.status, 403);
        assert_eq!(server.stores.checked().len(), made, "nothing was done");
        let unknown = ask("00000000000040008000000000000099", "").await;
        assert_eq!((unknown.status, unknown.error("/code")), (404, &json!("SYS.1003")));

        let too_soon = ask(&HELD.to_string(), "").await;
        assert_eq!((too_soon.status, too_soon.header("retry-after")), (429, Some("9")));
        let refused = ask(&BROKEN.to_string(), "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("600")));
        assert_eq!(refused.error("/opaque/reason"), "credentials_refused");
        let stuck = ask(&STOPPING.to_string(), "").await;
        assert_eq!((stuck.status, stuck.header("retry-after")), (503, None));
        assert_eq!(stuck.error("/opaque/reason"), "probe_stuck");
    }
}
