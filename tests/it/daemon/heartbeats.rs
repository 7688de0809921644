//! The heartbeats to the management node, and the resyncs that it may request.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// Waits for a heartbeat that has this store, and returns it and its entry.
async fn beat_of(node: &mut ManagementNode, uuid: &str) -> (Received, Value) {
    loop {
        let beat = node.next_heartbeat().await;
        let stores = beat.json["data"]["stores"].as_array().unwrap();
        let own = stores.iter().find(|store| store["backupStorageUuid"] == uuid);
        if let Some(own) = own.cloned() {
            return (beat, own);
        }
    }
}

#[tokio::test]
async fn heartbeats_carry_the_status_of_all_stores_and_a_receiver_may_request_a_resync() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{}heartbeat = \"1s\"\n", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let first = node.next_heartbeat().await;
    assert_eq!(first.json["data"]["stores"], json!([]));
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let added = node.next().await;
    let (beat, store) = beat_of(&mut node, &uuid).await;
    assert_eq!(beat.header("content-type"), "application/cloudevents+json");
    assert_ne!(beat.id(), first.id());
    assert_eq!(store["status"], "Connected");
    let place = |data: &Value| (data["epoch"].clone(), data["seq"].clone());
    assert_eq!(place(&store), place(&added.json["data"]));
    assert_eq!(store["totalCapacity"], added.json["data"]["inventory"]["totalCapacity"]);
    // A disk of a few megabytes, of which a gigabyte shall stay free.
    assert_eq!(store["conditions"], json!(["full"]));

    // Two requests get two events: the same position, and a new id each time.
    let stranger = "00000000000000000000000000000bad";
    let ask = json!({"resync": [stranger, uuid]}).to_string();
    node.set_heartbeat_script(move |_| Answer::Body(ask.clone()));
    let (one, two) = (node.next().await, node.next().await);
    for resync in [&one, &two] {
        assert_eq!(resync.json["type"], "backup-storage.status.resync");
        assert_eq!(resync.store(), uuid);
        let data = &resync.json["data"];
        assert_eq!(place(data), place(&added.json["data"]));
        assert_eq!(
            (&data["oldStatus"], &data["newStatus"]),
            (&json!("Connected"), &json!("Connected"))
        );
    }
    assert!(one.id() != two.id() && one.id() != added.id());
    // A resync takes no position of the store.
    node.set_heartbeat_script(|_| Answer::Status(200));
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    loop {
        let next = node.next().await;
        if next.json["type"] == "backup-storage.status.changed" {
            assert_eq!(next.seq(), added.seq() + 1);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resyncs_that_take_long_do_not_delay_the_next_heartbeat() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let held = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&held);
    let mut node = ManagementNode::scripted(move |event| match event.json["type"].as_str() {
        Some("backup-storage.status.resync") => Answer::AfterPermit(200, Arc::clone(&permits)),
        _ => Answer::Status(200),
    })
    .await;
    let more = format!("{}heartbeat = \"1s\"\n", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(node.next().await.json["type"], "backup-storage.status.changed");
    let ask = json!({"resync": [uuid]}).to_string();
    node.set_heartbeat_script(move |_| Answer::Body(ask.clone()));
    let resync = node.next().await;
    assert_eq!(resync.json["type"], "backup-storage.status.resync");
    let mut next = node.next_heartbeat().await;
    while next.at < resync.at {
        next = node.next_heartbeat().await;
    }
    // One request may take 10 s.
    let delay = next.at - resync.at;
    assert!(delay < Duration::from_secs(5), "{delay:?}");
    held.add_permits(1000);
    agent.until_logged("resyncs cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_take_heartbeats_gets_the_next_ones_and_no_old_ones() {
    needs_root!();
    let mut node = ManagementNode::answering([]).await;
    node.set_heartbeat_script(|_| Answer::Status(500));
    let more = format!("{}heartbeat = \"1s\"\n", callback(&node.url()));
    let disk = MountedFs::tmpfs("size=1m");
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        ids.insert(node.next_heartbeat().await.id().to_owned());
    }
    node.set_heartbeat_script(|_| Answer::Status(200));
    agent.until_logged("heartbeat delivery recovered");
    while ids.len() < 5 {
        assert!(ids.insert(node.next_heartbeat().await.id().to_owned()), "another one came");
    }
    // 410 stops the heartbeats until an operator acts.
    node.set_heartbeat_script(|_| Answer::Status(410));
    agent.until_logged("heartbeat delivery failing");
    node.set_heartbeat_script(|_| Answer::Status(200));
    agent.signal(Signal::SIGHUP);
    agent.until_logged("heartbeat delivery recovered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_waits_as_long_as_the_receiver_asks_in_any_form_of_a_date() {
    needs_root!();
    let mut node = ManagementNode::answering([]).await;
    let in_seconds = |seconds| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let mut number = 0;
    node.set_heartbeat_script(move |_| {
        number += 1;
        let date = in_seconds(6).strftime("%a %b %e %H:%M:%S %Y").to_string();
        match number {
            1 => Answer::Full(503, ("retry-after", "5".to_owned()), ""),
            2 => Answer::Full(429, ("retry-after", date), ""),
            _ => Answer::Status(200),
        }
    });
    let more = format!("{}heartbeat = \"1s\"\n", callback(&node.url()));
    let disk = MountedFs::tmpfs("size=1m");
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let beats =
        [node.next_heartbeat().await, node.next_heartbeat().await, node.next_heartbeat().await];
    for pair in beats.windows(2) {
        // Without the delay, the next heartbeat follows after 1.1 s at the latest.
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= std::time::Duration::from_millis(4_900), "{waited:?}");
    }
}
