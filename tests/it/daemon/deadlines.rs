//! Every attempt ends within its deadline, whichever part hangs, and names that part.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

/// Highest time that a loaded machine may take on top of a deadline. It covers the two seconds of
/// the backstop and the death of a worker, and is far less than the deadlines that must not be
/// reached.
const SLACK: Duration = Duration::from_secs(8);

/// The attempt deadline comes before all others.
const SHORT: &str = "[monitor]\ninterval = \"1h\"\nprobe_deadline = \"1m\"\nattempt_deadline = \"2s\"\n\
    [ssh]\nhandshake_timeout = \"2m\"\nauth_timeout = \"2m\"\n";
/// The attempt deadline comes after all others.
const LONG: &str = "[monitor]\ninterval = \"1h\"\nprobe_deadline = \"1s\"\nattempt_deadline = \"2m\"\n\
    [ssh]\nhandshake_timeout = \"2m\"\nauth_timeout = \"2m\"\n";

struct Scene {
    agent: Agent,
    disk: MountedFs,
    sshd: Sshd,
    uuid: String,
    _user: User,
}

/// The result of a reconnect.
struct Outcome {
    took: Duration,
    /// Check and reason of each failed check.
    checks: Vec<(String, String)>,
    root: Value,
}

impl Scene {
    async fn set(settings: &str) -> Self {
        let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
        let mut agent = Agent::installed(&disk.path(), settings);
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        Self { agent, disk, sshd, uuid, _user: user }
    }

    /// Runs a reconnect that fails and leaves the store Disconnected.
    async fn fails(&self) -> Outcome {
        let begun = Instant::now();
        let reply = self.agent.reconnect(&self.uuid).await;
        let took = begun.elapsed();
        assert_eq!(reply.status, 503, "{}", reply.body);
        let inventory = self.agent.inventory(&self.uuid).await;
        assert_eq!(inventory["status"], "Disconnected");
        let error = &reply.body["error"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let checks = error["opaque"]["checks"].as_array().unwrap();
        let checks = checks.iter().map(|check| (text(&check["check"]), text(&check["reason"])));
        Outcome { took, checks: checks.collect(), root: error["cause"]["opaque"].clone() }
    }
}

fn checks<const N: usize>(all: [(&str, &str); N]) -> Vec<(String, String)> {
    all.map(|(check, reason)| (check.to_owned(), reason.to_owned())).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_at_a_server_that_says_nothing_ends_with_its_deadline() {
    needs_root!();
    let scene = Scene::set(SHORT).await;
    scene.sshd.freeze();
    let outcome = scene.fails().await;
    scene.sshd.thaw();
    // A short attempt is no excuse of the server, and the fault names the time that it had.
    assert_eq!(outcome.checks, checks([("ssh", "banner_timeout")]));
    assert_eq!(outcome.root["phase"], "banner");
    let given = outcome.root["givenMilliseconds"].as_u64().unwrap();
    assert!((1000..=2000).contains(&given), "{given}");
    let advice = scene.agent.cli(&["check-config"], "");
    let advice = String::from_utf8(advice.stdout).unwrap();
    let warns = |line: &str| line.contains("warning") && line.contains("monitor.attempt_deadline");
    assert!(advice.lines().any(warns), "{advice}");
    assert!(outcome.took >= Duration::from_secs(2), "{:?}", outcome.took);
    assert!(outcome.took < Duration::from_secs(2) + SLACK, "{:?}", outcome.took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_at_a_server_and_a_disk_that_hang_ends_with_its_deadline_and_names_both() {
    needs_root!();
    let scene = Scene::set(SHORT).await;
    scene.sshd.freeze();
    scene.disk.freeze("-f");
    let outcome = scene.fails().await;
    scene.disk.freeze("-u");
    scene.sshd.thaw();
    // The worker sleeps in the kernel, so its late probe counts as stuck.
    assert_eq!(outcome.checks, checks([("storage", "probe_stuck"), ("ssh", "banner_timeout")]));
    assert_eq!(outcome.root["reason"], "probe_stuck");
    assert!(outcome.took >= Duration::from_secs(2), "{:?}", outcome.took);
    assert!(outcome.took < Duration::from_secs(2) + SLACK, "{:?}", outcome.took);
    assert_eq!(scene.agent.reconnect(&scene.uuid).await.status, 200, "both stores are Connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_worker_answers_within_the_deadline_of_a_probe() {
    needs_root!();
    let scene = Scene::set(LONG).await;
    scene.disk.freeze("-f");
    let outcomes = [scene.fails().await, scene.fails().await, scene.fails().await];
    scene.disk.freeze("-u");
    let pids: Vec<&Value> = outcomes.iter().map(|outcome| &outcome.root["pid"]).collect();
    assert!(
        pids[0].is_i64() && pids.iter().all(|pid| *pid == pids[0]),
        "more than one worker: {pids:?}"
    );
    for outcome in &outcomes {
        assert_eq!(outcome.checks, checks([("storage", "probe_stuck")]));
        assert!(outcome.took < Duration::from_secs(1) + SLACK, "{:?}", outcome.took);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_worker_answers_within_the_deadline_of_a_probe_also_where_the_server_is_silent() {
    needs_root!();
    let scene = Scene::set(LONG).await;
    scene.disk.freeze("-f");
    let first = scene.fails().await;
    scene.sshd.freeze();
    let second = scene.fails().await;
    scene.sshd.thaw();
    scene.disk.freeze("-u");
    assert_eq!(first.root["reason"], "probe_stuck");
    assert_eq!(second.checks, checks([("storage", "probe_stuck"), ("ssh", "banner_timeout")]));
    assert!(second.took < Duration::from_secs(1) + SLACK, "{:?}", second.took);
}
