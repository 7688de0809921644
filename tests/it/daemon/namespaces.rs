//! A daemon in a mount namespace of its own, as in a container: an unmount on the host does not
//! reach it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::support::agent::Agent;
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
