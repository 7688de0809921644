//! The evidence that the host behind a login is this node, between attempts and in them.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::ssh::accounts::chroot;
use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::health::condition;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, HostKeyFile, User};

/// Logs in as often as the settings allow.
const FREQUENT_CHECKS: &str = "[monitor]\ninterval = \"1s\"\nssh_interval = \"10s\"\n";

#[tokio::test]
async fn a_host_is_known_by_its_key_or_by_its_boot_id() {
    needs_root!();
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let own = Builder::new().host_key(&HostKeyFile::of_this_node()).start();
    let other = Builder::new().start();
    for (sshd, evidence) in [(&own, "host_key"), (&other, "boot_id")] {
        let mut agent = Agent::installed(&disk.path(), "");
        agent.start();
        let uuid = agent.add(&disk.path(), sshd, &user).await;
        let health = agent.health(&uuid).await;
        assert_eq!(health["hostProof"], json!({"evidence": evidence, "marker": null}));
        assert!(condition(&health, "proof_unavailable").is_none());
        assert_eq!(agent.cli(&["remove", &uuid, "--yes"], "").status.code(), Some(0));
        fs::remove_dir_all(disk.path().join(".imagestore-agent")).unwrap();
    }
    // The check opens no session if the host key is evidence enough.
    assert_eq!((own.logged("Starting session"), other.logged("Starting session")), (0, 1));
}

#[tokio::test]
async fn an_account_with_a_forced_command_connects_and_its_command_is_not_run_again_and_again() {
    needs_root!();
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let sshd = Builder::new().line("ForceCommand echo only backups here").start();
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let health = agent.until_condition(&uuid, "proof_unavailable", true).await;
    let held = condition(&health, "proof_unavailable").unwrap();
    let message = held["message"].as_str().unwrap();
    assert!(message.contains("\"only backups here\" (exit status 0)"), "{message}");
    assert_eq!(health["hostProof"]["obstacle"], "other_program");
    assert_eq!(health["inventory"]["status"], "Connected");

    // One session in the add, one in the first login of the store task, and none afterwards,
    // neither for a caller nor for the monitor.
    for _ in 0..2 {
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
    }
    let accepted = |_: &_| sshd.accepted_logins() == 4;
    agent.until_health(&uuid, "logged in again", accepted).await;
    assert_eq!(sshd.logged("Starting session"), 2);
    assert!(agent.cli(&["reconnect", &uuid, "--force"], "").status.success());
    sshd.until_logged("Starting session", 3);
}

#[tokio::test]
async fn another_host_disconnects_at_once_and_the_right_one_connects_again() {
    needs_root!();
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let root = chroot(&[]);
    let line = format!("ChrootDirectory {}", root.path().display());
    let sshd = Builder::new().line("ForceCommand internal-sftp").line(&line).start();
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let health = agent.until_condition(&uuid, "proof_unavailable", true).await;
    assert_eq!(health["hostProof"]["obstacle"], "unreadable");

    // The same path on another host: another store's marker, then this store's.
    let marker = disk.path().join(".imagestore-agent/identity.json");
    let there = root.path().join(marker.strip_prefix("/").unwrap());
    put(&there, "{\"id\":\"00000000000000000000000000000bad\"}");
    let health = agent.until_status(&uuid, "Disconnected").await;
    let mut error = &health["reason"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    let facts = &error["opaque"];
    assert_eq!(
        (&facts["reason"], &facts["evidence"]),
        (&json!("different_host"), &json!("marker"))
    );
    assert_eq!(facts["theirs"], "00000000000000000000000000000bad");
    put(&there, &fs::read_to_string(&marker).unwrap());
    agent.until_connects(&uuid).await;
    let health = agent.health(&uuid).await;
    assert_eq!(health["hostProof"], json!({"evidence": "marker", "marker": "same"}));
    assert!(condition(&health, "proof_unavailable").is_none());
}

#[tokio::test]
async fn nothing_is_asked_when_prove_host_is_off() {
    needs_root!();
    let (disk, user, sshd) = (MountedFs::of("ext4"), User::create(), Builder::new().start());
    let mut agent = Agent::installed(&disk.path(), "[ssh]\nprove_host = false\n");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert!(agent.health(&uuid).await["hostProof"].is_null());
    assert_eq!(sshd.logged("Starting session"), 0);
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
