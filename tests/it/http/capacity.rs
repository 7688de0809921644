//! `GET {prefix}/stores/{uuid}/capacity`: the use of a store by day, and the forecast from it.

use serde_json::{Value, json};

use crate::support::http_server::{BROKEN, GOOD, HttpRequest, READER, TestServer};

async fn ask(server: &TestServer, store: &str, query: &str) -> (u16, Value) {
    let line = format!("GET /imagestore/stores/{store}/capacity{query}");
    let request = HttpRequest { token: Some(READER), ..HttpRequest::new(&line, "") };
    let answer = server.ask(request).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_store_shows_its_use_by_day_and_the_time_until_its_limits() {
    let server = TestServer::start();
    let good = GOOD.to_string();
    let (status, body) = ask(&server, &good, "").await;
    assert_eq!((status, &body["uuid"]), (200, &json!(GOOD.to_string())), "{body}");
    let points = body["points"].as_array().unwrap();
    assert_eq!(points.len(), 10);
    assert_eq!(
        points[9],
        json!({
            "day": "2024-10-04", "totalCapacity": 1000, "availableCapacity": 400,
            "usedMin": 595, "usedMax": 600, "usedLast": 600,
            "inodes": {"total": 100, "available": 98, "usedMin": 1, "usedMax": 2, "usedLast": 2},
            "coveredSeconds": 86400, "series": 1,
        })
    );
    assert_eq!((&points[0]["day"], &points[0]["inodes"]), (&json!("2024-09-25"), &Value::Null));
    let within = |days, date| json!({"outlook": "within", "days": days, "date": date});
    let limit = |used, days, date| json!({"used": used, "net": within(days, date), "withoutCleanups": within(days, date)});
    assert_eq!(
        body["forecast"],
        json!({
            "sentence": "full in 5 weeks, near full in 4 weeks",
            "bytes": {
                "used": 600, "total": 1000, "knownDays": 10,
                "nearFull": limit(850, 25, "2024-10-29"),
                "full": limit(950, 35, "2024-11-08"),
            },
            "inodes": null,
        })
    );
    // The forecast uses days that are not asked for.
    let (_, two_days) = ask(&server, &good, "?since=2d&language=zh").await;
    assert_eq!(two_days["points"], json!(points[8..]));
    assert_eq!(two_days["forecast"]["bytes"], body["forecast"]["bytes"]);
    assert_eq!(two_days["forecast"]["sentence"], "5 周后写满，4 周后接近写满");
}

#[tokio::test]
async fn a_store_whose_days_cannot_be_read_has_null_for_them() {
    let server = TestServer::start();
    let (status, body) = ask(&server, &BROKEN.to_string(), "").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!((&body["points"], &body["forecast"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_wrong_parameter_or_store_is_refused() {
    let server = TestServer::start();
    let good = GOOD.to_string();
    let unknown = "a".repeat(32);
    for (store, query, status, code) in [
        (good.as_str(), "?since=0d", 400, "SYS.1007"),
        (good.as_str(), "?since=401d", 400, "SYS.1007"),
        (good.as_str(), "?since=soon", 400, "SYS.1007"),
        (good.as_str(), "?since=7d&since=8d", 400, "SYS.1007"),
        (good.as_str(), "?step=1d", 400, "SYS.1007"),
        (good.as_str(), "?language=fr", 400, "SYS.1007"),
        ("nonsense", "", 400, "SYS.1007"),
        (unknown.as_str(), "", 404, "SYS.1003"),
    ] {
        let (found, body) = ask(&server, store, query).await;
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{store} {query}");
    }
    let line = format!("GET /imagestore/stores/{GOOD}/capacity");
    let answer = server.ask(HttpRequest { token: None, ..HttpRequest::new(&line, "") }).await;
    assert_eq!(answer.status, 401);
}
