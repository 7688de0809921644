//! Disks and management nodes that go and come back, without anybody asking.

use serde_json::Value;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::Mounted;
use crate::support::management_node::{ManagementNode, Received};
use crate::support::needs::needs_root;
use crate::support::sshd::{Builder, User};

const QUICK: &str = "[monitor]\ninterval = \"1s\"\n";

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
async fn a_disk_that_goes_is_told_and_one_that_comes_back_is_connected_by_itself() {
    needs_root!();
    let (disk, sshd, user) = (Mounted::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{QUICK}{}", callback(&node.url()));
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
    assert_eq!(agent.shown(&uuid).await["status"], "Connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_the_mount_changes_nothing_that_the_mount_does_not_mend() {
    needs_root!();
    let (disk, sshd, user) = (Mounted::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{QUICK}{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    agent.add(&disk.path(), &sshd, &user).await;
    let added = until(&mut node, "Connected").await;
    assert!(agent.terminate().0.success());
    assert!(disk.try_unmount());
    agent.start();
    // What comes next is the loss of the disk: neither stop nor start has changed a status. The first
    // notice may come twice, if the stop came before its acknowledgement.
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
async fn a_management_node_that_was_away_is_told_everything_in_order() {
    needs_root!();
    let (disk, sshd, user) = (Mounted::tmpfs("size=4m"), Builder::new().start(), User::create());
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
