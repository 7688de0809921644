//! A daemon in a mount namespace of its own, as in a container: an unmount on the host does not
//! reach it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::probe::containers::Container;
use crate::support::agent::{Agent, store};
use crate::support::failures::{expect_failure, root_cause, tree};
use crate::support::filesystems::MountedFs;
use crate::support::health::{condition, root};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// `unshare` makes all mounts private, as Docker does by default.
const UNSHARE_MOUNTS: [&str; 2] = ["unshare", "-m"];

async fn namespace_remedy(agent: &Agent, uuid: &str) -> Option<String> {
    assert_eq!(agent.reconnect(uuid).await.status, 200, "a condition disconnects nothing");
    let health = agent.health(uuid).await;
    Some(condition(&health, "stale_namespace")?["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_disk_that_the_host_has_unmounted_is_reported_by_the_login() {
    needs_root!();
    let (disk, user, sshd) = (MountedFs::of("ext4"), User::create(), Builder::new().start());
    // The user may read the folder, as root on a real node may.
    fs::set_permissions(disk.path().parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    let mut agent = Agent::installed(&disk.path(), "");
    assert!(agent.start_under(&UNSHARE_MOUNTS));
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(namespace_remedy(&agent, &uuid).await, None);
    assert_eq!(agent.health(&uuid).await["hostProof"]["marker"], "hidden");

    assert!(disk.try_unmount(), "the daemon keeps the host from unmounting");
    let gone =
        namespace_remedy(&agent, &uuid).await.expect("the remedy does not name the missing mount");
    assert!(gone.contains("the host has no marker"), "{gone}");
    let marker = disk.path().join(".imagestore-agent/identity.json");
    assert!(gone.ends_with(marker.to_str().unwrap()), "{gone}");

    another_marker(&marker);
    let other = namespace_remedy(&agent, &uuid).await.expect("the host has another disk there");
    assert!(other.contains("the host has another marker"), "{other}");

    // After a restart the daemon sees the mounts of the host.
    agent.terminate();
    assert!(agent.start_under(&UNSHARE_MOUNTS));
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(root(&health)["reason"], "not_mounted");
    assert!(condition(&health, "stale_namespace").is_none());
}

fn another_marker(at: &Path) {
    fs::create_dir(at.parent().unwrap()).unwrap();
    let id = "00000000000000000000000000000bad";
    let marker = json!({"version": 1, "id": id, "created": "2026-01-01T00:00:00Z"});
    fs::write(at, marker.to_string()).unwrap();
}

#[tokio::test]
async fn a_daemon_in_a_container_takes_no_folder_of_the_hosts_root_disk() {
    needs_root!();
    let (container, disk) = (Container::new(), MountedFs::of("ext4"));
    let (user, sshd) = (User::create(), Builder::new().start());
    let (folder, hosts, images) =
        (container.path("folder"), container.path("hosts"), container.path("disk"));
    let at = images.to_str().unwrap();
    let mut agent = Agent::installed(&images, "");
    let hosts = (hosts.as_path(), "/etc/hosts");
    let unmounted = container.words(&[hosts, (folder.as_path(), at)]);
    let words: Vec<&str> = unmounted.iter().map(String::as_str).collect();
    assert!(agent.start_under(&words));
    let body = store(&images, &sshd, &user);
    let reply = agent.ask(hyper::Method::POST, "/image-store", Some(body.clone())).await;
    expect_failure(&reply, &["on_root_disk"], &json!({ "file": "/etc/hosts", "mountPoint": at }));
    let remedy = root_cause(&reply)["elaboration"].as_str().unwrap();
    assert!(remedy.contains("storage.allow_root_disk = true"), "{remedy}");
    let init = agent.cli_under(&words, &["init", "--user", "root", at]);
    let output = String::from_utf8_lossy(&init.stderr);
    assert!(!init.status.success() && output.contains("/etc/hosts"), "{output}");
    assert_eq!(tree(&folder).len(), 1, "nothing was written");
    agent.terminate();

    // With the disk it is a store as any other.
    let mounted = container.words(&[hosts, (&disk.path(), at)]);
    let words: Vec<&str> = mounted.iter().map(String::as_str).collect();
    let init = agent.cli_under(&words, &["init", "--user", "root", at]);
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    assert!(agent.start_under(&words));
    let reply = agent.ask(hyper::Method::POST, "/image-store", Some(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let uuid = reply.body["inventory"]["uuid"].as_str().unwrap();
    assert_eq!(agent.health(uuid).await["filesystem"]["onRootDisk"], false);
}
