//! Attempts: which callers share one, what they report, and what a caller changes that disconnects.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::ledger_snapshot::open_read_only;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, HostKeyFile, User};
use crate::support::wait::until;

/// The monitor's probes are too rare to disturb the counts.
const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_overlapping_reconnects_share_one_login_and_one_answer() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), HOURLY_PROBES);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    sshd.until_logged("Accepted ", 1);
    assert_eq!(sshd.accepted_logins(), 1);
    // While the SSH server is stopped the attempt cannot end, so that all callers overlap.
    sshd.freeze();
    let mut calls = JoinSet::new();
    for caller in 0..100 {
        let (http, uuid) = (agent.http(), uuid.clone());
        calls.spawn(async move {
            let path = format!("/zstack/v1/backup-storage/image-store/{uuid}/actions");
            let body = json!({"params": {"userTags": [format!("caller::{caller}")]}});
            http.send_request(Method::PUT, &path, Some(&body)).await.unwrap()
        });
    }
    agent.until_logged("\"Connecting\"");
    // The callers' tags go to the history, which shows that all of them have joined.
    until_joined(&agent, 99).await;
    sshd.thaw();
    let mut answers: Vec<(u16, Value)> = Vec::new();
    while let Some(reply) = calls.join_next().await {
        let reply = reply.unwrap();
        answers.push((reply.status.as_u16(), reply.body));
    }
    assert_eq!(answers.len(), 100);
    assert_eq!(answers[0].0, 200, "{}", answers[0].1);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    sshd.until_logged("Accepted ", 2);
    assert_eq!(
        sshd.accepted_logins(),
        2,
        "expected one login for the add and one for all the others"
    );
    // No caller was waiting, and the event was sent all the same.
    sshd.until_logged("login checked", 2);
}

#[tokio::test]
async fn a_stop_right_after_the_answer_still_disconnects_from_the_server() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), HOURLY_PROBES);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    let (status, took) = agent.terminate();
    assert!(status.success() && took < Duration::from_secs(3), "{status} after {took:?}");
    sshd.until_logged("login checked", 2);
}

/// Waits until the history has this number of joined callers, read with SQLite as an operator
/// would.
async fn until_joined(agent: &Agent, joined: u32) {
    let reader = open_read_only(&agent.path("state/ledger.sqlite"));
    let sql = "SELECT count(*) FROM history WHERE entry LIKE '%\"joined\"%'";
    let seen = || reader.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
    until("all have joined", async || seen() >= joined).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failed_check_is_reported_and_the_disk_is_the_root_cause() {
    needs_root!();
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let sshd = Builder::new().start();
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{HOURLY_PROBES}{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let good = agent.inventory(&uuid).await;
    drop(sshd);
    assert!(disk.try_unmount());
    let reply = agent.reconnect(&uuid).await;
    assert_eq!(reply.status, 503);
    let error = &reply.body["error"];
    let reasons: Vec<&Value> =
        error["opaque"]["checks"].as_array().unwrap().iter().map(|c| &c["reason"]).collect();
    assert_eq!(reasons, ["not_mounted", "connection_refused"]);
    assert_eq!(error["cause"]["opaque"]["reason"], "not_mounted");
    assert!(std::fs::read_dir(disk.path()).unwrap().next().is_none(), "nothing was written");
    let inventory = agent.inventory(&uuid).await;
    assert_eq!(inventory["status"], "Disconnected");
    assert_eq!(inventory["totalCapacity"], good["totalCapacity"], "the last good figures stay");
    let event = loop {
        let next = node.next().await;
        if next.json["data"]["newStatus"] == "Disconnected" {
            break next;
        }
    };
    assert_eq!(event.json["data"]["reason"]["cause"]["opaque"]["reason"], "not_mounted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_changes_nothing() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), HOURLY_PROBES);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    sshd.freeze();
    let mut caller = tokio::net::UnixStream::connect(agent.path("state/agent.sock")).await.unwrap();
    let body = "{\"params\":{}}";
    let request = format!(
        "PUT /zstack/v1/backup-storage/image-store/{uuid}/actions HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    agent.until_logged("\"Connecting\"");
    drop(caller);
    sshd.thaw();
    agent.until_logged("\"new\":\"Connected\"");
    assert_eq!(agent.inventory(&uuid).await["status"], "Connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_host_key_is_refused_with_both_fingerprints_again_and_again() {
    needs_root!();
    let (disk, user) = (MountedFs::tmpfs("size=4m"), User::create());
    let (pinned, other) = (HostKeyFile::generate("ed25519"), HostKeyFile::generate("ed25519"));
    let sshd = Builder::new().host_key(&pinned).start();
    let port = sshd.address.port();
    let mut agent = Agent::installed(&disk.path(), HOURLY_PROBES);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    drop(sshd);
    let sshd = Builder::new().host_key(&other).port(port).start();
    for connection in 1..=2 {
        let reply = agent.reconnect(&uuid).await;
        assert_eq!(reply.status, 503, "{}", reply.body);
        let root = &reply.body["error"]["cause"]["opaque"];
        assert_eq!(root["reason"], "host_key_changed");
        assert_eq!(root["expectedFingerprint"], pinned.fingerprint());
        assert_eq!(root["offeredFingerprint"], other.fingerprint(), "it was pinned unasked");
        assert_eq!(agent.inventory(&uuid).await["status"], "Disconnected");
        sshd.until_logged("Connection closed by", connection);
    }
    // The daemon tried no login: this server saw no connection.
    for word in [user.name.as_str(), "Accepted ", "Failed "] {
        assert_eq!(sshd.logged(word), 0, "{word}");
    }
    drop(sshd);
    let _back = Builder::new().host_key(&pinned).port(port).start();
    assert_eq!(agent.reconnect(&uuid).await.status, 200, "the pinned key is still the right one");
}
