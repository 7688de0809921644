//! SIGKILL in the middle of each commit, and at each labelled point of a transition. A kill at a
//! sync leaves a complete commit whose notice nobody has seen; a kill at a write leaves a torn
//! commit.

use std::path::{Path, PathBuf};

use hyper::Method;
use imagestore_agent::cli::DaemonResponse;
use serde_json::{Value, json};

#[cfg(feature = "crash-points")]
use crate::daemon::ledger_damage::MIGRATION_POINTS;
use crate::support::agent::{Agent, callback, store};
use crate::support::event_order::EventOrder;
use crate::support::filesystems::MountedFs;
use crate::support::ledger_snapshot::{count_rows, open_read_only};
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::strace::{Tracer, killing, killing_from_the_start};
use crate::support::wait::until;

/// The only probe of the monitor is the first after each start.
const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";
const SYNC_CALLS: &str = "fsync,fdatasync";
const SYNCS: At = At::Call(SYNC_CALLS);
const WRITES: At = At::Call("pwrite64");

/// The place at which the daemon is killed.
#[derive(Clone, Copy, Debug)]
enum At {
    /// At one of these system calls on its ledger.
    Call(&'static str),
    /// At this crash point.
    #[cfg(feature = "crash-points")]
    Point(&'static str),
}

/// The armed kill, disarmed when dropped.
struct Armed {
    _tracer: Option<Tracer>,
    file: PathBuf,
}

impl Armed {
    fn against(agent: &Agent, at: At, nth: u32) -> Self {
        let file = agent.path("crash-points");
        let tracer = match at {
            At::Call(calls) => {
                let ledger = agent.path("state/ledger.sqlite");
                let log = agent.path("state/ledger.sqlite-wal");
                Some(Tracer::of_ledger(agent.pid(), &killing(calls, nth, &[&ledger, &log])))
            }
            #[cfg(feature = "crash-points")]
            At::Point(label) => {
                agent.arm_crash_point(label, nth);
                None
            }
        };
        Self { _tracer: tracer, file }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // A kill at a system call has no such file.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The daemon was killed in the middle of the script.
struct Killed;

struct Scene {
    agent: Agent,
    node: ManagementNode,
    /// True if the management node answers while the script runs.
    is_heard: bool,
    events: EventOrder,
    disk: MountedFs,
    sshd: Sshd,
    user: User,
}

impl Scene {
    async fn set(is_heard: bool) -> Self {
        let (disk, sshd, user) =
            (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
        let node = ManagementNode::answering([]).await;
        let mut agent =
            Agent::installed(&disk.path(), &format!("{HOURLY_PROBES}{}", callback(&node.url())));
        agent.start();
        let mut scene =
            Self { agent, node, is_heard, events: EventOrder::default(), disk, sshd, user };
        scene.agent.add(&scene.dir(0), &scene.sshd, &scene.user).await;
        scene.settled().await;
        scene
    }

    fn dir(&self, n: u32) -> PathBuf {
        let dir = self.disk.path().join((n % 2).to_string());
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Arms a kill at the `nth` occurrence, runs the script, and checks the state afterwards.
    /// Returns true if the daemon was killed.
    async fn killed_at(&mut self, at: At, nth: u32) -> bool {
        let armed = Armed::against(&self.agent, at, nth);
        if !self.is_heard {
            self.node.stop().await;
        }
        let old = self.stores().await.remove(0);
        let new = self.dir(nth);
        let mut replies = Vec::new();
        let survived = self.script(&old, &new, &mut replies).await.is_ok();
        if !survived {
            self.agent.ended();
        }
        drop(armed);
        self.hear();
        self.the_ledger_agrees(&old, &replies);
        if !self.is_heard {
            self.node.restart().await;
        }
        if !survived {
            self.agent.start();
        }
        self.settled().await;
        self.finish(&old, &new).await;
        !survived
    }

    /// Adds a store, reconnects it, and removes the old one.
    async fn script(
        &mut self,
        old: &str,
        dir: &Path,
        replies: &mut Vec<DaemonResponse>,
    ) -> Result<(), Killed> {
        let body = store(dir, &self.sshd, &self.user);
        let added = self.ask(Method::POST, "/image-store", Some(body)).await?;
        assert_eq!(added.status, 200, "{}", added.body);
        let path =
            format!("/image-store/{}/actions", added.body["inventory"]["uuid"].as_str().unwrap());
        replies.push(added);
        self.acknowledged().await?;
        let reply = self.ask(Method::PUT, &path, Some(json!({"params": {}}))).await?;
        assert_eq!(reply.status, 200, "{}", reply.body);
        replies.push(reply);
        self.acknowledged().await?;
        replies.push(self.ask(Method::DELETE, &format!("/{old}"), None).await?);
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<DaemonResponse, Killed> {
        let path = format!("/zstack/v1/backup-storage{path}");
        self.agent.http().send_request(method, &path, body.as_ref()).await.map_err(|_| Killed)
    }

    /// Waits until the outbox is empty, if the management node answers.
    async fn acknowledged(&mut self) -> Result<(), Killed> {
        let mut killed = false;
        until("everything is acknowledged", async || {
            killed = self.agent.has_ended();
            killed || !self.is_heard || self.count("SELECT count(*) FROM outbox") == 0
        })
        .await;
        if killed { Err(Killed) } else { Ok(()) }
    }

    fn count(&self, sql: &str) -> u32 {
        count_rows(&self.agent, sql)
    }

    fn hear(&mut self) {
        while let Some(received) = self.node.try_next() {
            self.events.record(&received);
        }
    }

    /// Checks that each status in the ledger is that of the newest event, delivered or in the
    /// outbox, and that the ledger has everything that was answered.
    fn the_ledger_agrees(&self, old: &str, replies: &[DaemonResponse]) {
        let ledger = open_read_only(&self.agent.path("state/ledger.sqlite"));
        let sql = "SELECT s.store, s.standing ->> 'status', (
                SELECT o.notice ->> 'new_status' FROM outbox o WHERE o.store = s.store
                ORDER BY o.epoch DESC, o.seq DESC LIMIT 1
            ) FROM standings s";
        let mut statement = ledger.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut stores = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let (uuid, status): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            let waiting: Option<String> = row.get(2).unwrap();
            let newest = waiting.as_deref().or(self.events.last_status(&uuid));
            assert_eq!(newest, Some(status.as_str()), "{uuid}");
            stores.push(uuid);
        }
        if let Some(added) = replies.first() {
            let uuid = added.body["inventory"]["uuid"].as_str().unwrap();
            assert!(stores.iter().any(|store| store == uuid), "an answered add is lost");
        }
        let is_there = stores.iter().any(|store| store == old);
        assert!(is_there || replies.len() >= 2, "the store is gone before the removal was sent");
        assert!(!is_there || replies.len() < 3, "an answered removal is lost");
    }

    async fn stores(&self) -> Vec<String> {
        let listed = self.agent.ask(Method::GET, "/image-store", None).await;
        let stores = listed.body["inventories"].as_array().unwrap();
        stores.iter().map(|store| store["uuid"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until every store is Connected and every notice is delivered.
    async fn settled(&mut self) {
        let unsettled = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM standings
            WHERE standing ->> 'status' <> 'Connected')";
        until("the state is settled", async || self.count(unsettled) == 0).await;
        self.hear();
        for uuid in self.stores().await {
            assert_eq!(self.events.last_status(&uuid), Some("Connected"), "{uuid}");
        }
    }

    /// Completes the script after a kill, so that the new store is the old one of the next round.
    async fn finish(&mut self, old: &str, dir: &Path) {
        let stores = self.stores().await;
        if stores.iter().all(|uuid| uuid == old) {
            self.agent.add(dir, &self.sshd, &self.user).await;
        }
        let gone = self.agent.ask(Method::DELETE, &format!("/{old}"), None).await;
        assert_eq!(gone.status, 200, "{}", gone.body);
        self.settled().await;
        assert_eq!(self.stores().await.len(), 1);
    }
}

/// Kills at the first occurrence, at the `stride`th after it and so on, until the script survives.
/// Returns the number of kills.
async fn killed_at_each(at: At, stride: u32, is_heard: bool) -> u32 {
    let mut scene = Scene::set(is_heard).await;
    let mut nth = 1;
    while scene.killed_at(at, nth).await {
        nth += stride;
    }
    nth - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_sync_loses_and_doubles_nothing() {
    needs_root!();
    let syncs = killed_at_each(SYNCS, 1, true).await;
    // The add and its epoch, two transitions, three acknowledgements, of which one may share a
    // commit, and the removal.
    assert!(syncs >= 7, "only {syncs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_sync_while_nobody_listens_loses_and_repeats_nothing() {
    needs_root!();
    let syncs = killed_at_each(SYNCS, 1, false).await;
    assert!(syncs >= 5, "only {syncs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_a_commit_loses_and_doubles_nothing() {
    needs_root!();
    // Each page has two writes, its frame and itself: an odd stride meets both.
    let writes = killed_at_each(WRITES, 3, true).await;
    assert!(writes >= 40, "only {writes}");
}

/// Every crash point, and the least number of times that the script passes it.
#[cfg(feature = "crash-points")]
const POINTS: [(&str, u32); 7] = [
    ("claim.after", 1),
    ("commit.before", 6),
    ("commit.after", 6),
    ("effects.before", 2),
    ("send.before", 3),
    ("send.after", 3),
    ("acknowledge.after", 3),
];

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_labelled_point_loses_and_doubles_nothing() {
    needs_root!();
    for (label, least) in POINTS {
        let passed = killed_at_each(At::Point(label), 1, true).await;
        println!("{label}: killed {passed} times");
        assert!(passed >= least, "{label}: only {passed}");
    }
}

/// The points of jobs, at which `jobs.rs` kills.
#[cfg(feature = "crash-points")]
const JOB_POINTS: [&str; 3] = ["job.begun", "job.finish", "job.ended"];

/// The points of web hooks, at which `hooks.rs` kills.
#[cfg(feature = "crash-points")]
const HOOK_POINTS: [&str; 2] = ["hook.before", "hook.after"];

#[cfg(feature = "crash-points")]
#[test]
fn every_labelled_point_is_killed_at() {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut labels = std::collections::BTreeSet::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let points = text.split("crash_point(\"").skip(1);
                labels.extend(points.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let migration = MIGRATION_POINTS.iter().map(|(label, ..)| *label);
    let killed = POINTS.iter().map(|(label, _)| *label).chain(migration);
    let killed = killed.chain(JOB_POINTS).chain(HOOK_POINTS);
    assert_eq!(labels, killed.map(str::to_owned).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_sync_of_a_first_start_leaves_one_that_starts() {
    needs_root!();
    let mut started = false;
    for nth in 1.. {
        let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), HOURLY_PROBES);
        let words = killing_from_the_start(SYNC_CALLS, nth);
        let wrapper: Vec<&str> = words.iter().map(String::as_str).collect();
        started = agent.start_under(&wrapper);
        if started {
            // After the start only the check of the state disk writes.
            assert!(nth > 10, "only {nth} syncs");
            break;
        }
        agent.start();
        assert!(agent.cli(&["list"], "").status.success());
        assert!(agent.terminate().0.success());
    }
    assert!(started);
}
