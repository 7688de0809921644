//! The administrator's switch and the zones of a store, as the SDKs of ZStack change them.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::{Agent, TOKEN, callback};
use crate::support::filesystems::MountedFs;
use crate::support::golden_request::{GoldenRequest, RECORDED_ZONE};
use crate::support::http_server::HttpResponse;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

async fn replay(agent: &Agent, name: &str, store: &str) -> HttpResponse {
    GoldenRequest::read(name, TOKEN).of_store(store).send_to(agent.address()).await
}

/// Returns the fields of the changes of the definition, newest first.
async fn updates(agent: &Agent, uuid: &str) -> Vec<Value> {
    let health = agent.health(uuid).await;
    let lines = health["history"].as_array().unwrap().iter();
    lines.filter(|line| line["event"] == "updated").map(|line| line["fields"][0].clone()).collect()
}

#[tokio::test]
async fn a_disabled_store_is_still_probed_reconnected_and_reported() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more =
        format!("{}heartbeat = \"1s\"\n[monitor]\ninterval = \"1s\"\n", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(node.next().await.seq(), 1);

    let disabled = replay(&agent, "java-disable", &uuid).await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    let inventory = &disabled.body["inventory"];
    assert_eq!(
        (&inventory["state"], &inventory["status"]),
        (&json!("Disabled"), &json!("Connected"))
    );
    // The same state again changes nothing, not even the time of the last change.
    let again = replay(&agent, "go-disable", &uuid).await;
    assert_eq!((again.status, &again.body["inventory"]), (200, inventory));
    assert_eq!(updates(&agent, &uuid).await, ["state"]);
    loop {
        let beat = node.next_heartbeat().await;
        if beat.json["data"]["stores"][0]["state"] == "Disabled" {
            break;
        }
    }
    agent.until_probed(&uuid, 2).await;
    let listed = String::from_utf8(agent.cli(&["list"], "").stdout).unwrap();
    assert!(listed.contains("Connected, disabled"), "{listed}");
    let shown = String::from_utf8(agent.cli(&["show", &uuid], "").stdout).unwrap();
    assert!(shown.contains("Disabled"), "{shown}");

    // A restart keeps the state, and a reconnect does not change it.
    agent.terminate();
    agent.start();
    assert_eq!(agent.inventory(&uuid).await["state"], "Disabled");
    let reconnected = replay(&agent, "java-reconnect-generic", &uuid).await;
    assert_eq!(reconnected.status, 200, "{reconnected:?}");
    assert_eq!(reconnected.body["inventory"]["state"], "Disabled");
    // The notices of the reconnect are the first ones after that of the add.
    assert_eq!(node.next().await.json["data"]["newStatus"], "Connecting");
    assert_eq!(node.next().await.json["data"]["newStatus"], "Connected");

    let enable = GoldenRequest::read("java-disable", TOKEN).replacing("disable", "ENABLE");
    let enabled = enable.of_store(&uuid).send_to(agent.address()).await;
    assert_eq!((enabled.status, &enabled.body["inventory"]["state"]), (200, &json!("Enabled")));
    let renamed = replay(&agent, "java-update-generic", &uuid).await;
    assert_eq!(renamed.body["inventory"]["name"], "generic name", "{renamed:?}");
    assert_eq!(updates(&agent, &uuid).await, ["name", "state", "state"]);
    assert!(node.try_next().is_none(), "a change of the definition sends no notice");

    let url = format!("{}/", disk.path().display());
    let same = json!({"updateBackupStorage": {"name": "a", "url": url}});
    let path = format!("/{uuid}/actions");
    assert_eq!(agent.ask(Method::PUT, &path, Some(same)).await.status, 200);
    let moved = json!({"updateBackupStorage": {"name": "b", "url": "/elsewhere"}});
    let refused = agent.ask(Method::PUT, &path, Some(moved)).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body["error"]["details"].as_str().unwrap().contains("never changes"));
    assert_eq!(agent.inventory(&uuid).await["name"], "a");
    let log = agent.log();
    assert!(log.contains("\"change_state\""), "{log}");
}

#[tokio::test]
async fn a_store_is_attached_to_zones_and_detached_from_them() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &callback(&node.url()));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(node.next().await.seq(), 1);

    let attached = replay(&agent, "go-attach", &uuid).await;
    assert_eq!(attached.status, 200, "{attached:?}");
    assert_eq!(attached.body["inventory"]["attachedZoneUuids"], json!([RECORDED_ZONE]));
    let twice = replay(&agent, "java-attach-zone", &uuid).await;
    assert_eq!((twice.status, twice.error("/code")), (503, &json!("SYS.1006")), "{twice:?}");
    assert_eq!(twice.error("/opaque/reason"), "zone_attached");
    let second = "d".repeat(32);
    let other = GoldenRequest::read("go-attach", TOKEN).of_store(&uuid);
    let other = other.replacing(RECORDED_ZONE, &second).send_to(agent.address()).await;
    assert_eq!(
        other.body["inventory"]["attachedZoneUuids"],
        json!([RECORDED_ZONE, second]),
        "{other:?}"
    );
    agent.kill();
    agent.start();
    assert_eq!(agent.inventory(&uuid).await["attachedZoneUuids"], json!([RECORDED_ZONE, second]));
    let shown = String::from_utf8(agent.cli(&["show", &uuid], "").stdout).unwrap();
    assert!(shown.contains(RECORDED_ZONE), "{shown}");

    let detached = replay(&agent, "java-detach-zone", &uuid).await;
    assert_eq!(detached.body["inventory"]["attachedZoneUuids"], json!([second]), "{detached:?}");
    let twice = replay(&agent, "java-detach-zone", &uuid).await;
    assert_eq!((twice.status, twice.error("/opaque/reason")), (503, &json!("zone_not_attached")));
    assert_eq!(agent.inventory(&uuid).await["attachedZoneUuids"], json!([second]));
    assert_eq!(updates(&agent, &uuid).await, vec!["attachedZoneUuids"; 3]);
    assert!(node.try_next().is_none(), "no notice");
}
