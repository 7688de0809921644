//! A store that fills up from day to day, with the wall clock and the monotonic clock set forward.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::clock;
use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::health::{check, condition};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

/// Settings of a calm store of 100 MiB. A figure counts for three intervals.
const HOURLY: &str = "reserved = \"0B\"\nwrite_probe_interval = \"1h\"\n\
    [monitor]\ninterval = \"1h\"\nssh_interval = \"24h\"\n";
/// Time between two figures, for all of which the earlier one counts.
const STEP_HOURS: i64 = 3;
const STEPS_A_DAY: usize = 8;
/// Growth of the store in each step: 8 % of it in a day.
const STEP_MIB: usize = 1;

/// A daemon with clocks of its own, and one store.
struct SteppedDaemon {
    agent: Agent,
    store: String,
    steps: usize,
    // The server and its user serve the logins.
    _sshd: Sshd,
    _user: User,
}

impl SteppedDaemon {
    async fn start(disk: &MountedFs) -> Self {
        let mut agent = Agent::installed(&disk.path(), HOURLY);
        fs::write(agent.path("offset"), "+0").unwrap();
        let preload = format!("LD_PRELOAD={}", clock::library().display());
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", agent.path("offset").display());
        assert!(agent.start_under(&["env", &preload, &file, "FAKETIME_NO_CACHE=1"]));
        let (sshd, user) = (Builder::new().start(), User::create());
        let store = agent.add(&disk.path(), &sshd, &user).await;
        Self { agent, store, steps: 0, _sshd: sshd, _user: user }
    }

    /// Sets both clocks forward, and waits until no check is older than its interval.
    async fn step(&mut self) -> Value {
        self.steps += 1;
        let offset = SignedDuration::from_hours(STEP_HOURS * i64::try_from(self.steps).unwrap());
        fs::write(self.agent.path("offset"), format!("+{}", offset.as_secs())).unwrap();
        let now = Timestamp::now() + offset;
        let is_recent = |health: &Value, kind: &str, hours: i64| {
            let time = check(health, kind)["lastProbeTime"].as_str().unwrap();
            now.duration_since(time.parse().unwrap()) < SignedDuration::from_hours(hours)
        };
        let all_are_recent = |health: &Value| {
            [("examine", 1), ("write", 1), ("ssh", 24)]
                .iter()
                .all(|(kind, hours)| is_recent(health, kind, *hours))
        };
        self.agent.until_health(&self.store, "checked", all_are_recent).await
    }

    /// Runs a command of the program and returns its output as JSON.
    fn read(&self, args: &[&str], status: i32) -> Value {
        let output = self.agent.cli(args, "");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_grows_each_day_is_filling_up_until_it_is_cleaned_up() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=100m");
    let grow = |file: usize, mib: usize| {
        fs::write(disk.path().join(format!("image-{file}")), vec![1; mib << 20]).unwrap();
    };
    grow(0, 24);
    let mut daemon = SteppedDaemon::start(&disk).await;

    // At 8 % a day from 24 %, the store passes 60 % on the fifth day, with less than 7 days to go.
    let mut found = None;
    for step in 1..=6 * STEPS_A_DAY {
        grow(step, STEP_MIB);
        let health = daemon.step().await;
        assert_eq!(health["inventory"]["status"], "Connected", "{health:#}");
        if let Some(condition) = condition(&health, "filling_up") {
            found = Some((step, condition.clone()));
            break;
        }
    }
    let (step, found) = found.expect("never filling_up");
    assert!((36..=6 * STEPS_A_DAY).contains(&step), "after {step} steps: {found:#}");
    let remedy = found["remedy"].as_str().unwrap();
    assert!(!remedy.is_empty(), "{found:#}");

    // Every view says so, and no status has changed.
    let store = daemon.store.clone();
    let diagnosis = daemon.read(&["doctor", &store, "--json"], 0);
    let space = diagnosis["checks"].as_array().unwrap().iter().find(|check| check["id"] == "space");
    let space = space.unwrap();
    assert_eq!((&space["verdict"], &space["reason"]), (&"warning".into(), &"filling_up".into()));
    let capacity = daemon.read(&["capacity", &store, "--json"], 0);
    let full = &capacity["forecast"]["bytes"]["full"];
    assert!(full.to_string().contains("days"), "{capacity:#}");

    // A clean-up ends it.
    for file in 0..step {
        fs::remove_file(disk.path().join(format!("image-{file}"))).unwrap();
    }
    let health = daemon.step().await;
    assert!(condition(&health, "filling_up").is_none(), "{health:#}");
}
