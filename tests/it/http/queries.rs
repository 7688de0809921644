//! Queries over HTTP: those of ZStack's SDKs as they are sent, and every parameter beside them.

use std::sync::Arc;

use imagestore_agent::agent::StoreSnapshot;
use imagestore_agent::common::Timestamp;
use imagestore_agent::model::{Capacity, Status, Store, StoreUuid};
use serde_json::{Value, json};

use crate::support::golden_request::{GoldenRequest, RECORDED_ZONE};
use crate::support::http_server::*;

const STORAGE: &str = "/zstack/v1/backup-storage";
const STORE_CLASS: &str = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory";
const ZONE: &str = RECORDED_ZONE;
const OTHER_ZONE: &str = "c0a80101000040008000000000000002";
/// The store of the recorded requests that no daemon has.
const UNKNOWN: &str = "c0a80101000040008000000000000009";

/// Creates a store with this number and name, on a filesystem of its own.
fn named(number: u128, name: &str, change: impl FnOnce(&mut StoreSnapshot)) -> Arc<StoreSnapshot> {
    let uuid = StoreUuid::from_u128((0x4000_8000_u128 << 64) | number);
    let mut changed = Arc::unwrap_or_clone(snapshot(uuid));
    changed.inventory.name = name.to_owned();
    edit_store(&mut changed, |store| store.mount.device = format!("8:{number}"));
    change(&mut changed);
    Arc::new(changed)
}

fn edit_store(snapshot: &mut StoreSnapshot, edit: impl FnOnce(&mut Store)) {
    let mut store = Store::clone(&snapshot.store);
    edit(&mut store);
    snapshot.store = Arc::new(store);
}

/// Starts a server with three stores: `alpha`, `Beta` in a zone, and `gamma`, which is on the
/// filesystem of `alpha`.
fn server_with_stores() -> TestServer {
    let server = TestServer::start();
    let measured = |snapshot: &mut StoreSnapshot, total, available| {
        let capacity = Some(Capacity::new(total, available).unwrap());
        (snapshot.inventory.capacity, snapshot.durable.capacity) = (capacity, capacity);
    };
    let alpha = named(1, "alpha", |store| measured(store, 100, 40));
    let beta = named(2, "Beta", |store| {
        measured(store, 1000, 7);
        store.inventory.status = Status::Disconnected;
        store.inventory.zone_uuids = vec![ZONE.to_owned(), OTHER_ZONE.to_owned()];
        store.inventory.created = Timestamp(1_482_426_607_500);
    });
    let gamma = named(3, "gamma", |store| {
        measured(store, 100, 40);
        store.inventory.zone_uuids = vec![ZONE.to_owned()];
        edit_store(store, |store| store.mount.device = "8:1".to_owned());
    });
    server.stores.list(vec![alpha, beta, gamma]);
    server
}

fn uuid(number: u128) -> String {
    StoreUuid::from_u128((0x4000_8000_u128 << 64) | number).to_string()
}

async fn get(server: &TestServer, path: &str) -> HttpResponse {
    let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(path, "") };
    let line = format!("GET {path}");
    server.ask(HttpRequest { line: &line, ..reader }).await
}

fn names(answer: &HttpResponse) -> Vec<&str> {
    let inventories = answer.body["inventories"].as_array().unwrap();
    inventories.iter().map(|inventory| inventory["name"].as_str().unwrap()).collect()
}

fn schema_of(class: &str, count: usize) -> Value {
    (0..count).map(|index| (format!("inventories[{index}]"), json!(class))).collect()
}

#[tokio::test]
async fn the_recorded_queries_get_the_stores_that_they_ask_for() {
    let server = server_with_stores();
    let (all, none): (&[&str], &[&str]) = (&["alpha", "Beta", "gamma"], &[]);
    for (file, expected, total) in [
        ("go-query", &["alpha"][..], None),
        ("go-query-2", none, None),
        ("go-query-3", none, None),
        ("go-queryany", all, None),
        ("go-page", &["gamma"], Some(3)),
        ("go-listall", all, Some(3)),
        ("go-get", &["alpha"], None),
        ("go-get-2", none, None),
        ("go-getany", &["alpha"], None),
        ("java-query-generic", all, None),
        ("java-query-image-store", &["alpha"], None),
        ("java-query-image-store-all", none, Some(0)),
    ] {
        let request = GoldenRequest::read(file, READER).of_store(&uuid(1));
        let answer = request.send_to(server.address()).await;
        assert_eq!((answer.status, names(&answer)), (200, expected.to_vec()), "{file}");
        assert_eq!(answer.body["schema"], schema_of(STORE_CLASS, expected.len()), "{file}");
        assert_eq!(answer.body.get("total"), total.map(|total: u32| json!(total)).as_ref());
        assert_eq!(answer.header("content-encoding"), None, "{file}");
    }
    let count = GoldenRequest::read("java-query-count", READER).send_to(server.address()).await;
    assert_eq!((count.status, count.body), (200, json!({"total": 3})));
    // The same query for a store that is there.
    let found = GoldenRequest::read("java-query-image-store-all", READER)
        .replacing("nothing-has-this-name", "ALPHA")
        .send_to(server.address())
        .await;
    let expected = json!({
        "inventories": [{"uuid": uuid(1), "name": "alpha"}], "total": 1,
        "schema": {"inventories[0]": STORE_CLASS}
    });
    assert_eq!((found.status, found.body), (200, expected));
}

#[tokio::test]
async fn the_other_recorded_requests_get_types_capacity_and_zones() {
    let server = server_with_stores();
    let send = async |file: &str| {
        let request = GoldenRequest::read(file, READER).of_store(&uuid(2));
        let answer = request.send_to(server.address()).await;
        assert_eq!(answer.status, 200, "{file}");
        answer.body
    };
    let types = json!({"types": ["ImageStoreBackupStorage"], "schema": {}});
    assert_eq!(send("java-types").await, types);
    let capacity = json!({"totalCapacity": 1000, "availableCapacity": 7, "schema": {}});
    assert_eq!(send("java-capacity").await, capacity);
    let capacity = json!({"totalCapacity": 1100, "availableCapacity": 47, "schema": {}});
    assert_eq!(send("java-capacity-all").await, capacity);
    let zones = json!({
        "inventories": [{"uuid": ZONE}, {"uuid": OTHER_ZONE}],
        "schema": schema_of("org.zstack.header.zone.ZoneInventory", 2)
    });
    assert_eq!(send("java-zones").await, zones);
    assert_eq!(send("go-zones").await, zones);
}

#[tokio::test]
async fn every_parameter_of_a_query_counts_on_both_paths() {
    let server = server_with_stores();
    for base in [STORAGE.to_owned(), format!("{STORAGE}/image-store")] {
        for (query, expected) in [
            ("", vec!["alpha", "Beta", "gamma"]),
            ("?", vec!["alpha", "Beta", "gamma"]),
            ("?q=name%3DBETA", vec!["Beta"]),
            ("?q=name=beta", vec!["Beta"]),
            ("?q=name~=%25a", vec!["alpha", "Beta", "gamma"]),
            ("?q=name~=_eta", vec!["Beta"]),
            ("?q=name!~=%25a%25m%25", vec!["alpha", "Beta"]),
            ("?q=status%3F%3DConnected,Connecting&q=name%3Eb", vec!["gamma"]),
            ("?q=totalCapacity%3E=1e3", vec!["Beta"]),
            ("?q=createDate%3EDec+22,+2016+5:10:06+PM", vec!["Beta"]),
            ("?q=createDate=2016-12-22T17:10:07Z", vec!["Beta"]),
            ("?q=description%20is%20null&limit=2", vec!["alpha", "Beta"]),
            ("?q=description+not+null", vec![]),
            ("?q=attachedZoneUuids=c0a80101000040008000000000000002", vec!["Beta"]),
            ("?limit=0", vec![]),
            ("?start=2", vec!["gamma"]),
            ("?start=3", vec![]),
            ("?sort=-name", vec!["gamma", "Beta", "alpha"]),
            ("?sort=%2Bname&limit=1", vec!["alpha"]),
            ("?sort=+name&limit=1&start=1", vec!["Beta"]),
            ("?sort=name&unknown=x&unknown=y", vec!["alpha", "Beta", "gamma"]),
            ("?sort=-totalCapacity", vec!["Beta", "alpha", "gamma"]),
        ] {
            let answer = get(&server, &format!("{base}{query}")).await;
            assert_eq!((answer.status, names(&answer)), (200, expected.clone()), "{base}{query}");
            assert_eq!(answer.body["schema"], schema_of(STORE_CLASS, expected.len()), "{query}");
        }
        let path = format!("{base}?count=true&q=name!=alpha&limit=1&sort=name");
        assert_eq!(get(&server, &path).await.body, json!({"total": 2}));
        let fields = get(&server, &format!("{base}?fields=uuid&limit=1")).await;
        let expected = json!({
            "inventories": [{"uuid": uuid(1)}], "schema": {"inventories[0]": STORE_CLASS}
        });
        assert_eq!(fields.body, expected);
        let total = get(&server, &format!("{base}?replyWithCount=true&limit=0")).await;
        assert_eq!(total.body, json!({"inventories": [], "total": 3, "schema": {}}));
    }
    let whole = get(&server, STORAGE).await;
    assert_eq!(whole.body["inventories"][0].as_object().unwrap().len(), 15);
    let head = format!("HEAD {STORAGE}?limit=1");
    let mut stream = server.connect().await;
    let request = HttpRequest { token: Some(READER), ..HttpRequest::new(&head, "") }.bytes();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_store_by_its_uuid_is_a_list_and_takes_the_parameters_too() {
    let server = server_with_stores();
    for base in [STORAGE.to_owned(), format!("{STORAGE}/image-store")] {
        for (path, expected) in [
            (format!("{base}/{}", uuid(2)), vec!["Beta"]),
            (format!("{base}/{}?", uuid(2)), vec!["Beta"]),
            (format!("{base}/{}?q=name=beta", uuid(2)), vec!["Beta"]),
            (format!("{base}/{}?q=name=alpha", uuid(2)), vec![]),
            (format!("{base}/{}?limit=0", uuid(2)), vec![]),
            (format!("{base}/{UNKNOWN}"), vec![]),
            (format!("{base}/{UNKNOWN}?q=name=beta"), vec![]),
        ] {
            let answer = get(&server, &path).await;
            assert_eq!((answer.status, names(&answer)), (200, expected.clone()), "{path}");
            assert_eq!(answer.body["schema"], schema_of(STORE_CLASS, expected.len()), "{path}");
        }
        let count = get(&server, &format!("{base}/{UNKNOWN}?count=true")).await;
        assert_eq!((count.status, count.body), (200, json!({"total": 0})));
        for path in [format!("{base}/x"), format!("{base}/{}?limit=x", uuid(2))] {
            let answer = get(&server, &path).await;
            assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{path}");
        }
    }
}

#[tokio::test]
async fn a_parameter_that_cannot_be_honoured_is_refused_by_its_name() {
    let server = server_with_stores();
    for (query, parameter, part) in [
        ("q=hunter2", "q", "expected a field and an operator"),
        ("q=password%3Dhunter2", "q", "password is no field"),
        ("q=sshPort%3Dhunter2", "q", "expected a number"),
        ("q=name=a&q=zone=hunter2", "q", "zone is no field"),
        ("q=%zz", "q", "expected percent-encoded UTF-8"),
        ("q=name=%ff", "q", "expected percent-encoded UTF-8"),
        ("limit=x", "limit", "expected a whole number"),
        ("limit=1&limit=1", "limit", "only once"),
        ("start=-1", "start", "expected a whole number"),
        ("count=1", "count", "expected true or false"),
        ("replyWithCount=", "replyWithCount", "expected true or false"),
        ("sort=password", "sort", "password is no field"),
        ("fields=uuid,privateKey", "fields", "privateKey is no field"),
        ("groupBy=name", "groupBy", "does not support"),
        ("filterName=x", "filterName", "does not support"),
    ] {
        let paths = [
            format!("{STORAGE}?{query}"),
            format!("{STORAGE}/image-store?{query}"),
            format!("{STORAGE}/image-store/{}?{query}", uuid(1)),
            format!("{STORAGE}/{UNKNOWN}?{query}"),
            format!("/zstack/v1/zones?{query}"),
        ];
        for path in paths {
            let answer = get(&server, &path).await;
            assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{path}");
            assert_eq!(answer.error("/opaque/parameter"), parameter, "{path}");
            let details = answer.error("/details").as_str().unwrap();
            assert!(details.contains(&format!("the query parameter {parameter}: ")), "{details}");
            // Zones have neither a name nor a port.
            let is_of_zones = path.contains("zones") && query.contains("q=");
            assert!(is_of_zones || details.contains(part), "{details}");
            assert!(!answer.body.to_string().contains("hunter2"), "{path}");
            assert!(answer.error("/elaboration").is_string());
        }
    }
}

#[tokio::test]
async fn a_query_without_a_limit_returns_a_thousand_stores() {
    let server = TestServer::start();
    server.stores.list_many(1500);
    let answer = get(&server, &format!("{STORAGE}?replyWithCount=true")).await;
    assert_eq!((names(&answer).len(), &answer.body["total"]), (1000, &json!(1500)));
    assert_eq!(answer.body["schema"], schema_of(STORE_CLASS, 1000));
    let more = get(&server, &format!("{STORAGE}?limit=4294967295&start=1000")).await;
    assert_eq!(names(&more).len(), 500);
}

#[tokio::test]
async fn a_capacity_counts_each_filesystem_once() {
    let server = server_with_stores();
    let (one, two, three) = (uuid(1), uuid(2), uuid(3));
    for (query, expected) in [
        ("all=true".to_owned(), (1100, 47)),
        (format!("backupStorageUuids={one}&backupStorageUuids={three}"), (100, 40)),
        (format!("backupStorageUuids={one}&backupStorageUuids={two}"), (1100, 47)),
        (format!("backupStorageUuids.0={two}&backupStorageUuids.1={UNKNOWN}"), (1000, 7)),
        (format!("all=false&zoneUuids={OTHER_ZONE}"), (1000, 7)),
        (format!("all=false&zoneUuids=z&backupStorageUuids={one}"), (100, 40)),
        (format!("zoneUuids={OTHER_ZONE}&backupStorageUuids={one}"), (1100, 47)),
        (format!("backupStorageUuids={UNKNOWN}"), (0, 0)),
        ("zoneUuids=z".to_owned(), (0, 0)),
    ] {
        let answer = get(&server, &format!("{STORAGE}/capacities?{query}")).await;
        let expected = json!({"totalCapacity": expected.0, "availableCapacity": expected.1});
        assert_eq!((answer.status, answer.body), (200, expected), "{query}");
    }
    for (query, parameter) in [
        ("", "backupStorageUuids"),
        ("?all=false", "backupStorageUuids"),
        ("?all=yes", "all"),
        ("?all=true&all=true", "all"),
        ("?zoneUuids=", "zoneUuids"),
        ("?all=true&backupStorageUuids=%f", "backupStorageUuids"),
    ] {
        let answer = get(&server, &format!("{STORAGE}/capacities{query}")).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{query}");
        assert_eq!(answer.error("/opaque/parameter"), parameter, "{query}");
    }
}

#[tokio::test]
async fn the_zones_are_those_of_the_stores() {
    let server = server_with_stores();
    for (query, expected) in [
        ("", vec![ZONE, OTHER_ZONE]),
        ("?limit=1", vec![ZONE]),
        ("?sort=-uuid&limit=1", vec![OTHER_ZONE]),
        ("?q=uuid=c0a80101000040008000000000000002", vec![OTHER_ZONE]),
        ("?q=uuid=x", vec![]),
        ("?start=2", vec![]),
    ] {
        let answer = get(&server, &format!("/zstack/v1/zones{query}")).await;
        let zones: Vec<Value> = expected.iter().map(|zone| json!({ "uuid": zone })).collect();
        assert_eq!((answer.status, &answer.body["inventories"]), (200, &json!(zones)), "{query}");
    }
    let total = get(&server, "/zstack/v1/zones?count=true").await;
    assert_eq!(total.body, json!({"total": 2}));
    let refused = get(&server, "/zstack/v1/zones?q=name=x").await;
    assert_eq!(refused.status, 400);
    assert!(refused.error("/details").as_str().unwrap().contains("the fields are uuid"));
    // A daemon whose stores are in no zone.
    let empty = get(&TestServer::start(), "/zstack/v1/zones?limit=1").await;
    assert_eq!(empty.body, json!({"inventories": [], "schema": {}}));
}

#[tokio::test]
async fn other_answers_have_a_schema_if_the_client_asks_for_it() {
    let server = TestServer::start();
    let line = format!("PUT {STORAGE}/image-store/{GOOD}/actions");
    for (headers, expected) in [
        ("", None),
        ("X-JSON-Schema: false\r\n", None),
        ("X-JSON-Schema: true\r\n", Some(json!({ "inventory": STORE_CLASS }))),
    ] {
        let request = HttpRequest { headers, ..HttpRequest::new(&line, r#"{"params":{}}"#) };
        let answer = server.ask(request).await;
        assert_eq!((answer.status, answer.body.get("schema")), (200, expected.as_ref()));
        assert_eq!(answer.body["inventory"]["uuid"], GOOD.to_string());
        let types = format!("GET {STORAGE}/types");
        let types = server.ask(HttpRequest { headers, ..HttpRequest::new(&types, "") }).await;
        let empty = expected.is_some().then(|| json!({}));
        assert_eq!((types.status, types.body.get("schema")), (200, empty.as_ref()));
    }
    let golden = GoldenRequest::read("java-reconnect", OPERATOR).of_store(&GOOD.to_string());
    let answer = golden.send_to(server.address()).await;
    assert_eq!(answer.body["schema"], json!({ "inventory": STORE_CLASS }));
    let failed = GoldenRequest::read("java-reconnect", OPERATOR).of_store(&BROKEN.to_string());
    assert_eq!(failed.send_to(server.address()).await.body.get("schema"), None);
}

#[tokio::test]
async fn the_queries_need_a_session_and_their_paths_only_read() {
    let server = server_with_stores();
    for path in ["", "/image-store", "/types", "/capacities?all=true"] {
        let line = format!("GET {STORAGE}{path}");
        let stranger = HttpRequest { token: None, ..HttpRequest::new(&line, "") };
        assert_eq!(server.ask(stranger).await.status, 401, "{path}");
        let put = line.replace("GET", "PUT");
        assert_eq!(server.ask(HttpRequest::new(&put, "{}")).await.status, 405, "{path}");
    }
    let zones = HttpRequest { token: None, ..HttpRequest::new("GET /zstack/v1/zones", "") };
    assert_eq!(server.ask(zones).await.status, 401);
}
