//! A daemon that its parent process or a limit hinders: the trouble is the daemon's, and no store
//! is blamed for it.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::health::{changes, check};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

const PROBE_EVERY_SECOND: &str = "write_probe_interval = \"1s\"\n[monitor]\ninterval = \"1s\"\n";

/// A shell that ignores SIGCHLD, as some supervisors do, and becomes the daemon.
const IGNORING_SIGCHLD: [&str; 4] = ["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_ignores_the_end_of_its_children_leaves_no_worker_stuck() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), PROBE_EVERY_SECOND);
    assert!(agent.start_under(&IGNORING_SIGCHLD));
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    agent.until_probed(&uuid, 4).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    let health = agent.health(&uuid).await;
    assert_eq!(check(&health, "write")["status"], "True", "{health:#}");
    assert_eq!(changes(&health), ["Connected", "Connecting", "Connected"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_the_parent_blocked_or_ignored_still_reload_and_stop_the_daemon() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    for option in ["--block-signal=TERM,INT,HUP,CHLD", "--ignore-signal=TERM,INT,HUP,CHLD"] {
        for stop in [Signal::SIGTERM, Signal::SIGINT] {
            let mut agent = Agent::installed(&disk.path(), "");
            assert!(agent.start_under(&["env", option]), "{option}");
            agent.signal(Signal::SIGHUP);
            agent.until_logged("reloaded");
            agent.signal(stop);
            let status = agent.ended();
            assert!(status.success(), "{option} {stop}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_something_else_kills_counts_against_no_store() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), PROBE_EVERY_SECOND);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    agent.until_probed(&uuid, 1).await;
    // The kernel kills a worker that writes more than this limit (SIGXFSZ), as it kills one that
    // uses too much memory. The daemon itself gets an error (EFBIG).
    let pid = agent.pid().to_string();
    crate::support::requirements::run("prlimit", &["--pid", &pid, "--fsize=2048:1048576"]);
    let before = check(&agent.health(&uuid).await, "write")["lastProbeTime"].clone();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..6 {
        ticks.tick().await;
        assert_eq!(agent.inventory(&uuid).await["status"], "Connected");
    }
    let health = agent.health(&uuid).await;
    assert_eq!(changes(&health), ["Connected"], "{health:#}");
    // One write may have been running.
    let stalled = check(&health, "write")["lastProbeTime"].clone();
    crate::support::requirements::run("prlimit", &["--pid", &pid, "--fsize=1048576:1048576"]);
    agent.until_probed(&uuid, 2).await;
    let after = check(&agent.health(&uuid).await, "write")["lastProbeTime"].clone();
    assert_ne!(after, stalled, "no write ended before {before}");
}
