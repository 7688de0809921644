//! A management node whose name does not resolve yet, and one whose clock is an hour off.

use std::fs;

use standardwebhooks::Webhook;

use super::clock::library;
use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::health::condition;
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, User};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_name_resolves_later_then_gets_every_notice() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let url = node.url().replace("localhost", "mn.test");
    let mut agent = Agent::installed(&disk.path(), &callback(&url));
    let (hosts, order) = (agent.path("hosts"), agent.path("nsswitch.conf"));
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    fs::write(&order, "hosts: files\n").unwrap();
    // Only this daemon sees these files.
    let script = format!(
        "mount --bind {hosts:?} /etc/hosts && mount --bind {order:?} /etc/nsswitch.conf && \
         exec \"$0\" \"$@\""
    );
    assert!(agent.start_under(&["unshare", "-m", "sh", "-c", &script]));
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let health = agent.until_condition(&uuid, "delivery_behind", true).await;
    let message = condition(&health, "delivery_behind").unwrap()["message"].to_string();
    assert!(
        message.contains("not delivered: ")
            && message.contains("failed to lookup address information"),
        "{message}"
    );
    assert!(node.try_next().is_none());
    fs::write(&hosts, "127.0.0.1 localhost mn.test\n").unwrap();
    assert_eq!(node.next().await.seq(), 1);
    agent.until_condition(&uuid, "delivery_behind", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_secrets_are_changed_by_a_reload() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), "");
    let file = agent.path("secrets");
    let more = format!("{}signing_secret_file = {file:?}\n", callback(&node.url()));
    agent.configure(&format!("{}{more}", agent.settings()));
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let signed_by = |received: &Received, secret: &str| {
        Webhook::new(secret).unwrap().verify(&received.body, &received.headers).is_ok()
    };
    write_secret(&file, format!("{SECRET}\n"));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let first = node.next().await;
    assert!(signed_by(&first, SECRET) && !signed_by(&first, other));
    // Both secrets while the receiver changes over, then the new one alone.
    for (secrets, old) in [(format!("{other}\n{SECRET}\n"), true), (format!("{other}\n"), false)] {
        fs::write(&file, secrets).unwrap();
        agent.signal(nix::sys::signal::Signal::SIGHUP);
        agent.until_logged("callers and signing secrets reloaded\"");
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
        for received in [node.next().await, node.next().await] {
            assert_eq!((signed_by(&received, other), signed_by(&received, SECRET)), (true, old));
        }
    }
    // A file without a valid secret changes nothing.
    fs::write(&file, "hunter2\n").unwrap();
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    agent.until_logged("reload failed; nothing changed");
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    assert!(signed_by(&node.next().await, other));
    assert!(!agent.log().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_clock_is_an_hour_off_gets_the_state_once_the_clocks_agree() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let receiver = Webhook::new(SECRET).unwrap();
    // Standard Webhooks allows five minutes in either direction.
    let mut node = ManagementNode::scripted(move |received| {
        match receiver.verify(&received.body, &received.headers) {
            Ok(()) => Answer::Status(200),
            Err(error) => {
                Answer::Full(400, ("x-why", error.to_string()), "the clocks are too far apart")
            }
        }
    })
    .await;
    for (offset, name) in [("+3600", "future"), ("-3600", "old")] {
        let mut agent = Agent::installed(&disk.path(), "");
        let secrets = agent.path("secrets");
        write_secret(&secrets, format!("{SECRET}\n"));
        let more = format!("{}signing_secret_file = {secrets:?}\n", callback(&node.url()));
        agent.configure(&format!("{}{more}", agent.settings()));
        let file = agent.path("offset");
        fs::write(&file, offset).unwrap();
        let preload = format!("LD_PRELOAD={}", library().display());
        let timestamps = format!("FAKETIME_TIMESTAMP_FILE={}", file.display());
        let wrapper =
            ["env", &preload, &timestamps, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
        assert!(agent.start_under(&wrapper));
        fs::create_dir(disk.path().join(name)).unwrap();
        let uuid = agent.add(&disk.path().join(name), &sshd, &user).await;
        let health = agent.until_condition(&uuid, "delivery_refused", true).await;
        let message = condition(&health, "delivery_refused").unwrap()["message"].to_string();
        assert!(message.contains("status 400: the clocks are too far apart"), "{message}");
        assert_eq!(node.next().await.seq(), 1);
        // The notifier sends a refused notice again with the next transition.
        fs::write(&file, "+0").unwrap();
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
        agent.until_condition(&uuid, "delivery_refused", false).await;
        let mut last = node.next().await;
        while last.seq() < 3 {
            last = node.next().await;
        }
        assert_eq!(last.json["data"]["newStatus"], "Connected");
    }
}
