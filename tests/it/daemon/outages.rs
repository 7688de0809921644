//! Disks and management nodes that fail and recover without a request of a caller.

use serde_json::Value;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{ManagementNode, Received};
use crate::support::requirements::{needs_root, run};
use crate::support::sshd::{Builder, User};

const PROBE_EVERY_SECOND: &str = "[monitor]\ninterval = \"1s\"\n";

async fn until(node: &mut ManagementNode, status: &str) -> Received {
    loop {
        let received = node.next().await;
        if received.json["data"]["newStatus"] == status {
            return received;
        }
    }
}

fn reason(received: &Received) -> &Value {
    &received.json["data"]["reason"]["cause"]["opaque"]["reason"]
}

#[tokio::test]
async fn a_lost_disk_is_reported_and_one_that_comes_back_is_connected_by_itself() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{PROBE_EVERY_SECOND}{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    until(&mut node, "Connected").await;
    assert!(disk.try_unmount() || disk.try_unmount());
    let lost = until(&mut node, "Disconnected").await;
    assert_eq!(reason(&lost), "not_mounted");
    assert!(std::fs::read_dir(disk.path()).unwrap().next().is_none(), "nothing was written");
    disk.mount();
    until(&mut node, "Connecting").await;
    until(&mut node, "Connected").await;
    assert_eq!(agent.inventory(&uuid).await["status"], "Connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_the_mount_changes_nothing_that_the_mount_does_not_mend() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{PROBE_EVERY_SECOND}{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    agent.add(&disk.path(), &sshd, &user).await;
    let added = until(&mut node, "Connected").await;
    assert!(agent.terminate().0.success());
    assert!(disk.try_unmount());
    agent.start();
    // The next event is the loss of the disk: neither the stop nor the start has changed a status.
    // The first notice may come twice if the stop preceded its acknowledgement.
    let lost = loop {
        let next = node.next().await;
        if next.id() != added.id() {
            break next;
        }
    };
    let data = &lost.json["data"];
    assert_eq!(
        (&data["oldStatus"], &data["newStatus"]),
        (&"Connected".into(), &"Disconnected".into())
    );
    assert_eq!(reason(&lost), "not_mounted");
    disk.mount();
    until(&mut node, "Connected").await;
}

#[tokio::test]
async fn a_management_node_that_was_down_gets_every_notice_in_order() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let calm = "[monitor]\ninterval = \"1h\"\n";
    let mut agent = Agent::installed(&disk.path(), &format!("{calm}{}", callback(&node.url())));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(node.next().await.seq(), 1);
    node.stop().await;
    for _ in 0..2 {
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
    }
    node.restart().await;
    for seq in 2..=5 {
        assert_eq!(node.next().await.seq(), seq);
    }
}

/// Returns the newest position that the management node has received.
async fn epoch_of_a_reconnect(agent: &Agent, node: &mut ManagementNode, uuid: &str) -> u64 {
    assert_eq!(agent.reconnect(uuid).await.status, 200);
    until(node, "Connected").await.json["data"]["epoch"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_directory_restored_from_an_older_copy_numbers_above_all_that_was_sent() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &callback(&node.url()));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    until(&mut node, "Connected").await;
    agent.terminate();
    let (state, copy) = (agent.path("state"), agent.path("copy"));
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        run("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
    };
    copied(&state, &copy);
    agent.start();
    let epoch_in_event = epoch_of_a_reconnect(&agent, &mut node, &uuid).await;
    agent.terminate();

    // The older copy: the clock is above every epoch in it and above those sent since.
    std::fs::remove_dir_all(&state).unwrap();
    copied(&copy, &state);
    agent.start();
    let restored = epoch_of_a_reconnect(&agent, &mut node, &uuid).await;
    assert!(restored > epoch_in_event, "{restored} after {epoch_in_event}");
    agent.terminate();

    // As if the clock had been far ahead at that time and were right now: an operator sets the
    // epoch once.
    const FLOOR: u64 = 5_000_000_000_000;
    std::fs::remove_dir_all(&state).unwrap();
    copied(&copy, &state);
    agent.start_with(&["--new-epoch-floor", &FLOOR.to_string()]);
    assert_eq!(epoch_of_a_reconnect(&agent, &mut node, &uuid).await, FLOOR);
    agent.terminate();
    agent.start();
    assert_eq!(epoch_of_a_reconnect(&agent, &mut node, &uuid).await, FLOOR + 1);
}
