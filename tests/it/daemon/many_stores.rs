//! A daemon with many stores: no request about all of them delays others, and its heartbeat has
//! all of them.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::agent::{Agent, callback};
use crate::support::fixtures::uuid;
use crate::support::management_node::ManagementNode;
use crate::support::many_stores::{RARE_PROBES, fill_ledger};

const SUMMARY: &str = "/imagestore/stores";
const LIST: &str = "/zstack/v1/backup-storage/image-store";

/// Starts a daemon with this many stores on one filesystem.
async fn start_with_stores(count: u128, more: &str) -> (tempfile::TempDir, Agent) {
    let root = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(root.path(), &format!("{RARE_PROBES}{more}"));
    fill_ledger(&agent, 1..=count).await;
    agent.start();
    (root, agent)
}

async fn get(agent: &Agent, path: &str) -> Value {
    let reply = agent.http().send_request(Method::GET, path, None).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_all_stores_delay_no_liveness_check() {
    let (_root, agent) = start_with_stores(2000, "").await;
    let mut readers = JoinSet::new();
    for path in [SUMMARY, LIST].iter().cycle().take(8) {
        let http = agent.http();
        readers.spawn(async move {
            loop {
                let reply = http.send_request(Method::GET, path, None).await.unwrap();
                assert_eq!(reply.status, 200);
            }
        });
    }
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(get(&agent, "/healthz").await, json!({"alive": true}));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "/healthz took {took:?}");
        // A reader that ended has failed.
        assert!(readers.try_join_next().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_has_all_stores_of_a_filesystem() {
    const STORES: u128 = 300;
    let mut node = ManagementNode::answering([]).await;
    let more = format!("{}heartbeat = \"1s\"\n", callback(&node.url()));
    let (_root, mut agent) = start_with_stores(STORES, &more).await;
    let beat = node.next_heartbeat().await;
    let stores = beat.json["data"]["stores"].as_array().unwrap();
    let uuids: Vec<&str> =
        stores.iter().map(|s| s["backupStorageUuid"].as_str().unwrap()).collect();
    let expected: Vec<String> = (1..=STORES).map(|n| uuid(n).to_string()).collect();
    assert_eq!(uuids, expected);
    for store in stores {
        let conditions = store["conditions"].as_array().unwrap();
        assert!(conditions.contains(&json!("shared_filesystem")), "{store}");
    }
    assert_eq!(beat.json["data"]["version"], env!("CARGO_PKG_VERSION"));
    agent.terminate();
}
