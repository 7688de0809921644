//! The metrics of the real daemon: what it counts, and that a removed store leaves no series.

use std::collections::BTreeSet;

use hyper::Method;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN, callback};
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::http_server::{HttpRequest, exchange};
use crate::support::management_node::ManagementNode;
use crate::support::many_stores::{RARE_PROBES, fill_ledger};
use crate::support::requirements::needs_root;
use crate::support::scrape::Scrape;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

const CALM: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";

async fn scrape_with(agent: &Agent, headers: &str) -> Scrape {
    let request =
        HttpRequest { token: Some(TOKEN), headers, ..HttpRequest::new("GET /metrics", "") };
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    let response = exchange(stream, &request.bytes()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    Scrape::parse(response.body.as_str().unwrap())
}

async fn scrape(agent: &Agent) -> Scrape {
    scrape_with(agent, "").await
}

/// Scrapes until a sample has a value.
async fn until_value(agent: &Agent, name: &str, labels: &[(&str, &str)], expected: f64) {
    let what = format!("{name} {labels:?} = {expected}");
    until(&what, async || scrape(agent).await.find(name, labels) == Some(expected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_are_those_of_the_attempts_the_checks_and_the_deliveries() {
    needs_root!();
    let node = ManagementNode::answering([]).await;
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), &format!("{CALM}{}", callback(&node.url())));
    agent.start();
    // Until the outbox was read, a notice counts as pending.
    until_value(&agent, "imagestore_notices_pending", &[], 0.0).await;
    let before = scrape(&agent).await;
    // Every label is there from the start, so that the first event is a growth.
    for name in
        ["imagestore_attempts_total", "imagestore_transitions_total", "imagestore_deliveries_total"]
    {
        let samples = before.all(name, &[]);
        assert!(samples.len() >= 5 && samples.iter().all(|sample| sample.value == 0.0), "{name}");
    }
    assert_eq!(before.find("imagestore_notice_oldest_timestamp_seconds", &[]), None);

    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    agent.reconnect(&uuid).await;
    let store = ("store", uuid.as_str());
    until_value(&agent, "imagestore_notices_pending", &[], 0.0).await;
    let after = scrape(&agent).await;
    assert_eq!(after.value("imagestore_store_status", &[store, ("status", "connected")]), 1.0);
    // The add is an attempt too.
    let by_user = [("cause", "person"), ("outcome", "connected")];
    assert_eq!(after.value("imagestore_attempts_total", &by_user), 2.0);
    let connected = [("to", "connected"), ("reason", "")];
    assert_eq!(after.value("imagestore_transitions_total", &connected), 2.0);
    for phase in ["resolve", "connect", "handshake", "auth", "proof"] {
        let count = "imagestore_login_phase_duration_seconds_count";
        assert!(after.value(count, &[("phase", phase)]) >= 2.0, "{phase}");
    }
    for check in ["examine", "write"] {
        let count = "imagestore_probe_duration_seconds_count";
        assert!(after.value(count, &[("check", check)]) >= 2.0, "{check}");
    }
    let delivered = [("outcome", "delivered")];
    assert!(after.value("imagestore_deliveries_total", &delivered) >= 3.0);
    assert!(after.value("imagestore_delivery_duration_seconds_count", &[]) >= 3.0);
    assert!(after.value("imagestore_ledger_commit_duration_seconds_count", &[]) >= 3.0);
    assert!(after.value("imagestore_store_capacity_bytes", &[store]) > 4_000_000.0);
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
        "process_start_time_seconds",
        "imagestore_settings_reload_timestamp_seconds",
    ] {
        assert!(after.value(name, &[]) > 0.0, "{name}");
    }

    // The exemplar is an attempt that `show` knows.
    let open = scrape_with(&agent, "Accept: application/openmetrics-text\r\n").await;
    let buckets = open.all("imagestore_login_phase_duration_seconds_bucket", &[("phase", "auth")]);
    let exemplars: BTreeSet<&str> =
        buckets.iter().filter_map(|bucket| bucket.exemplar.split('}').next()).collect();
    let reply = agent
        .http()
        .send_request(Method::GET, &format!("/imagestore/stores/{uuid}/health"), None)
        .await
        .unwrap();
    let attempt = reply.body["lastAttempt"]["attempt"].as_u64().unwrap();
    let expected = format!("{{store=\"{uuid}\",attempt=\"{attempt}\"");
    assert!(exemplars.contains(expected.as_str()), "{expected}: {exemplars:?}");

    // A store that fails has its reason, and loses it with its repair.
    std::fs::remove_dir_all(disk.path().join(".imagestore-agent")).unwrap();
    agent.reconnect(&uuid).await;
    let failed = scrape(&agent).await;
    let missing = [("reason", "marker_missing")];
    assert_eq!(failed.value("imagestore_store_fault", &[store, missing[0]]), 1.0);
    let disconnected = [("to", "disconnected"), missing[0]];
    assert_eq!(failed.value("imagestore_transitions_total", &disconnected), 1.0);
    let by_user = [("cause", "person"), ("outcome", "failed")];
    assert_eq!(failed.value("imagestore_attempts_total", &by_user), 1.0);
    assert!(failed.value("imagestore_store_available_bytes", &[store]) > 0.0, "the last good one");

    let path = format!("/zstack/v1/backup-storage/{uuid}");
    let removed = agent.http().send_request(Method::DELETE, &path, None).await.unwrap();
    assert_eq!(removed.status, 200);
    let removed = scrape(&agent).await;
    let left = removed.0.iter().filter(|sample| sample.labels.contains_key("store"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&_>::new());
    assert_eq!(removed.value("imagestore_transitions_total", &disconnected), 1.0, "it happened");

    agent.terminate();
    agent.start();
    let restarted = scrape(&agent).await;
    assert_eq!(restarted.value("imagestore_transitions_total", &disconnected), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_stores_that_were_removed_leave_no_series() {
    let root = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(root.path(), RARE_PROBES);
    fill_ledger(&agent, 1..=1000).await;
    agent.start();
    let full = scrape(&agent).await;
    let infos = full.all("imagestore_store_info", &[]);
    assert_eq!(infos.len(), 1000);
    let http = agent.http();
    for info in infos {
        let path = format!("/zstack/v1/backup-storage/{}", info.labels["store"]);
        let removed = http.send_request(Method::DELETE, &path, None).await.unwrap();
        assert_eq!(removed.status, 200, "{}", removed.body);
    }
    let empty = scrape(&agent).await;
    let left = empty.0.iter().filter(|sample| sample.labels.contains_key("store"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&_>::new());
    // The rest does not grow with the stores that were: the labels are bounded.
    assert!(empty.0.len() < 500, "{}", empty.0.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_a_removed_store_left_counts_while_it_hangs() {
    needs_root!();
    let (hanging, sshd, user) = (Fuse::mounted(), Builder::new().start(), User::create());
    let mut agent = Agent::installed(
        &hanging.path(),
        "[monitor]\ninterval = \"1s\"\nprobe_deadline = \"1s\"\nauto_reconnect = false\n",
    );
    agent.start();
    let uuid = agent.add(&hanging.path(), &sshd, &user).await;
    assert_eq!(scrape(&agent).await.value("imagestore_stuck_workers", &[]), 0.0);
    hanging.set(Op::Statfs, Behaviour::Hang);
    until_value(&agent, "imagestore_stuck_workers", &[], 1.0).await;
    let path = format!("/zstack/v1/backup-storage/{uuid}");
    let removed = agent.http().send_request(Method::DELETE, &path, None).await.unwrap();
    assert_eq!(removed.status, 200);
    let after = scrape(&agent).await;
    assert_eq!(after.all("imagestore_store_status", &[]).len(), 0);
    assert_eq!(after.value("imagestore_stuck_workers", &[]), 1.0);
    hanging.release();
    until_value(&agent, "imagestore_stuck_workers", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_the_settings_is_that_of_the_last_valid_reload() {
    let root = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(root.path(), CALM);
    agent.start();
    let time = async |agent: &Agent| {
        scrape(agent).await.value("imagestore_settings_reload_timestamp_seconds", &[])
    };
    let started = time(&agent).await;
    let valid = agent.settings();
    agent.configure(&format!("{valid}\nunknown = 1\n"));
    agent.signal(Signal::SIGHUP);
    agent.until_logged("reload failed; nothing changed");
    assert_eq!(time(&agent).await, started);
    agent.configure(&valid);
    agent.signal(Signal::SIGHUP);
    until("a later time", async || time(&agent).await > started).await;
}
