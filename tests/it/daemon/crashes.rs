//! SIGKILL at the worst moments, and stops while a disk or a receiver hangs.

use std::time::{Duration, Instant};

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::processes::until_child_in_disk_sleep;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// The probe deadline is long enough for a worker to reach the disk that hangs.
const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\nprobe_deadline = \"3s\"\n";

fn change(received: &Received) -> (String, String) {
    let word = |key: &str| received.json["data"][key].as_str().unwrap().to_owned();
    (word("oldStatus"), word("newStatus"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_an_attempt_is_followed_by_a_new_one() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{HOURLY_PROBES}{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    sshd.freeze();
    let (http, path) =
        (agent.http(), format!("/zstack/v1/backup-storage/image-store/{uuid}/actions"));
    let call = tokio::spawn(async move {
        http.send_request(hyper::Method::PUT, &path, Some(&serde_json::json!({"params": {}}))).await
    });
    agent.until_logged("\"Connecting\"");
    agent.kill();
    assert!(call.await.unwrap().is_err(), "the call was answered");
    agent.start();
    assert_eq!(agent.inventory(&uuid).await["status"], "Connecting");
    sshd.thaw();
    agent.until_logged("\"new\":\"Connected\"");
    let mut changes = Vec::new();
    let mut last = (0, 0);
    while changes.len() < 3 {
        let received = node.next().await;
        let data = &received.json["data"];
        let position = (data["epoch"].as_u64().unwrap(), data["seq"].as_u64().unwrap());
        // A notice that was sent but not acknowledged when the daemon died is sent again.
        if position > last {
            last = position;
            changes.push(change(&received));
        }
    }
    let words = |old: &str, new: &str| (old.to_owned(), new.to_owned());
    assert_eq!(
        changes,
        [
            words("Connecting", "Connected"),
            words("Connected", "Connecting"),
            words("Connecting", "Connected"),
        ]
    );
    let history = rusqlite::Connection::open(agent.path("state/ledger.sqlite")).unwrap();
    let sql = "SELECT count(*) FROM history WHERE entry -> '$.event.interrupted_by_restart' = '{}'";
    let interrupted: u32 = history.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(interrupted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_delivered_is_delivered_after_a_kill_in_order() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::scripted(|_| Answer::Status(503)).await;
    let more = format!("{HOURLY_PROBES}{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    for _ in 0..3 {
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
    }
    let refused = node.next().await;
    agent.kill();
    node.set_script(|_| Answer::Status(200));
    agent.start();
    let mut seqs = Vec::new();
    while seqs.last() != Some(&7) {
        let received = node.next().await;
        assert_eq!(received.store(), uuid);
        if received.id() == refused.id() {
            seqs.clear();
        }
        seqs.push(received.seq());
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_running_attempts_and_ends_in_time() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), HOURLY_PROBES);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    sshd.freeze();
    let (http, path) =
        (agent.http(), format!("/zstack/v1/backup-storage/image-store/{uuid}/actions"));
    let call = tokio::spawn(async move {
        http.send_request(hyper::Method::PUT, &path, Some(&serde_json::json!({"params": {}}))).await
    });
    agent.until_logged("\"Connecting\"");
    let (status, took) = agent.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let reply = call.await.unwrap().unwrap();
    assert_eq!(reply.status, 503);
    assert_eq!(reply.body["error"]["cause"]["opaque"]["reason"], "agent_stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_disk_slows_neither_another_store_nor_a_stop_nor_a_start() {
    needs_root!();
    let (hung_disk, healthy_disk) = (MountedFs::of("ext4"), MountedFs::tmpfs("size=4m"));
    let (sshd, user) = (Builder::new().start(), User::create());
    let mut agent = Agent::installed(&hung_disk.path(), HOURLY_PROBES);
    let both = format!("allowed_roots = [{:?}, {:?}]", hung_disk.path(), healthy_disk.path());
    let one = format!("allowed_roots = [{:?}]", hung_disk.path());
    agent.configure(&agent.settings().replace(&one, &both));
    agent.start();
    let stuck = agent.add(&hung_disk.path(), &sshd, &user).await;
    let fine = agent.add(&healthy_disk.path(), &sshd, &user).await;
    hung_disk.freeze("-f");
    let reply = agent.reconnect(&stuck).await;
    let reason = reply.body["error"]["cause"]["opaque"]["reason"].clone();
    let other = agent.reconnect(&fine).await.status;
    let again = agent.reconnect(&stuck).await;
    let (status, took) = agent.terminate();
    let begun = Instant::now();
    agent.start();
    let ready = begun.elapsed();
    let after_restart = agent.reconnect(&stuck).await;
    let other_after_restart = agent.reconnect(&fine).await.status;
    hung_disk.freeze("-u");
    assert_eq!(reason, "probe_stuck");
    assert_eq!(again.body["error"]["cause"]["opaque"]["reason"], "probe_stuck");
    assert_eq!((other.as_u16(), other_after_restart.as_u16()), (200, 200));
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
    // A start that waited for the disk would never have ended.
    assert!(ready < Duration::from_secs(10), "{ready:?}");
    let reason = &after_restart.body["error"]["cause"]["opaque"];
    assert_eq!(reason["reason"], "probe_stuck", "no second worker: {reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_while_the_daemon_stops_is_known_after_the_start() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let (sshd, user) = (Builder::new().start(), User::create());
    // The stop comes long before the probe's own deadline.
    let patient = "[monitor]\ninterval = \"1h\"\nprobe_deadline = \"20s\"\n";
    let mut agent = Agent::installed(&disk.path(), patient);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    disk.freeze("-f");
    let (http, path) =
        (agent.http(), format!("/zstack/v1/backup-storage/image-store/{uuid}/actions"));
    let call = tokio::spawn(async move {
        http.send_request(hyper::Method::PUT, &path, Some(&serde_json::json!({"params": {}}))).await
    });
    agent.until_logged("\"Connecting\"");
    until_child_in_disk_sleep(agent.pid()).await;
    let (status, took) = agent.terminate();
    let answered = call.await.unwrap();
    let begun = Instant::now();
    agent.start();
    let after = agent.reconnect(&uuid).await;
    let waited = begun.elapsed();
    disk.freeze("-u");
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
    assert_eq!(answered.unwrap().status, 503);
    let reason = &after.body["error"]["cause"]["opaque"];
    assert_eq!(reason["reason"], "probe_stuck", "{reason}");
    assert!(waited < Duration::from_secs(5), "the stop waited for another worker: {waited:?}");
}
