//! SIGKILL at random moments of a daemon that serves several stores, with a management node that
//! stops and restarts as well.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::agent::{Agent, callback};
use crate::support::event_order::EventOrder;
use crate::support::filesystems::MountedFs;
use crate::support::ledger_snapshot::LedgerReader;
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::requirements::needs_root;
use crate::support::seeded_rng::SeededRng;
use crate::support::sshd::{Builder, User};

/// Longest run of the daemon: a few attempts, or not even the start.
const RUN: Duration = Duration::from_millis(200);

/// Returns the number of kills; the variable sets a larger one.
fn kills() -> u32 {
    let set = std::env::var("RANDOM_KILLS").ok();
    set.map_or(50, |set| set.parse().expect("RANDOM_KILLS is no number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transition_is_delivered_once_and_in_order_whichever_process_dies() {
    needs_root!();
    let mut chance = SeededRng::from_env("RANDOM_KILLS_SEED");
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    // One response in eight is an error.
    let mut refused = chance.another();
    let mut node = ManagementNode::scripted(move |_| match refused.one_in(8) {
        true => Answer::Status(500),
        false => Answer::Status(200),
    })
    .await;
    let settings = format!("[monitor]\ninterval = \"1h\"\n{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &settings);
    agent.start();
    let mut stores = Vec::new();
    for name in ["one", "two", "three"] {
        std::fs::create_dir(disk.path().join(name)).unwrap();
        stores.push(agent.add(&disk.path().join(name), &sshd, &user).await);
    }

    let (mut events, mut deaths, mut in_start, mut down) = (EventOrder::default(), 0, 0, false);
    let mut killed = 0;
    // Until each kind of event has happened.
    while killed < kills() || deaths == 0 || events.duplicates == 0 {
        killed += 1;
        let mut calls = JoinSet::new();
        for uuid in &stores {
            let (daemon, path) = (agent.http(), actions(uuid));
            let body = serde_json::json!({"params": {}});
            // Each caller repeats its request until the daemon is gone.
            calls.spawn(async move {
                while daemon.send_request(hyper::Method::PUT, &path, Some(&body)).await.is_ok() {}
            });
        }
        if chance.one_in(3) {
            // The management node is down when the daemon dies, or has just come back.
            sleep(chance.below(RUN / 2)).await;
            match down {
                true => node.restart().await,
                false => node.stop().await,
            }
            down = !down;
            deaths += usize::from(down);
        }
        sleep(chance.below(RUN / 2)).await;
        agent.kill();
        calls.join_all().await;
        if chance.one_in(4) {
            in_start += 1;
            agent.launch(&[]);
            sleep(chance.below(Duration::from_millis(60))).await;
            agent.kill();
        }
        agent.start();
        while let Some(received) = node.try_next() {
            events.record(&received);
        }
    }
    if down {
        node.restart().await;
    }
    let ledger = LedgerReader::of(&agent);
    ledger.until_all_delivered(&stores).await;
    while let Some(received) = node.try_next() {
        events.record(&received);
    }
    let transitions = ledger.assert_matches(&events, &stores);
    println!(
        "{killed} kills and {in_start} in the start, {deaths} deaths of the management node: \
         {transitions} transitions delivered, {} repeated",
        events.duplicates
    );
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
}

fn actions(uuid: &str) -> String {
    format!("/zstack/v1/backup-storage/image-store/{uuid}/actions")
}
