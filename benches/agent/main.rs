//! `make bench` compares each figure with a peer or a physical limit. Both run in the same run and
//! interleaved, because machines are noisy. Needs root and a real sshd.

#![allow(
    missing_docs,
    dead_code,
    unused_imports,
    unused_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking"
)]

#[path = "../../tests/it/support/mod.rs"]
mod support;

mod delivery;
mod figures;
mod forecasts;
mod growth;
mod jobs;
mod login;
mod memory;
mod peers;
mod probes;
mod queries;
mod requests;
mod scrapes;

use std::time::Instant;

use support::agent::{Agent, PROGRAM};
use support::filesystems::MountedFs;
use support::sshd::{Builder, HostKeyFile, User};

fn main() {
    if std::env::args().any(|arg| arg == requests::PEER) {
        return requests::be_the_peer();
    }
    // Cargo passes `--bench`; any other argument is a part of a figure's name.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wants = |name: &str| filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
    if wants("forecast") {
        forecasts::growth_beside_a_sort();
    }
    assert!(nix::unistd::geteuid().is_root(), "the benchmarks mount filesystems: run them as root");
    println!("program: {PROGRAM}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // The SSH server of a store runs on the node of the daemon and has the node's host key.
        let sshd = Builder::new().host_key(&HostKeyFile::of_this_node()).line("MaxStartups 1000");
        let (disk, sshd, user) = (MountedFs::of("ext4"), sshd.start(), User::create());
        // The monitor's own probes would disturb the measurement.
        let calm = "[monitor]\ninterval = \"1h\"\n";
        let mut agent = Agent::installed(&disk.path(), calm);
        let more = "[server]\nagent_allow = [\"127.0.0.0/8\"]\n";
        agent.configure(&agent.settings().replacen("[server]\n", more, 1));
        agent.start();
        let store = agent.add(&disk.path(), &sshd, &user).await;
        if wants("login") {
            login::reconnect_beside_a_bare_login(&agent, &store, &sshd, &user).await;
        }
        if wants("peers") {
            peers::login_beside_others().await;
        }
        if wants("overlapping") {
            login::overlapping_beside_one(&agent, &store).await;
        }
        if wants("jobs") {
            jobs::reconnect_by_a_job_beside_one_without(&agent, &store).await;
            jobs::memory_of_kept_jobs(&agent).await;
        }
        if wants("requests") {
            requests::inventory_beside_a_constant(&agent, &store).await;
        }
        if wants("agent-calls") {
            requests::agent_calls_beside_a_constant(&agent, &store).await;
        }
        if wants("ready") {
            time_to_ready(&mut agent);
        }
        if wants("memory") {
            memory::idle_and_after_connections(&sshd, &user).await;
        }
        if wants("probe") {
            probes::probe_beside_df().await;
        }
        if wants("event") {
            delivery::one_event().await;
        }
        if wants("drain") {
            delivery::drain().await;
        }
        if wants("million") {
            delivery::million(&sshd, &user).await;
        }
        if wants("growth") {
            growth::by_the_number_of_stores(&sshd, &user).await;
        }
        if wants("query") {
            queries::query_beside_others().await;
        }
        if wants("scrape") {
            scrapes::scrape_beside_node_exporter().await;
        }
        if wants("watching") {
            probes::watching_by_the_number_of_stores(&sshd, &user).await;
        }
    });
}

/// Measures from the spawn of the process to the log line "serving".
fn time_to_ready(agent: &mut Agent) {
    let mut times = Vec::new();
    for _ in 0..21 {
        agent.terminate();
        let begun = Instant::now();
        agent.start();
        times.push(begun.elapsed());
    }
    let (low, median, high) = figures::spread(times);
    println!("time to ready, existing ledger: {median:?} ({low:?} to {high:?}); goal 20 ms");
}
