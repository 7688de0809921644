//! Stores whose directory is damaged after the add. Each reconnect reports the damage and touches
//! nothing, and the next one after the repair succeeds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::agent::{Agent, callback};
use crate::support::failures::{error_of_event, expect_failure, root_cause, tree};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{ManagementNode, Received};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// No probe of the monitor disturbs or repairs.
const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";
const MARKER: &str = ".imagestore-agent/identity.json";

/// A damage of a store's directory or disk, and its repair.
struct Damage {
    damage: fn(&DamagedStore),
    undo: fn(&DamagedStore),
    reason: &'static str,
    facts: fn(&DamagedStore) -> Value,
}

struct DamagedStore {
    disk: MountedFs,
    dir: PathBuf,
    /// A directory outside the allowed roots.
    elsewhere: tempfile::TempDir,
    marker: Vec<u8>,
}

impl DamagedStore {
    fn away(&self) -> PathBuf {
        self.disk.path().join("away")
    }

    fn replace_marker(&self, bytes: &[u8]) {
        fs::write(self.dir.join(MARKER), bytes).unwrap();
    }

    fn restore_marker(&self) {
        // Removes a link or a file in the place of the marker.
        let _ = fs::remove_file(self.dir.join(MARKER));
        self.replace_marker(&self.marker);
    }

    /// Returns the facts about mount and filesystem that every fault of a directory has.
    fn place(&self) -> Value {
        json!({"mountPoint": self.disk.path(), "fsType": "ext4", "check": "identity"})
    }
}

const DAMAGES: [Damage; 6] = [
    Damage {
        damage: |it| {
            fs::rename(&it.dir, it.away()).unwrap();
            symlink(it.elsewhere.path(), &it.dir).unwrap();
        },
        undo: |it| {
            fs::remove_file(&it.dir).unwrap();
            fs::rename(it.away(), &it.dir).unwrap();
        },
        reason: "outside_allowed_roots",
        facts: |it| json!({"path": it.dir, "target": it.elsewhere.path(), "check": "identity"}),
    },
    Damage {
        damage: |it| fs::rename(&it.dir, it.away()).unwrap(),
        undo: |it| fs::rename(it.away(), &it.dir).unwrap(),
        reason: "directory_missing",
        facts: |it| json!({"path": it.dir, "errno": "ENOENT", "step": "open"}),
    },
    Damage {
        damage: |it| fs::remove_file(it.dir.join(MARKER)).unwrap(),
        undo: DamagedStore::restore_marker,
        reason: "marker_missing",
        facts: DamagedStore::place,
    },
    Damage {
        damage: |it| it.replace_marker(&it.marker[..it.marker.len() / 2]),
        undo: DamagedStore::restore_marker,
        reason: "marker_unreadable",
        facts: DamagedStore::place,
    },
    Damage {
        damage: |it| {
            let marker = it.dir.join(MARKER);
            fs::remove_file(&marker).unwrap();
            symlink("/etc/passwd", &marker).unwrap();
        },
        undo: DamagedStore::restore_marker,
        reason: "marker_unreadable",
        facts: DamagedStore::place,
    },
    Damage {
        damage: |it| it.disk.remount("ro"),
        undo: |it| it.disk.remount("rw"),
        reason: "read_only",
        facts: |it| json!({"superblock": "ro", "check": "storage", "path": it.dir}),
    },
];

async fn next_drop(node: &mut ManagementNode) -> Received {
    loop {
        let next = node.next().await;
        if next.json["data"]["newStatus"] == "Disconnected" {
            return next;
        }
    }
}

fn names_the_directory(reply: &imagestore_agent::cli::DaemonResponse, dir: &Path) -> bool {
    let root = root_cause(reply);
    let path = root["opaque"]["path"].as_str().unwrap_or_default();
    Path::new(path).starts_with(dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_reports_the_damage_and_connects_after_the_repair() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent =
        Agent::installed(&disk.path(), &format!("{HOURLY_PROBES}{}", callback(&node.url())));
    agent.start();
    let dir = disk.path().join("images");
    fs::create_dir(&dir).unwrap();
    let uuid = agent.add(&dir, &sshd, &user).await;
    let marker = fs::read(dir.join(MARKER)).unwrap();
    let good = agent.inventory(&uuid).await;
    let it = DamagedStore { disk, dir, elsewhere: tempfile::tempdir().unwrap(), marker };
    for Damage { damage, undo, reason, facts } in DAMAGES {
        damage(&it);
        let before = (tree(&it.disk.path()), tree(it.elsewhere.path()));
        let reply = agent.reconnect(&uuid).await;
        expect_failure(&reply, &[reason], &facts(&it));
        assert!(names_the_directory(&reply, &it.dir), "{}", reply.body);
        assert_eq!(reply.body["error"]["code"], "BS.1500");
        let after = (tree(&it.disk.path()), tree(it.elsewhere.path()));
        assert_eq!(after, before, "{reason}: something was made or changed");
        let inventory = agent.inventory(&uuid).await;
        assert_eq!(inventory["status"], "Disconnected");
        assert_eq!(inventory["totalCapacity"], good["totalCapacity"], "the last good figures stay");
        let event = next_drop(&mut node).await;
        let answered = error_of_event(&reply);
        assert_eq!(event.json["data"]["reason"], answered, "events say the same");
        undo(&it);
        let again = agent.reconnect(&uuid).await;
        assert_eq!(again.status, 200, "{reason}: {}", again.body);
    }
    assert_eq!(fs::read(it.dir.join(MARKER)).unwrap(), it.marker);
}
