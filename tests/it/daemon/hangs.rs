//! Disks that hang while the daemon monitors them: the cost, and the recovery.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::agent::{Agent, store};
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::health::{changes, check, condition, root};
use crate::support::processes::{descriptors, named, threads};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::wait::until;

const PROBE_EVERY_SECOND: &str = "write_probe_interval = \"1s\"\n\
    [monitor]\ninterval = \"1s\"\nprobe_deadline = \"1s\"\n";

/// First letters of the process name of each worker, see `prctl(2)`.
const WORKER: &str = "isw-";

/// Returns the workers of this daemon; other tests have workers too.
fn workers(of: &BTreeSet<u32>) -> BTreeSet<u32> {
    named(WORKER).difference(of).copied().collect()
}

async fn installed(fuse: &Fuse, more: &str) -> (Agent, Sshd, User) {
    let agent = Agent::installed(&fuse.path(), more);
    (agent, Builder::new().start(), User::create())
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_is_given_up_and_taken_back_when_it_answers() {
    needs_root!();
    for (op, failing) in [(Op::Statfs, "examine"), (Op::Open, "examine"), (Op::Write, "write")] {
        let fuse = Fuse::mounted();
        let (mut agent, sshd, user) = installed(&fuse, PROBE_EVERY_SECOND).await;
        agent.start();
        let uuid = agent.add(&fuse.path(), &sshd, &user).await;
        let good = agent.health(&uuid).await["capacity"].clone();
        fuse.set(op, Behaviour::Hang);
        let seen = agent
            .until_health(&uuid, "failing", |health| check(health, failing)["status"] == "False")
            .await;
        assert_eq!(seen["inventory"]["status"], "Connected", "{op:?}: one is no outage");
        assert_eq!(check(&seen, failing)["reason"], "probe_stuck", "{op:?}");
        let health = agent.until_status(&uuid, "Disconnected").await;
        assert_eq!(root(&health)["reason"], "probe_stuck", "{op:?}");
        assert_eq!(health["capacity"], good, "{op:?}: the last good figures stay");
        let pid = health["stuckWorker"]["pid"].as_u64().unwrap();
        assert!(named(WORKER).contains(&u32::try_from(pid).unwrap()));
        let reply = agent.reconnect(&uuid).await;
        let cause = &reply.body["error"]["cause"]["opaque"];
        assert_eq!((reply.status.as_u16(), &cause["reason"]), (503, &"probe_stuck".into()));
        fuse.release();
        let health = agent.until_status(&uuid, "Connected").await;
        assert!(health["stuckWorker"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_slow_says_so_and_stays_connected() {
    needs_root!();
    let fuse = Fuse::mounted();
    let patient = PROBE_EVERY_SECOND.replace("probe_deadline = \"1s\"", "probe_deadline = \"10s\"");
    let (mut agent, sshd, user) = installed(&fuse, &patient).await;
    agent.start();
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    fuse.set(Op::Statfs, Behaviour::Slow(Duration::from_millis(1200)));
    let health = agent.until_condition(&uuid, "slow_probe", true).await;
    let slow = condition(&health, "slow_probe").unwrap();
    assert!(slow["message"].as_str().unwrap().starts_with("the last probe took 1"), "{slow}");
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    fuse.release();
    let health = agent.until_condition(&uuid, "slow_probe", false).await;
    assert_eq!(changes(&health), ["Connected", "Connecting", "Connected"]);
}

/// Number of periods to watch; the variable sets a larger one.
fn periods() -> u32 {
    let set = std::env::var("HUNG_PERIODS").ok();
    set.map_or(60, |set| set.parse().expect("HUNG_PERIODS is no number"))
}

/// Longest period: its second, its jitter, and a probe that times out.
const PERIOD: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_disk_costs_no_more_after_many_periods_than_after_few() {
    needs_root!();
    let longest = PERIOD * periods() + Duration::from_secs(60);
    let (fuse, well) = (Fuse::mounted_for(longest), MountedFs::tmpfs("size=4m"));
    let (mut agent, sshd, user) = installed(&fuse, PROBE_EVERY_SECOND).await;
    both_roots(&agent, &fuse.path(), &well.path());
    agent.start();
    let hung = agent.add(&fuse.path(), &sshd, &user).await;
    let fine = agent.add(&well.path(), &sshd, &user).await;
    fuse.set(Op::Statfs, Behaviour::Hang);
    agent.until_status(&hung, "Disconnected").await;
    let daemon = agent.pid();
    let stuck = agent.health(&hung).await["stuckWorker"].clone();
    let (threads_before, descriptors_before) = (threads(daemon), descriptors(daemon));
    for _ in 0..periods() {
        agent.until_probed(&hung, 1).await;
    }
    // The other store was probed all the time.
    agent.until_probed(&fine, 1).await;
    let health = agent.health(&hung).await;
    assert_eq!(health["stuckWorker"], stuck, "one worker, and the same one");
    // A worker that has read this node's host keys for a login stays for 10 s.
    let threads = threads(daemon);
    assert!(threads <= threads_before + 1, "{threads_before} became {threads}");
    // A probe of the other store may run during either count, with its two pipes.
    let now = descriptors(daemon);
    assert!(now.abs_diff(descriptors_before) <= 4, "{descriptors_before} became {now}");
    fuse.release();
    agent.until_status(&hung, "Connected").await;
}

fn both_roots(agent: &Agent, one: &Path, other: &Path) {
    let both = format!("allowed_roots = [{one:?}, {other:?}]");
    let settings = agent.settings().replace(&format!("allowed_roots = [{one:?}]"), &both);
    agent.configure(&settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_while_a_probe_hangs_sends_no_second_one_after_it() {
    needs_root!();
    let fuse = Fuse::mounted();
    // Long after the kill nothing of the hang is in the ledger.
    let patient = "[monitor]\ninterval = \"1h\"\nprobe_deadline = \"60s\"\n";
    let (mut agent, sshd, user) = installed(&fuse, patient).await;
    agent.start();
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    let others = named(WORKER);
    fuse.set(Op::Statfs, Behaviour::Hang);
    let (http, path) =
        (agent.http(), format!("/zstack/v1/backup-storage/image-store/{uuid}/actions"));
    let body = serde_json::json!({"params": {}});
    let call =
        tokio::spawn(
            async move { http.send_request(hyper::Method::PUT, &path, Some(&body)).await },
        );
    fuse.until_hanging(1);
    agent.kill();
    assert!(call.await.unwrap().is_err(), "the call was answered");
    let quick = agent.settings().replace("probe_deadline = \"60s\"", "probe_deadline = \"1s\"");
    agent.configure(&quick);
    agent.start();
    let health = agent.until_status(&uuid, "Disconnected").await;
    assert_eq!(root(&health)["reason"], "probe_stuck");
    let pid = u32::try_from(health["stuckWorker"]["pid"].as_u64().unwrap()).unwrap();
    assert!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().starts_with(WORKER));
    assert!(workers(&others).contains(&pid), "the fault names another worker");
    fuse.release();
    assert_eq!(agent.until_connects(&uuid).await.status, 200);
}

/// Returns the process id that a refused add names.
async fn held_by(agent: &Agent, fuse: &Fuse, sshd: &Sshd, user: &User) -> u64 {
    let reply =
        agent.ask(hyper::Method::POST, "/image-store", Some(store(&fuse.path(), sshd, user))).await;
    let root = &reply.body["error"]["cause"]["cause"]["opaque"];
    let (status, reason) = (reply.status.as_u16(), root["reason"].as_str());
    assert_eq!((status, reason), (503, Some("probe_stuck")), "{}", reply.body);
    root["pid"].as_u64().unwrap_or_else(|| panic!("no process: {}", reply.body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_hangs_holds_one_process_however_often_it_is_added_and_removed() {
    needs_root!();
    let fuse = Fuse::mounted();
    let (mut agent, sshd, user) = installed(&fuse, PROBE_EVERY_SECOND).await;
    agent.start();
    fuse.set(Op::Statfs, Behaviour::Hang);
    let first = held_by(&agent, &fuse, &sshd, &user).await;
    for _ in 0..2 {
        assert_eq!(held_by(&agent, &fuse, &sshd, &user).await, first);
    }
    fuse.release();
    let gone = async || !Path::new(&format!("/proc/{first}")).exists();
    until("the worker is gone", gone).await;
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    fuse.set(Op::Statfs, Behaviour::Hang);
    let health = agent.until_status(&uuid, "Disconnected").await;
    let second = health["stuckWorker"]["pid"].as_u64().unwrap();
    let removed = agent.ask(hyper::Method::DELETE, &format!("/{uuid}"), None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(held_by(&agent, &fuse, &sshd, &user).await, second);
    fuse.release();
}
