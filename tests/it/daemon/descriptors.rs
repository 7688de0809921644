//! A daemon at its limit of descriptors: the fault is the daemon's, not that of a store.

use std::time::Duration;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::health::{changes, check};
use crate::support::processes::descriptors;
use crate::support::requirements::{needs_root, run};
use crate::support::sshd::{Builder, User};

const PROBE_EVERY_SECOND: &str = "write_probe_interval = \"1s\"\n[monitor]\ninterval = \"1s\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_descriptors_are_enough_for_eight_stores() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    let disk = MountedFs::of("ext4");
    let mut agent = Agent::installed(&disk.path(), PROBE_EVERY_SECOND);
    assert!(agent.start_under(&["prlimit", "--nofile=64:64"]));
    let mut uuids = Vec::new();
    for n in 0..8 {
        let dir = disk.path().join(n.to_string());
        std::fs::create_dir(&dir).unwrap();
        uuids.push(agent.add(&dir, &sshd, &user).await);
    }
    agent.until_probed(&uuids[0], 3).await;
    for uuid in &uuids {
        assert_eq!(changes(&agent.health(uuid).await), ["Connected"]);
        assert_eq!(agent.reconnect(uuid).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_finds_no_descriptor_counts_against_no_store() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), PROBE_EVERY_SECOND);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    agent.until_probed(&uuid, 1).await;
    let set = |limit: usize| {
        let limit = format!("--nofile={limit}:1024");
        run("prlimit", &["--pid", &agent.pid().to_string(), &limit]);
    };
    let seen = async || {
        let health = agent.health(&uuid).await;
        assert_eq!(health["inventory"]["status"], "Connected");
        check(&health, "examine")["lastProbeTime"].clone()
    };
    // Two are left for clients; a probe needs more for its pipes.
    set(descriptors(agent.pid()) + 2);
    let mut looks = tokio::time::interval(Duration::from_millis(500));
    let mut times = Vec::new();
    for _ in 0..10 {
        looks.tick().await;
        times.push(seen().await);
    }
    // A probe that was running may have ended; none has started since.
    assert_eq!(times[4], times[9], "the limit was too high to prove anything");
    set(1024);
    agent.until_probed(&uuid, 2).await;
    assert_eq!(changes(&agent.health(&uuid).await), ["Connected"]);
}
