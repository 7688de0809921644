//! Conditions that need an operator's attention and disconnect nothing, on real filesystems.

use std::fs;
use std::path::Path;

use nix::libc::{ENFILE, ENOMEM, EOPNOTSUPP};
use serde_json::json;

use crate::support::agent::{Agent, store};
use crate::support::failures::expect_failure;
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Figures, Fuse, Op};
use crate::support::health::{changes, check, condition};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

const FREQUENT_CHECKS: &str =
    "reserved = \"0B\"\nwrite_probe_interval = \"1s\"\n[monitor]\ninterval = \"1s\"\n";

/// Fills a filesystem except for this number of bytes. Returns the file that fills it.
fn fill(disk: &Path, leave: u64) -> std::path::PathBuf {
    let filler = disk.join("filler");
    let seen = nix::sys::statvfs::statvfs(disk).unwrap();
    let bytes = (seen.blocks_available() * seen.fragment_size()).saturating_sub(leave);
    fs::write(&filler, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
    filler
}

#[tokio::test]
async fn a_store_that_fills_up_says_so_and_stays_connected() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=8m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    // 8 MiB: near full from 85 % in use, full from 95 %.
    fs::remove_file(fill(&disk.path(), 2 << 20)).unwrap();
    fill(&disk.path(), 1 << 20);
    let near = agent.until_condition(&uuid, "near_full", true).await;
    let seen = condition(&near, "near_full").unwrap();
    assert!(seen["message"].as_str().unwrap().contains(" of 8388608 bytes available"), "{seen}");
    assert!(seen["remedy"].as_str().unwrap().contains("grow the filesystem"), "{seen}");
    assert!(seen["lastTransitionTime"].is_string() && seen["lastProbeTime"].is_string());
    let rest = disk.path().join("rest");
    // Until a write fails for lack of space.
    assert!(fs::write(&rest, vec![1; 2 << 20]).is_err());
    let full = agent.until_condition(&uuid, "full", true).await;
    assert_eq!(full["capacity"]["availableCapacity"], 0);
    assert!(condition(&full, "near_full").is_none(), "a full store is not near it");
    assert_eq!(check(&full, "write")["status"], "True", "no room is no fault");
    assert_eq!(full["inventory"]["status"], "Connected");
    assert_eq!(agent.reconnect(&uuid).await.status, 200, "images must still be read");
    let output = agent.cli(&["show", &uuid], "");
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.contains("full         holds: 0 of 8388608 bytes available; since "),
        "{output}"
    );

    // The condition and its start time survive a restart.
    let since = condition(&full, "full").unwrap()["lastTransitionTime"].clone();
    agent.kill();
    agent.start();
    let health = agent.until_condition(&uuid, "unverified", false).await;
    assert_eq!(condition(&health, "full").unwrap()["lastTransitionTime"], since);

    fs::remove_file(&rest).unwrap();
    fs::remove_file(disk.path().join("filler")).unwrap();
    let well = agent.until_condition(&uuid, "full", false).await;
    let turned: Vec<_> = well["history"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["event"] == "condition")
        .map(|line| json!([line["condition"], line["holds"]]))
        .collect();
    assert_eq!(turned[0], json!(["full", false]));
    assert!(turned.contains(&json!(["near_full", true])), "{turned:?}");
    assert!(!changes(&well).contains(&"Disconnected".to_owned()));
}

#[tokio::test]
async fn a_condition_has_the_time_of_its_measurement() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=8m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    fill(&disk.path(), 64 << 10);
    agent.until_condition(&uuid, "full", true).await;
    // A probe that fails measures nothing: the figures are those of the last good one.
    fs::rename(disk.path().join(".imagestore-agent"), disk.path().join("aside")).unwrap();
    let failed = agent
        .until_health(&uuid, "a failed probe", |health| {
            let examine = check(health, "examine");
            examine["status"] == "False" && examine["lastProbeTime"] != examine["lastGoodTime"]
        })
        .await;
    let measured = &condition(&failed, "full").unwrap()["lastProbeTime"];
    assert!(measured.is_string(), "{failed}");
    assert_eq!(*measured, check(&failed, "examine")["lastGoodTime"], "{failed}");
}

#[tokio::test]
async fn a_store_without_inodes_says_so_although_there_is_room() {
    needs_root!();
    let (disk, sshd, user) =
        (MountedFs::tmpfs("size=64m,nr_inodes=32"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let names = || (0..64).map(|n| disk.path().join(format!("file{n}")));
    let made: Vec<_> = names().take_while(|name| fs::write(name, "").is_ok()).collect();
    assert!(made.len() < 32);
    let health = agent.until_condition(&uuid, "inodes_full", true).await;
    assert_eq!(health["capacity"]["availableInodes"], 0);
    assert_eq!(health["inventory"]["status"], "Connected");
    assert!(condition(&health, "full").is_none());
    for name in made {
        fs::remove_file(name).unwrap();
    }
    agent.until_condition(&uuid, "inodes_full", false).await;
}

#[tokio::test]
async fn two_stores_on_one_filesystem_say_so_and_count_once() {
    needs_root!();
    let (disk, other) = (MountedFs::of("btrfs"), MountedFs::tmpfs("size=4m"));
    let (sshd, user) = (Builder::new().start(), User::create());
    // Subvolumes and folders alike: the superblock decides.
    let volume = disk.path().join("volume");
    crate::support::requirements::run(
        "btrfs",
        &["-q", "subvolume", "create", volume.to_str().unwrap()],
    );
    fs::create_dir(disk.path().join("folder")).unwrap();
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    let roots = format!("allowed_roots = [{:?}, {:?}]", disk.path(), other.path());
    let one = format!("allowed_roots = [{:?}]", disk.path());
    agent.configure(&agent.settings().replace(&one, &roots));
    agent.start();
    let first = agent.add(&volume, &sshd, &user).await;
    let alone = agent.add(&other.path(), &sshd, &user).await;
    assert!(condition(&agent.health(&first).await, "shared_filesystem").is_none());
    let second = agent.add(&disk.path().join("folder"), &sshd, &user).await;
    for (store, with) in [(&first, &second), (&second, &first)] {
        let health = agent.health(store).await;
        let shared = condition(&health, "shared_filesystem").unwrap();
        assert!(shared["message"].as_str().unwrap().contains(with.as_str()), "{shared}");
    }
    assert!(condition(&agent.health(&alone).await, "shared_filesystem").is_none());
    let summary = agent.summary().await;
    assert_eq!(summary["capacity"]["filesystems"], 2);
    let total = summary["capacity"]["totalCapacity"].as_u64().unwrap();
    let of = async |store: &str| agent.inventory(store).await["totalCapacity"].as_u64().unwrap();
    assert_eq!(total, of(&first).await + of(&alone).await);
}

#[tokio::test]
async fn two_stores_with_a_quota_each_share_nothing_and_both_count() {
    needs_root!();
    let fuse = Fuse::mounted();
    let (sshd, user) = (Builder::new().start(), User::create());
    let usual = Figures::default();
    for (folder, blocks) in [("one", 25_600), ("two", 51_200)] {
        fs::create_dir(fuse.path().join(folder)).unwrap();
        fuse.set_quota(folder, Figures { blocks, bfree: 2560, bavail: 2560, ..usual });
    }
    let mut agent = Agent::installed(&fuse.path(), FREQUENT_CHECKS);
    agent.start();
    let one = agent.add(&fuse.path().join("one"), &sshd, &user).await;
    let two = agent.add(&fuse.path().join("two"), &sshd, &user).await;
    for (store, folder) in [(&one, "/one"), (&two, "/two")] {
        let health = agent.health(store).await;
        assert!(condition(&health, "shared_filesystem").is_none(), "{health:#}");
        assert_eq!(health["filesystem"]["quotaFolder"], folder);
    }
    let total = json!({ "filesystems": 2, "totalCapacity": 314_572_800,
                        "availableCapacity": 20_971_520 });
    assert_eq!(agent.summary().await["capacity"], total, "300 MiB, with 10 MiB free in each");

    // Known also after a restart, before anything is probed.
    agent.kill();
    agent.start();
    assert_eq!(agent.summary().await["capacity"], total);

    // The quotas are part of the filesystem that a third store has as a whole.
    fs::create_dir(fuse.path().join("three")).unwrap();
    let three = agent.add(&fuse.path().join("three"), &sshd, &user).await;
    assert!(condition(&agent.health(&three).await, "shared_filesystem").is_none());
    let capacity = agent.summary().await["capacity"].clone();
    assert_eq!(
        (&capacity["filesystems"], &capacity["totalCapacity"]),
        (&json!(1), &json!(1 << 30))
    );
}

#[tokio::test]
async fn settings_that_weaken_the_login_are_shown_with_each_store() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let weak = "[ssh]\nhost_key_policy = \"accept-any\"\nlegacy = [\"ssh-rsa\"]\n";
    let mut agent = Agent::installed(&disk.path(), weak);
    agent.start();
    let body = store(&disk.path(), &sshd, &user);
    let added = agent.ask(hyper::Method::POST, "/image-store", Some(body)).await;
    let uuid = added.body["inventory"]["uuid"].as_str().unwrap();
    let health = agent.health(uuid).await;
    for kind in ["accepts_any_host_key", "legacy_algorithms"] {
        assert!(condition(&health, kind).is_some(), "{kind} is not in {health:#}");
    }
    assert!(health["hostKey"].is_null(), "nothing is pinned");
}

#[tokio::test]
async fn a_filesystem_that_cannot_sync_is_a_condition_and_takes_stores() {
    needs_root!();
    let fuse = Fuse::mounted();
    fs::create_dir(fuse.path().join("images")).unwrap();
    for op in [Op::Sync, Op::SyncFolder] {
        fuse.set(op, Behaviour::Fail(EOPNOTSUPP));
    }
    let (sshd, user) = (Builder::new().start(), User::create());
    let mut agent = Agent::installed(&fuse.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&fuse.path().join("images"), &sshd, &user).await;
    let health = agent.until_condition(&uuid, "sync_unsupported", true).await;
    let shown = condition(&health, "sync_unsupported").unwrap();
    assert_eq!(health["inventory"]["status"], "Connected");
    assert!(shown["message"].as_str().unwrap().contains("fdatasync"), "{shown}");
    assert!(shown["remedy"].as_str().unwrap().contains("fsync"), "{shown}");
    // It ends with the next write that is synced.
    fuse.release();
    let health = agent.until_condition(&uuid, "sync_unsupported", false).await;
    assert_eq!(changes(&health), ["Connected"], "it was never disconnected");
}

#[tokio::test]
async fn a_lack_of_memory_or_descriptors_in_a_probe_disconnects_no_store() {
    needs_root!();
    let (fuse, sshd, user) = (Fuse::mounted(), Builder::new().start(), User::create());
    let settings = format!("{FREQUENT_CHECKS}fail_after = 1\n");
    let mut agent = Agent::installed(&fuse.path(), &settings);
    agent.start();
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    for (op, errno) in [(Op::Create, ENOMEM), (Op::Statfs, ENFILE)] {
        fuse.set(op, Behaviour::Fail(errno));
        let health = agent.until_condition(&uuid, "not_probed", true).await;
        assert_eq!(health["inventory"]["status"], "Connected", "{health:#}");
        let reply = agent.reconnect(&uuid).await;
        assert_eq!(reply.status, 503, "{}", reply.body);
        expect_failure(&reply, &["agent_busy"], &json!({}));
        assert_eq!(agent.health(&uuid).await["inventory"]["status"], "Connected", "as before");
        fuse.release();
        agent.until_condition(&uuid, "not_probed", false).await;
    }
}
