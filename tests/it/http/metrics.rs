//! The metrics over a real socket.

use std::collections::BTreeSet;

use imagestore_agent::http::ServerLimits;
use imagestore_agent::metrics::{FAMILIES, FamilyKind};
use imagestore_agent::model::Condition;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::http_server::{
    BROKEN, GOOD, HELD, HttpRequest, HttpResponse, READER, TestServer, named_snapshot, read_answer,
    read_head, with_timeout,
};
use crate::support::scrape::Scrape;
use crate::support::wait::until;

const OPEN_METRICS: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";

async fn get_metrics(server: &TestServer, token: Option<&str>, headers: &str) -> HttpResponse {
    server.ask(HttpRequest { token, headers, ..HttpRequest::new("GET /metrics", "") }).await
}

fn text(response: &HttpResponse) -> &str {
    assert_eq!(response.status, 200, "{}", response.body);
    response.body.as_str().unwrap()
}

async fn scrape(server: &TestServer) -> Scrape {
    Scrape::parse(text(&get_metrics(server, Some(READER), "").await))
}

#[tokio::test]
async fn a_reader_gets_the_stores_in_the_format_that_it_asks_for() {
    let server = TestServer::start();
    let plain = get_metrics(&server, Some(READER), "").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let open = get_metrics(&server, Some(READER), OPEN_METRICS).await;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(content_type));
    assert!(!text(&plain).contains("# EOF"), "{}", text(&plain));
    assert!(text(&open).ends_with("\n# EOF\n"), "{}", text(&open));
    for response in [&plain, &open] {
        let scrape = Scrape::parse(text(response));
        for store in [GOOD, BROKEN] {
            let store = store.to_string();
            let of_store = ("store", store.as_str());
            let value = |name: &str| scrape.value(name, &[of_store]);
            assert_eq!(value("imagestore_store_capacity_bytes"), 1000.0);
            assert_eq!(value("imagestore_store_available_bytes"), 400.0);
            assert_eq!(value("imagestore_store_info"), 1.0);
            assert_eq!(scrape.find("imagestore_store_inodes", &[of_store]), None);
            assert_eq!(scrape.all("imagestore_store_fault", &[of_store]), Vec::<&_>::new());
            for (status, expected) in
                [("connecting", 1.0), ("connected", 0.0), ("disconnected", 0.0)]
            {
                let labels = [of_store, ("status", status)];
                assert_eq!(scrape.value("imagestore_store_status", &labels), expected);
            }
            let conditions = scrape.all("imagestore_store_condition", &[of_store]);
            assert_eq!(conditions.len(), Condition::ALL.len());
            let active = conditions.iter().filter(|sample| sample.value == 1.0);
            let active: BTreeSet<&str> =
                active.map(|sample| sample.labels["condition"].as_str()).collect();
            let expected =
                ["legacy_algorithms", "shared_filesystem", "state_disk_trouble", "unverified"];
            assert_eq!(active, expected.into_iter().collect());
        }
        assert_eq!(scrape.value("imagestore_state_disk_trouble", &[]), 1.0);
        assert_eq!(scrape.value("process_resident_memory_bytes", &[]), 9_437_184.0);
        assert_eq!(scrape.value("process_cpu_seconds_total", &[]), 0.042);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        assert_eq!(scrape.value("imagestore_build_info", &version), 1.0);
    }
}

#[tokio::test]
async fn each_series_belongs_to_a_family_of_the_table_and_has_its_labels() {
    let server = TestServer::start();
    for headers in ["", OPEN_METRICS] {
        let response = get_metrics(&server, Some(READER), headers).await;
        for sample in Scrape::parse(text(&response)).0 {
            let of_sample = FAMILIES.iter().find(|family| {
                let name = family.full_name();
                let is_part = sample.name.strip_prefix(name.as_str()).is_some_and(|suffix| {
                    family.kind == FamilyKind::Histogram
                        && ["_bucket", "_sum", "_count"].contains(&suffix)
                });
                sample.name == name || is_part
            });
            let family = of_sample.unwrap_or_else(|| panic!("{sample:?} has no family"));
            let labels = sample.labels.keys().map(String::as_str).filter(|label| *label != "le");
            let expected: BTreeSet<&str> = family.labels.iter().copied().collect();
            assert_eq!(labels.collect::<BTreeSet<_>>(), expected, "{sample:?}");
        }
    }
}

#[tokio::test]
async fn a_scrape_needs_a_session_unless_the_settings_open_it() {
    let closed = TestServer::start();
    assert_eq!(get_metrics(&closed, None, "").await.status, 401);
    assert_eq!(get_metrics(&closed, Some("wrong"), "").await.status, 401);
    assert_eq!(get_metrics(&closed, Some(READER), "").await.status, 200);

    let open = TestServer::with_settings(|settings| settings.open_metrics = true);
    assert_eq!(get_metrics(&open, None, "").await.status, 200);
    assert_eq!(get_metrics(&open, Some("wrong"), "").await.status, 200);
    let other_host = HttpRequest { host: "evil.example", ..HttpRequest::new("GET /metrics", "") };
    assert_eq!(open.ask(other_host).await.status, 421, "a rebound name");
    let list = HttpRequest { token: None, ..HttpRequest::new("GET /imagestore/stores", "") };
    assert_eq!(open.ask(list).await.status, 401, "only the metrics are open");
    for line in ["POST /metrics", "DELETE /metrics"] {
        let request = HttpRequest { token: None, ..HttpRequest::new(line, "") };
        assert_eq!(open.ask(request).await.status, 405, "{line}");
    }
}

#[tokio::test]
async fn a_scrape_by_the_name_of_the_node_needs_it_in_the_settings() {
    let ask = async |server: &TestServer| {
        let by_name =
            HttpRequest { host: "node-7.example:7811", ..HttpRequest::new("GET /metrics", "") };
        server.ask(by_name).await.status
    };
    assert_eq!(ask(&TestServer::start()).await, 421);
    let named = TestServer::with_settings(|settings| {
        settings.host_names = vec!["node-7.example".to_owned()];
    });
    assert_eq!(ask(&named).await, 200);
}

#[tokio::test]
async fn a_hostile_name_stays_in_its_label() {
    let server = TestServer::start();
    let hostile = "a\"} 1\nimagestore_store_status{store=\"x\\\\\"} 7 # {x=\"镜像\"} \u{202e}";
    let long = "名".repeat(255);
    for name in [hostile, long.as_str(), "", "\\", "\"", "\n", "{}", " # EOF"] {
        server.stores.list(vec![named_snapshot(GOOD, name)]);
        let good = GOOD.to_string();
        for headers in ["", OPEN_METRICS] {
            let response = get_metrics(&server, Some(READER), headers).await;
            let scrape = Scrape::parse(text(&response));
            let info = scrape.all("imagestore_store_info", &[]);
            assert_eq!(info.len(), 1, "{info:?}");
            assert_eq!(info[0].labels["name"], name);
            assert_eq!(scrape.all("imagestore_store_status", &[]).len(), 3);
            assert_eq!(scrape.all("imagestore_store_status", &[("store", &good)]).len(), 3);
        }
    }
}

#[tokio::test]
async fn a_removed_store_leaves_no_series() {
    let server = TestServer::start();
    server.stores.list(Vec::new());
    let before = scrape(&server).await;
    server.stores.list_many(1000);
    let with_stores = scrape(&server).await;
    assert_eq!(with_stores.all("imagestore_store_info", &[]).len(), 1000);
    server.stores.list(Vec::new());
    let after = scrape(&server).await;
    let stores = after.0.iter().filter(|sample| sample.labels.contains_key("store"));
    assert_eq!(stores.collect::<Vec<_>>(), Vec::<&_>::new());
    let series = |scrape: &Scrape| -> BTreeSet<String> {
        let of_requests = |name: &str| name.starts_with("imagestore_http_request");
        let others = scrape.0.iter().filter(|sample| !of_requests(&sample.name));
        others.map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    };
    assert_eq!(series(&after), series(&before));
}

#[tokio::test]
async fn requests_count_by_route_whatever_their_path_is() {
    let server = TestServer::start();
    let store_line = |uuid| format!("GET /zstack/v1/backup-storage/image-store/{uuid}");
    let (good, broken) = (store_line(GOOD), store_line(BROKEN));
    for (line, token) in [
        (good.as_str(), Some(READER)),
        (&broken, Some(READER)),
        (&broken, None),
        ("GET /nowhere/1", Some(READER)),
        ("GET /nowhere/2", None),
        ("BREW /healthz", None),
        ("PUT /healthz", None),
    ] {
        server.ask(HttpRequest { token, ..HttpRequest::new(line, "") }).await;
    }
    let scrape = scrape(&server).await;
    let store = "/zstack/v1/backup-storage/image-store/{uuid}";
    for (route, method, status, expected) in [
        (store, "GET", "200", 2.0),
        (store, "GET", "401", 1.0),
        ("unmatched", "GET", "404", 1.0),
        ("unmatched", "GET", "401", 1.0),
        ("/healthz", "other", "405", 1.0),
        ("/healthz", "PUT", "405", 1.0),
    ] {
        let labels = [("route", route), ("method", method), ("status", status)];
        assert_eq!(scrape.value("imagestore_http_requests_total", &labels), expected, "{labels:?}");
    }
    let count = "imagestore_http_request_duration_seconds_count";
    assert_eq!(scrape.value(count, &[("route", store)]), 3.0);
    let routes: BTreeSet<&str> =
        scrape.all(count, &[]).iter().map(|sample| sample.labels["route"].as_str()).collect();
    assert_eq!(routes, ["/healthz", "unmatched", store].into_iter().collect());
}

#[tokio::test]
async fn a_request_whose_client_has_gone_counts_too() {
    let server = TestServer::start();
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{HELD}/actions");
    let body = r#"{"reconnectImageStoreBackupStorage":{}}"#;
    let mut gone = server.connect().await;
    gone.write_all(&HttpRequest::new(&line, body).bytes()).await.unwrap();
    server.stores.until_begun().await;
    drop(gone);
    server.stores.until_wait_ended().await;
    let labels = [("method", "PUT"), ("status", "499")];
    until("the request counts", async || {
        scrape(&server).await.find("imagestore_http_requests_total", &labels) == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn slow_readers_without_a_session_lock_out_no_scraper_with_one() {
    // More than the buffers of the two sockets hold.
    const STORES: u128 = 8000;
    let limits =
        ServerLimits { max_unsent_metrics_bytes: 24 * 1024 * 1024, ..ServerLimits::default() };
    let server = TestServer::with_open_metrics(limits);
    server.stores.list_many(STORES);
    let request = HttpRequest { token: None, ..HttpRequest::new("GET /metrics", "") };
    let mut slow = server.connect().await;
    slow.write_all(&request.bytes()).await.unwrap();
    let head = read_head(&mut slow).await;
    assert_eq!(head.status, 200);
    let length: usize = head.header("content-length").unwrap().parse().unwrap();
    assert!(length > 12 * 1024 * 1024, "two do not fit: {length}");

    let refused = server.ask(HttpRequest { token: None, ..HttpRequest::new("GET /metrics", "") });
    let refused = refused.await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(get_metrics(&server, Some(READER), "").await.status, 200);

    // The slow one reads on, and gets all of it. Then there is room again.
    let mut rest = vec![0; length];
    with_timeout(slow.read_exact(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"\n"));
    let mut again = server.connect().await;
    again.write_all(&request.bytes()).await.unwrap();
    assert_eq!(read_answer(&mut again).await.status, 200);
}
