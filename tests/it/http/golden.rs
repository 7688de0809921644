//! The calls of ZStack's SDKs beside the reconnect, as they are sent.

use imagestore_agent::model::{PlacementChange, State};
use serde_json::json;

use crate::http::api::LogBuffer;
use crate::support::golden_request::{GoldenRequest, RECORDED_ZONE};
use crate::support::http_server::*;

fn golden(name: &str) -> GoldenRequest {
    GoldenRequest::read(name, OPERATOR).of_store(&GOOD.to_string())
}

#[tokio::test]
async fn both_sdks_enable_disable_attach_and_detach() {
    let server = TestServer::start();
    let zone = RECORDED_ZONE.parse().unwrap();
    for (name, expected) in [
        ("java-disable", PlacementChange::State(State::Disabled)),
        ("go-disable", PlacementChange::State(State::Disabled)),
        ("java-attach-zone", PlacementChange::AttachZone(zone)),
        ("go-attach", PlacementChange::AttachZone(zone)),
        ("java-detach-zone", PlacementChange::DetachZone(zone)),
    ] {
        let answer = golden(name).send_to(server.address()).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        // The Go SDK accepts any coding by `*`, and reads only some.
        assert_eq!(answer.header("content-encoding"), None, "{name}");
        assert_eq!(answer.body["inventory"]["uuid"], GOOD.to_string(), "{name}");
        assert_eq!(server.stores.placed().last(), Some(&expected), "{name}");
    }
    let enabled = golden("java-disable").replacing("disable", "Enable");
    assert_eq!(enabled.send_to(server.address()).await.status, 200);
    assert_eq!(server.stores.placed().last(), Some(&PlacementChange::State(State::Enabled)));
}

#[tokio::test]
async fn the_generic_update_and_reconnect_act_on_an_image_store() {
    let server = TestServer::start();
    let answer = golden("java-update-generic").send_to(server.address()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let [update] = &server.stores.updated()[..] else { panic!("no update") };
    assert_eq!(update.name.as_deref(), Some("generic name"));
    let answer = golden("java-reconnect-generic").send_to(server.address()).await;
    assert_eq!((answer.status, server.stores.tags().len()), (200, 1), "{answer:?}");
}

#[tokio::test]
async fn a_call_that_is_not_supported_says_so_by_name() {
    let server = TestServer::start();
    for (name, call) in [
        ("java-quota", "setImageStoreBackupStorageQuota"),
        ("java-trash", "getTrashOnBackupStorage"),
        ("java-reclaim", "reclaimSpaceFromImageStore"),
        ("go-reclaim", "reclaimSpaceFromImageStore"),
        ("java-images", "getImagesFromImageStoreBackupStorage"),
    ] {
        let answer = golden(name).send_to(server.address()).await;
        assert_eq!((answer.status, answer.error("/code")), (503, &json!("SYS.1014")), "{name}");
        assert_eq!(
            answer.error("/description"),
            "The operation is not implemented or not supported yet"
        );
        assert_eq!(answer.error("/opaque/call"), call, "{name}");
        let details = answer.error("/details").as_str().unwrap();
        assert!(details.starts_with(&format!("{call} is not supported; remedy: ")), "{details}");
        assert!(details.ends_with(answer.error("/elaboration").as_str().unwrap()), "{details}");
        assert_eq!(answer.header("retry-after"), None, "{name}");
    }
}

#[tokio::test]
async fn the_other_calls_about_images_are_not_supported_either() {
    let server = TestServer::start();
    let storage = "/zstack/v1/backup-storage";
    let (uuid, image) = (GOOD.to_string(), "b".repeat(32));
    for (line, body, call) in [
        (
            format!("PUT {storage}/{uuid}/actions"),
            r#"{"exportImageFromBackupStorage":{"imageUuid":"x"}}"#,
            "exportImageFromBackupStorage",
        ),
        (
            format!("PUT {storage}/{uuid}/actions"),
            r#"{"recoveryImageFromImageStoreBackupStorage":{}}"#,
            "recoveryImageFromImageStoreBackupStorage",
        ),
        (
            format!("DELETE {storage}/{uuid}/exported-images/{image}"),
            "",
            "deleteExportedImageFromBackupStorage",
        ),
        (
            format!("PUT {storage}/{uuid}/trash/actions"),
            r#"{"cleanUpTrashOnBackupStorage":{}}"#,
            "cleanUpTrashOnBackupStorage",
        ),
        (
            format!("POST {storage}/image-store/disaster"),
            r#"{"params":{}}"#,
            "addDisasterImageStoreBackupStorage",
        ),
        (
            format!("PUT /zstack/v1/images/{image}/actions"),
            r#"{"syncImageFromImageStoreBackupStorage":{}}"#,
            "syncImageFromImageStoreBackupStorage",
        ),
        (
            "GET /zstack/v1/database-backups/image-store?url=x".to_owned(),
            "",
            "getDatabaseBackupFromImageStore",
        ),
        (
            format!("PUT /zstack/v1/database-backups/{image}/actions"),
            r#"{"syncDatabaseBackupFromImageStoreBackupStorage":{}}"#,
            "syncDatabaseBackupFromImageStoreBackupStorage",
        ),
    ] {
        let answer = server.ask(HttpRequest::new(&line, body)).await;
        assert_eq!((answer.status, answer.error("/code")), (503, &json!("SYS.1014")), "{line}");
        assert_eq!(answer.error("/opaque/call"), call);
        // Without a session, the answer does not tell which calls there are.
        let stranger = HttpRequest { token: None, ..HttpRequest::new(&line, body) };
        assert_eq!(server.ask(stranger).await.status, 401, "{line}");
    }
    // Reading needs the role that reading has, and the rest the role of a change.
    let trash = format!("GET {storage}/trash");
    let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(&trash, "") };
    assert_eq!(server.ask(reader).await.status, 503);
    let line = format!("PUT {storage}/image-store/actions");
    let body = r#"{"setImageStoreBackupStorageQuota":{}}"#;
    let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(&line, body) };
    assert_eq!(server.ask(reader).await.status, 403);
    // Other actions on these paths are unknown.
    for (line, body) in [
        (line.as_str(), r#"{"changeImageState":{}}"#),
        (&format!("PUT /zstack/v1/images/{image}/actions"), "{}"),
    ] {
        let answer = server.ask(HttpRequest::new(line, body)).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{line}");
    }
}

#[tokio::test]
async fn both_sdks_add_and_delete_a_store() {
    let server = TestServer::start();
    for name in ["java-add", "go-add"] {
        let add = golden(name).replacing("/var/lib/imagestore/a", "/srv/images/a");
        let answer = add.send_to(server.address()).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    assert_eq!(server.stores.added().len(), 2);
    assert!(server.stores.added().iter().all(|add| add.without_effect.is_empty()));
    for name in ["java-delete", "java-delete-again", "go-delete"] {
        let answer = golden(name).send_to(server.address()).await;
        // A 204 breaks the Java SDK.
        assert_eq!((answer.status, &answer.body), (200, &json!({})), "{name}");
    }
    assert_eq!(server.stores.removed(), [GOOD, GOOD, GOOD]);
}

/// The types of an add as the clients write them.
#[tokio::test]
async fn an_add_of_another_type_is_refused_and_fields_without_effect_are_named() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let add = |from: &str, to: &str| {
        let add = golden("go-add").replacing("/var/lib/imagestore/a", "/srv/images/a");
        add.replacing(from, to)
    };
    for (from, to) in [
        ("\"ImageStoreBackupStorage\"", "\"SftpBackupStorage\""),
        ("\"importImages\":false", "\"importImages\":\"hunter2\""),
        ("\"sshPort\":50773", "\"sshPort\":\"hunter2\""),
        ("\"sshPort\":50773", "\"sshPort\":\"65536\""),
    ] {
        let answer = add(from, to).send_to(server.address()).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{to}");
        assert!(!answer.body.to_string().contains("hunter2"), "{answer:?}");
    }
    assert_eq!(server.stores.added().len(), 0);
    assert!(!log.text().contains("without effect"), "{}", log.text());
    let texts = "\"importImages\":\"true\",\"tagUuids\":[\"x\"]";
    let answer = add("\"importImages\":false", texts)
        .replacing("50773", "\"2222\"")
        .send_to(server.address())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let [added] = &server.stores.added()[..] else { panic!("no add") };
    assert_eq!(added.address.port.get(), 2222);
    let line =
        log.lines().into_iter().find(|line| line["message"] == "fields of add without effect");
    let fields = line.unwrap()["fields"].to_string();
    assert!(fields.contains("importImages") && fields.contains("tagUuids"), "{fields}");
}

/// One generation of the Go SDK sends an update in the form of a reconnect.
#[tokio::test]
async fn an_update_in_the_form_of_a_reconnect_is_refused_and_reconnects_nothing() {
    let server = TestServer::start();
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{GOOD}/actions");
    let body = r#"{"params":{"uuid":"x","name":"hunter2"}}"#;
    let answer = server.ask(HttpRequest::new(&line, body)).await;
    assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")));
    let details = answer.error("/details").as_str().unwrap();
    assert!(details.contains("updateImageStoreBackupStorage"), "{details}");
    assert!(!answer.body.to_string().contains("hunter2"));
    assert!(server.stores.tags().is_empty() && server.stores.updated().is_empty());
}

#[tokio::test]
async fn only_the_modes_of_deletion_that_zstack_has_delete_a_store() {
    let server = TestServer::start();
    let line = |query: &str| format!("DELETE /zstack/v1/backup-storage/{GOOD}{query}");
    let known = [
        "",
        "?",
        "?deleteMode",
        "?deleteMode=",
        "?deleteMode=enforcing",
        "?delete%4Dode=%50ermissive",
        "?x=1&y",
    ];
    for query in known {
        let answer = server.ask(HttpRequest::new(&line(query), "")).await;
        assert_eq!((answer.status, answer.body), (200, json!({})), "{query}");
    }
    assert_eq!(server.stores.removed().len(), known.len());
    for query in [
        "?deleteMode=x",
        "?delete%4Dode=x",
        "?deleteMode=%zz",
        "?deleteMode=Permissive&deleteMode=Enforcing",
        "?a=b&deleteMode=Permissive%20",
    ] {
        let answer = server.ask(HttpRequest::new(&line(query), "")).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{query}");
    }
    assert_eq!(server.stores.removed().len(), known.len(), "nothing more was removed");
}

#[tokio::test]
async fn a_change_of_zones_or_state_that_fails_changes_nothing_and_says_why() {
    let server = TestServer::start();
    let zones =
        |zone: &str, store: &str| format!("POST /zstack/v1/zones/{zone}/backup-storage/{store}");
    let (good, broken, unknown) = (GOOD.to_string(), BROKEN.to_string(), "a".repeat(32));
    let attached = server.ask(HttpRequest::new(&zones(RECORDED_ZONE, &broken), "null")).await;
    assert_eq!((attached.status, attached.error("/code")), (503, &json!("SYS.1006")));
    assert_eq!(attached.error("/opaque/reason"), "zone_attached");
    assert!(attached.error("/elaboration").is_string());
    assert_eq!(attached.header("retry-after"), None);
    let detach = zones(RECORDED_ZONE, &broken).replace("POST", "DELETE");
    let failed = server.ask(HttpRequest::new(&detach, "")).await;
    assert_eq!((failed.status, failed.header("retry-after")), (503, Some("30")));
    assert_eq!(failed.error("/opaque/reason"), "state_disk_trouble");
    let missing = server.ask(HttpRequest::new(&zones(RECORDED_ZONE, &unknown), "{}")).await;
    assert_eq!((missing.status, missing.error("/code")), (404, &json!("SYS.1003")));

    let before = server.stores.placed().len();
    for (line, body) in [
        (zones("x", &good), "{}"),
        (zones(&RECORDED_ZONE.to_uppercase(), &good), "{}"),
        (zones(RECORDED_ZONE, "x"), "{}"),
        (zones(RECORDED_ZONE, &good), r#"{"params":[]}"#),
        (zones(RECORDED_ZONE, &good), "hunter2"),
        (format!("PUT /zstack/v1/backup-storage/{good}/actions"), "{}"),
        (
            format!("PUT /zstack/v1/backup-storage/{good}/actions"),
            r#"{"changeBackupStorageState":{"stateEvent":"hunter2"}}"#,
        ),
        (
            format!("PUT /zstack/v1/backup-storage/{good}/actions"),
            r#"{"changeBackupStorageState":{"stateEvent":"enable"},"updateBackupStorage":{}}"#,
        ),
    ] {
        let answer = server.ask(HttpRequest::new(&line, body)).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{line}");
        assert!(!answer.body.to_string().contains("hunter2"));
    }
    let line = zones(RECORDED_ZONE, &good);
    let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(&line, "{}") };
    assert_eq!(server.ask(reader).await.status, 403);
    let line = format!("GET /zstack/v1/zones/{RECORDED_ZONE}/backup-storage/{good}");
    let answer = server.ask(HttpRequest::new(&line, "")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST,DELETE")));
    assert_eq!(server.stores.placed().len(), before);
}

#[tokio::test]
async fn the_protocol_of_zstack_cli_fails_at_once_and_in_its_own_form() {
    for base in ["/zstack", "/x", ""] {
        let server =
            TestServer::with_settings(|settings| settings.base_paths = vec![base.to_owned()]);
        for line in [
            "POST /zstack/api",
            "POST /zstack/api/",
            "GET /zstack/api/result/4cd9fb914f5f4a1d8d2f000000000001",
            "GET /zstack/api/result/None",
        ] {
            let body = match line.starts_with("POST") {
                true => {
                    r#"{"org.zstack.header.identity.APILogInByAccountMsg":{"password":"hunter2"}}"#
                }
                false => "",
            };
            let request = HttpRequest { token: None, ..HttpRequest::new(line, body) };
            let answer = server.ask(request).await;
            assert_eq!((answer.status, &answer.body["state"]), (200, &json!("Done")), "{line}");
            let text = answer.body["result"].as_str().unwrap();
            let result: serde_json::Value = serde_json::from_str(text).unwrap();
            let [reply] = &result.as_object().unwrap().values().collect::<Vec<_>>()[..] else {
                panic!("{result}")
            };
            assert_eq!(
                (&reply["success"], &reply["error"]["code"]),
                (&json!(false), &json!("SYS.1014"))
            );
            let details = reply["error"]["details"].as_str().unwrap();
            assert!(details.contains("zstack-cli") && details.contains("remedy: use"), "{details}");
            assert!(!answer.body.to_string().contains("hunter2"));
        }
        // An error before the handler has the form of the protocol, too.
        let mut foreign = String::from("POST /zstack/api/ HTTP/1.1\r\nHost: storage-7.example\r\n");
        foreign.push_str("Content-Length: 2\r\nConnection: close\r\n\r\n{}");
        let answer = exchange(server.connect().await, foreign.as_bytes()).await;
        assert_eq!((answer.status, &answer.body["state"]), (421, &json!("Done")));
        let large = "x".repeat(100 << 10);
        let request = HttpRequest { token: None, ..HttpRequest::new("POST /zstack/api/", &large) };
        let answer = server.ask(request).await;
        assert_eq!((answer.status, &answer.body["state"]), (413, &json!("Done")));
        // Other paths below the same prefix are still closed or unknown.
        let line = "GET /zstack/apis";
        let request = HttpRequest { token: None, ..HttpRequest::new(line, "") };
        assert_eq!(server.ask(request).await.status, 401);
    }
}

#[tokio::test]
async fn the_details_of_an_answer_end_with_the_remedy() {
    let server = TestServer::start();
    let body = r#"{"reconnectImageStoreBackupStorage":{}}"#;
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{BROKEN}/actions");
    let failed = server.ask(HttpRequest::new(&line, body)).await;
    assert_eq!((failed.status, failed.error("/code")), (503, &json!("BS.1500")));
    let remedy = failed.error("/cause/elaboration").as_str().unwrap();
    let details = failed.error("/details").as_str().unwrap();
    let (text, short) = details.split_once("; remedy: ").unwrap();
    assert!(text.starts_with("read_only: ") && remedy.starts_with(short), "{details}");
    let unknown = line.replace(&BROKEN.to_string(), &"a".repeat(32));
    let missing = server.ask(HttpRequest::new(&unknown, body)).await;
    let details = missing.error("/details").as_str().unwrap();
    assert!(details.ends_with("; remedy: list the stores to find the uuid"), "{details}");
}
