//! SIGKILL at random moments of a daemon that runs jobs. No job is lost, and none runs twice.

use std::sync::Arc;
use std::time::Duration;

use imagestore_agent::model::StoreUuid;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::jobs::{call, result};
use crate::support::agent::{Agent, TEST_TIMEOUT, TOKEN};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, read_head};
use crate::support::ledger_snapshot::{count_rows, open_read_only};
use crate::support::requirements::needs_root;
use crate::support::seeded_rng::SeededRng;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

/// Longest run of the daemon: a few attempts.
const RUN: Duration = Duration::from_millis(200);
/// Number of jobs of one run of the daemon.
const JOBS_PER_RUN: u128 = 20;

/// Returns the number of jobs; the variable sets a larger one.
fn jobs() -> u128 {
    let set = std::env::var("RANDOM_JOBS").ok();
    set.map_or(100, |set| set.parse().expect("RANDOM_JOBS is no number"))
}

fn body(job: u128) -> String {
    json!({"reconnectImageStoreBackupStorage": {"userTags": [format!("job::{job}.")]}}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_and_none_runs_twice_whenever_the_daemon_dies() {
    needs_root!();
    let mut chance = SeededRng::from_env("RANDOM_JOBS_SEED");
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let settings = "[monitor]\ninterval = \"1h\"\n[api]\nanswer_within = \"1s\"\n";
    let mut agent = Agent::installed(&disk.path(), settings);
    agent.start();
    let store = agent.add(&disk.path(), &sshd, &user).await;
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{store}/actions");
    let id = |job: u128| StoreUuid::from_u128(job).to_string();
    let first_answer = Arc::new(Notify::new());
    let (mut kills, mut answered, mut interrupted) = (0, 0, 0);
    for first in (0..jobs()).step_by(usize::try_from(JOBS_PER_RUN).unwrap()) {
        let mut calls = JoinSet::new();
        for job in first..first + JOBS_PER_RUN {
            let (address, line, delay) = (agent.address(), line.clone(), chance.below(RUN));
            let first_answer = Arc::clone(&first_answer);
            calls.spawn(async move {
                sleep(delay).await;
                let headers = format!("X-Job-UUID: {}\r\n", id(job));
                let text = body(job);
                let request = HttpRequest {
                    token: Some(TOKEN),
                    headers: &headers,
                    ..HttpRequest::new(&line, &text)
                };
                let Ok(mut stream) = TcpStream::connect(address).await else { return (job, None) };
                if stream.write_all(&request.bytes()).await.is_err() {
                    return (job, None);
                }
                // The connection ends without an answer if the daemon dies.
                let mut ready = [0];
                match timeout(TEST_TIMEOUT, stream.peek(&mut ready)).await.expect("no answer") {
                    Ok(1..) => {
                        first_answer.notify_one();
                        (job, Some(read_head(&mut stream).await.status))
                    }
                    _ => (job, None),
                }
            });
        }
        match kills {
            // The first two kills show both ends of a job, whatever the chance is.
            0 => timeout(TEST_TIMEOUT, first_answer.notified()).await.expect("no call answered"),
            1 => {
                let running = "SELECT count(*) FROM jobs WHERE ended IS NULL";
                until("a job is running", async || count_rows(&agent, running) > 0).await;
            }
            _ => sleep(chance.below(RUN)).await,
        }
        agent.kill();
        kills += 1;
        agent.start();
        for (job, status) in calls.join_all().await {
            let (id, text) = (id(job), body(job));
            if let Some(status) = status {
                answered += 1;
                assert!([200, 202].contains(&status), "{status}");
                let ended = result(&agent, &id).await;
                assert!([200, 503].contains(&ended.status), "an answered job is lost: {ended:?}");
            }
            // The client sends the same call again.
            let again = call(&agent, &id, &line, &text).await;
            assert!([200, 202].contains(&again.status), "{again:?}");
            let ended = result(&agent, &id).await;
            if ended.status == 503 {
                assert_eq!(ended.error("/cause/opaque/reason"), "interrupted_by_restart");
                interrupted += 1;
            }
        }
    }
    let stored = count_rows(&agent, "SELECT count(*) FROM jobs WHERE ended IS NOT NULL");
    assert_eq!(u128::from(stored), jobs().next_multiple_of(JOBS_PER_RUN));
    let ledger = open_read_only(&agent.path("state/ledger.sqlite"));
    let sql = "SELECT entry FROM history WHERE entry LIKE '%job::%'";
    let mut runs = std::collections::BTreeMap::<String, u32>::new();
    let mut statement = ledger.prepare(sql).unwrap();
    let entries = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    for entry in entries.map(Result::unwrap) {
        for tag in entry.split("job::").skip(1) {
            *runs.entry(tag.split('.').next().unwrap().to_owned()).or_default() += 1;
        }
    }
    let twice: Vec<_> = runs.iter().filter(|(_, runs)| **runs > 1).collect();
    assert!(twice.is_empty(), "these jobs ran twice: {twice:?}");
    println!(
        "{kills} kills: {answered} calls answered before one, {interrupted} jobs interrupted, {} ran",
        runs.len()
    );
    assert!(interrupted > 0 && answered > 0);
}
