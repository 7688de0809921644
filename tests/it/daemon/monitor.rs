//! The monitor detects faults and repairs by itself, on real disks and servers.

use std::fs;

use serde_json::Value;

use crate::support::agent::Agent;
use crate::support::filesystems::{BindMount, MountedFs};
use crate::support::health::{changes, check, condition, root};
use crate::support::ledger_snapshot::open_read_only;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

const FREQUENT_CHECKS: &str = "write_probe_interval = \"1s\"\n\
    [monitor]\ninterval = \"1s\"\nssh_interval = \"10s\"\n";

#[tokio::test]
async fn a_disk_that_goes_read_only_is_found_in_a_period_and_comes_back_by_itself() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    // No write is due for an hour: the superblock shows the fault.
    let rare =
        FREQUENT_CHECKS.replace("write_probe_interval = \"1s\"", "write_probe_interval = \"1h\"");
    let mut agent = Agent::installed(&disk.path(), &rare);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let good = agent.health(&uuid).await;
    disk.remount("ro");
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(root(&health)["reason"], "read_only");
    assert_eq!(root(&health)["mountPoint"], disk.path().to_str().unwrap());
    assert_eq!(health["capacity"], good["capacity"], "the last good figures stay");
    assert!(check(&health, "examine")["lastGoodTime"].is_string());
    disk.remount("rw");
    let health = agent.until_status(&uuid, "Connected").await;
    let expected = ["Connected", "Disconnected", "Connecting", "Connected"];
    assert_eq!(changes(&health), expected);
}

#[tokio::test]
async fn a_view_that_turns_read_only_is_distinguished_from_the_disk() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let images = disk.path().join("images");
    fs::create_dir(&images).unwrap();
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&images, &sshd, &user).await;
    let over = BindMount::over(&images);
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(root(&health)["reason"], "namespace_read_only");
    assert_eq!(check(&health, "examine")["status"], "True", "the figures are good");
    assert_eq!(check(&health, "write")["reason"], "namespace_read_only");
    let remedy = check(&health, "write")["remedy"].as_str().unwrap();
    let drop_in = format!("ReadWritePaths=-{}", images.display());
    assert!(remedy.contains(&drop_in) && remedy.contains(":rw"), "{remedy}");
    drop(over);
    agent.until_status(&uuid, "Connected").await;
}

#[tokio::test]
async fn a_dying_disk_is_given_up_after_three_probes() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("xfs"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    disk.shut_down();
    let seen = agent
        .until_health(&uuid, "failing", |health| check(health, "examine")["status"] == "False")
        .await;
    // The first failed probe is visible at once; three of them disconnect the store.
    assert_eq!(seen["inventory"]["status"], "Connected");
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(
        (&root(&health)["reason"], &root(&health)["errno"]),
        (&"io_error".into(), &"EIO".into())
    );
}

#[tokio::test]
async fn a_disk_that_grows_is_known_within_a_period() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=8m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    agent.until_probed(&uuid, 1).await;
    disk.remount("size=16m");
    agent.until_probed(&uuid, 2).await;
    let health = agent.health(&uuid).await;
    assert_eq!(health["capacity"]["totalCapacity"], 16 << 20);
    assert_eq!(agent.inventory(&uuid).await["totalCapacity"], 16 << 20);
    assert_eq!(health["history"][0]["event"], "measured");
    assert_eq!(health["history"][0]["totalCapacity"], 16 << 20);
    assert_eq!(changes(&health), ["Connected"]);
    // The figures of the day are in the same commit.
    let (series, total, least, greatest, last) = newest_day(&agent);
    assert_eq!((series, total), (1, 16 << 20));
    assert!((0..8 << 20).contains(&least) && least <= last && last <= greatest, "{last}");
    let used = (16 << 20) - health["capacity"]["availableCapacity"].as_i64().unwrap();
    assert_eq!(last, used);
}

/// Series, total, and least, greatest and last use of the newest day in the ledger.
fn newest_day(agent: &Agent) -> (i64, i64, i64, i64, i64) {
    let ledger = open_read_only(&agent.path("state/ledger.sqlite"));
    let sql = "SELECT series, total, used_min, used_max, used_last FROM capacity_days
               ORDER BY day DESC LIMIT 1";
    let column = |row: &rusqlite::Row<'_>, n| row.get(n).unwrap();
    ledger
        .query_row(sql, [], |row| {
            Ok((column(row, 0), column(row, 1), column(row, 2), column(row, 3), column(row, 4)))
        })
        .unwrap()
}

#[tokio::test]
async fn a_disk_that_comes_back_as_another_device_is_the_same_store() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let before = agent.health(&uuid).await;
    assert!(disk.try_unmount() || disk.try_unmount());
    agent.until_status(&uuid, "Disconnected").await;
    // Takes the loop device that the filesystem had before.
    let other = MountedFs::of("ext4");
    disk.mount();
    let health = agent.until_status(&uuid, "Connected").await;
    drop(other);
    assert_eq!(health["filesystem"]["mountPoint"], before["filesystem"]["mountPoint"]);
    let moved = |line: &&Value| line["event"] == "moved";
    let line = health["history"].as_array().unwrap().iter().find(moved);
    match health["filesystem"]["device"] == before["filesystem"]["device"] {
        // Another test may have used and released it meanwhile.
        true => assert!(line.is_none()),
        false => assert_eq!(line.unwrap()["device"], health["filesystem"]["device"]),
    }
    assert_eq!(newest_day(&agent).0, 1 + i64::from(line.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_is_found_by_a_login_and_comes_back_by_itself() {
    needs_root!();
    let (disk, user) = (MountedFs::tmpfs("size=4m"), User::create());
    let key = crate::support::sshd::HostKeyFile::generate("ed25519");
    let sshd = Builder::new().host_key(&key).start();
    let port = sshd.address.port();
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    // The monitor's first login is a complete one, so that no server counts it as a scan.
    let added = check(&agent.health(&uuid).await, "ssh")["lastProbeTime"].clone();
    agent
        .until_health(&uuid, "logged in", |health| check(health, "ssh")["lastProbeTime"] != added)
        .await;
    sshd.until_logged("Accepted ", 2);
    assert_eq!(sshd.logged("[preauth]"), 0);
    drop(sshd);
    let seen = agent
        .until_health(&uuid, "failing", |health| check(health, "ssh")["status"] == "False")
        .await;
    assert_eq!(seen["inventory"]["status"], "Connected", "seen at once, believed after three");
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(root(&health)["reason"], "connection_refused");
    assert_eq!(check(&health, "examine")["status"], "True");
    let _sshd = Builder::new().host_key(&key).port(port).start();
    agent.until_status(&uuid, "Connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_changed_is_found_at_once() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), FREQUENT_CHECKS);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    user.set_password("another one");
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(root(&health)["reason"], "credentials_refused");
    // The first refused login disconnected the store.
    assert!(condition(&health, "unverified").is_none());
    user.set_password(&user.password);
    agent.until_status(&uuid, "Connected").await;
}
