//! A reader of the log that hangs, as a stopped journal or a paused terminal does.

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::agent::Agent;
use crate::support::wait::until;

/// Number of requests, each with an audit line of some 400 bytes. Together they exceed the pipe (64
/// KiB, `pipe(7)`) and the daemon's buffer.
const CALLS: usize = 1200;
const MISSING: &str = "00000000000000000000000000000001";

fn serving() -> (TempDir, Agent) {
    let roots = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(roots.path(), "");
    agent.start();
    (roots, agent)
}

async fn ask_for_more_than_the_log_has_room_for(agent: &Agent) {
    for _ in 0..CALLS {
        assert_eq!(agent.reconnect(MISSING).await.status, 404);
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_delays_nothing_and_counts_the_lost_lines() {
    let (_roots, mut agent) = serving();
    let reader = agent.log_reader();
    {
        let _held = reader.hold().await;
        ask_for_more_than_the_log_has_room_for(&agent).await;
    }
    let line = agent.until_logged("log lines dropped: reader too slow");
    let line: Value = serde_json::from_str(&line).unwrap();
    let lost = usize::try_from(line["lines"].as_u64().unwrap()).unwrap();
    let written = agent.log().matches("\"message\":\"request\"").count();
    assert!((1..CALLS).contains(&lost), "{lost} lost");
    assert_eq!(lost + written, CALLS);
    assert!(agent.terminate().0.success());
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_keep_the_daemon_from_ending() {
    let (_roots, mut agent) = serving();
    let reader = agent.log_reader();
    let lock = reader.hold().await;
    ask_for_more_than_the_log_has_room_for(&agent).await;
    agent.signal(Signal::SIGTERM);
    until("the process ends", async || agent.has_ended()).await;
    drop(lock);
    assert!(agent.ended().success());
}

#[tokio::test]
async fn an_audit_line_comes_whatever_else_is_wanted_of_the_log() {
    let roots = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(roots.path(), "");
    let filter = "RUST_LOG=warn,imagestore_agent::app=info";
    assert!(agent.start_under(&["env", filter]));
    assert_eq!(agent.reconnect(MISSING).await.status, 404);
    let line: Value = serde_json::from_str(&agent.until_logged("\"message\":\"request\"")).unwrap();
    assert_eq!((&line["target"], &line["caller"]), (&"audit".into(), &"test".into()));
    assert_eq!(line["kind"], "token");
    let request = &line["spans"][0];
    assert!(request["id"].is_string() && request["peer"].is_string(), "{line}");
}

#[tokio::test]
async fn the_audit_lines_of_changes_have_room_when_other_lines_have_filled_the_queue() {
    const CHANGES: usize = 40;
    let roots = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(roots.path(), "");
    assert!(agent.start_under(&["env", "RUST_LOG=debug"]));
    let reader = agent.log_reader();
    {
        let _held = reader.hold().await;
        // Each leaves a line of some 300 bytes.
        for _ in 0..3 * CALLS {
            let reply = agent.ask(hyper::Method::GET, "/image-store", None).await;
            assert_eq!(reply.status, 200);
        }
        for _ in 0..CHANGES {
            assert_eq!(agent.reconnect(MISSING).await.status, 404);
        }
    }
    let line = agent.until_logged("log lines dropped: reader too slow");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["changes"], 0);
    assert!(line["lines"].as_u64().unwrap() > 100, "{line}");
    assert_eq!(agent.log().matches("\"message\":\"request\"").count(), CHANGES);
    assert!(agent.terminate().0.success());
}
