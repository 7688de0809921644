//! A daemon that its parent process or a limit hinders: the trouble is the daemon's, and no store
//! is blamed for it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::agent::{Agent, NOBODY, PROGRAM, callback};
use crate::support::failures::root_cause;
use crate::support::filesystems::MountedFs;
use crate::support::health::{changes, check, condition};
use crate::support::ledger_snapshot::open_read_only;
use crate::support::management_node::ManagementNode;
use crate::support::processes::{children, descriptors};
use crate::support::requirements::{needs_root, run};
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

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
    run("prlimit", &["--pid", &pid, "--fsize=2048:1048576"]);
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
    run("prlimit", &["--pid", &pid, "--fsize=1048576:1048576"]);
    agent.until_probed(&uuid, 2).await;
    let after = check(&agent.health(&uuid).await, "write")["lastProbeTime"].clone();
    assert_ne!(after, stalled, "no write ended before {before}");
}

/// Returns the part of the ledger that a daemon without a process must not change: the attempt, the
/// transitions and the outbox.
fn durable_state(agent: &Agent) -> (String, u32, u32) {
    let ledger = open_read_only(&agent.path("state/ledger.sqlite"));
    let sql = "SELECT standing ->> '$.status' || (standing ->> '$.attempt') \
         || (standing ->> '$.position.seq'), \
         (SELECT count(*) FROM history WHERE entry NOT LIKE '%\"turned\"%' \
          AND entry NOT LIKE '%\"measured\"%'), \
         (SELECT count(*) FROM outbox) FROM standings";
    ledger.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

/// Asks for a reconnect that the daemon cannot prepare.
async fn expect_busy(agent: &Agent, uuid: &str, why: &str) {
    let reply = agent.reconnect(uuid).await;
    assert_eq!(reply.status, 503, "{}", reply.body);
    let cause = root_cause(&reply);
    assert_eq!(cause["opaque"]["reason"], "agent_busy", "{}", reply.body);
    assert!(cause["details"].as_str().unwrap().contains(why), "{}", reply.body);
    assert!(cause["elaboration"].as_str().unwrap().contains("limits"), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_gets_no_process_changes_nothing_and_says_that_it_knows_nothing() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    for path in [disk.path().parent().unwrap(), &disk.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{PROBE_EVERY_SECOND}{}heartbeat = \"1s\"\n", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more).running_as_nobody();
    let made = agent.cli(&["init", disk.path().to_str().unwrap()], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(node.next().await.json["data"]["newStatus"], "Connected");
    agent.until_probed(&uuid, 1).await;
    until("the notice is acknowledged", async || durable_state(&agent).2 == 0).await;

    // The limit counts all processes and threads of the user.
    let pid = agent.pid().to_string();
    let limit_processes = |soft: &str| {
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        let limit = ["--clear-groups", "prlimit", "--pid", &pid, soft].map(str::to_owned);
        run("setpriv", &user.into_iter().chain(limit).collect::<Vec<_>>());
    };
    limit_processes("--nproc=1:");
    let before = durable_state(&agent);
    for _ in 0..3 {
        expect_busy(&agent, &uuid, "a worker process cannot be started").await;
    }
    assert!(disk.try_unmount(), "no worker uses the disk");
    // The disk is gone, and the daemon cannot know it: that is what it reports.
    let health = agent.until_condition(&uuid, "not_probed", true).await;
    assert_eq!(health["inventory"]["status"], "Connected");
    let message = condition(&health, "not_probed").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("examine") && message.contains("cannot be started"), "{message}");
    let examine = check(&health, "examine");
    assert_eq!((&examine["status"], &examine["reason"]), (&json!("Unknown"), &json!("not_probed")));
    let listed = agent.summary().await;
    assert!(listed.to_string().contains("not_probed"), "{listed}");
    let shows = |beat: &Value| beat["data"]["stores"].to_string().contains("not_probed");
    while !shows(&node.next_heartbeat().await.json) {}
    assert_eq!(durable_state(&agent), before, "status, attempt, transitions or outbox changed");
    assert!(node.try_next().is_none(), "an event was sent");
    let raised = agent.until_logged("condition raised");
    assert!(raised.contains("not_probed") && raised.contains("cannot be started"), "{raised}");

    limit_processes("--nproc=4096:");
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(health["reason"]["cause"]["opaque"]["reason"], "not_mounted", "{health:#}");
    assert_eq!(node.next().await.json["data"]["newStatus"], "Disconnected");
    disk.mount();
    let health = agent.until_status(&uuid, "Connected").await;
    assert!(condition(&health, "not_probed").is_none(), "{health:#}");
    let log = agent.log();
    for event in ["condition raised", "condition cleared"] {
        let lines = log.lines().filter(|line| line.contains(event) && line.contains("not_probed"));
        assert_eq!(lines.count(), 1, "{event}");
    }
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_without_descriptors_leaves_a_disconnected_store_with_its_reason() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let marker = disk.path().join(".imagestore-agent/identity.json");
    let saved = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    let before = (durable_state(&agent), agent.health(&uuid).await["reason"].clone());
    assert_eq!(before.1["cause"]["opaque"]["reason"], "marker_missing");
    fs::write(&marker, saved).unwrap();
    let pid = agent.pid();
    let set = |limit: usize| {
        run("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={limit}:1024")]);
    };
    // Two are left for clients; a worker needs more for its pipes.
    set(descriptors(pid) + 2);
    expect_busy(&agent, &uuid, "a worker process cannot be started").await;
    assert_eq!((durable_state(&agent), agent.health(&uuid).await["reason"].clone()), before);
    set(1024);
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_hang_leave_a_healthy_store_its_share_of_the_workers() {
    needs_root!();
    const HUNG: usize = 80;
    let (hung, healthy) = (MountedFs::of("ext4"), MountedFs::tmpfs("size=4m"));
    let (sshd, user) = (Builder::new().start(), User::create());
    // While the stores are added, no probe of the monitor competes for the disk, and no add is
    // short of time.
    let calm = "[monitor]\ninterval = \"1h\"\n";
    let monitor = "[monitor]\ninterval = \"1s\"\nprobe_deadline = \"1s\"\n";
    let mut agent = Agent::installed(&hung.path(), calm);
    let one = format!("[{:?}]", hung.path());
    let both = format!("[{:?}, {:?}]", hung.path(), healthy.path());
    let spread = "[callback]\nstart_spread = \"0s\"\n";
    agent.configure(&(agent.settings().replace(&one, &both) + spread));
    agent.start();
    let mut uuids = Vec::new();
    for n in 0..HUNG {
        let dir = hung.path().join(n.to_string());
        fs::create_dir(&dir).unwrap();
        uuids.push(agent.add(&dir, &sshd, &user).await);
    }
    let fine = agent.add(&healthy.path(), &sshd, &user).await;
    agent.terminate();
    agent.configure(&agent.settings().replace(calm, monitor));
    let frozen = hung.frozen();
    agent.start();
    let (pid, begun) = (agent.pid(), std::time::Instant::now());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let counting = std::thread::spawn(move || {
        let mut most = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            most = most.max(children(pid).len());
        }
        most
    });
    agent.until_probed(&fine, 1).await;
    let first = begun.elapsed();
    stop.send(()).unwrap();
    let most = counting.join().unwrap();
    println!("{HUNG} stores hang: at most {most} workers, first healthy probe after {first:?}");
    assert!(most <= HUNG + 1, "a store has more than one worker: {most}");
    // All that were before it hang for a second, 64 at a time.
    assert!(first < Duration::from_secs(12), "{first:?}");
    agent.until_probed(&fine, 3).await;
    assert_eq!(agent.reconnect(&fine).await.status, 200);
    drop(frozen);
}

#[test]
fn a_limit_of_the_file_size_ends_a_start_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::installed(folder.path(), "");
    let output = Command::new("prlimit")
        .args(["--fsize=4096", PROGRAM, "--config"])
        .arg(agent.path("agent.toml"))
        .arg("serve")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code >= 64), "{}: {log}", output.status);
    assert!(log.contains("start failed") && log.contains("cannot open the ledger"), "{log}");
}
