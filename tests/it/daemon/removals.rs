//! A store that is removed while other callers request it.

use hyper::Method;
use tokio::task::JoinSet;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_asks_for_a_store_during_its_removal_gets_unknown_store() {
    needs_root!();
    const ROUNDS: usize = 12;
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "");
    agent.start();
    for _ in 0..ROUNDS {
        let store = agent.add(&disk.path(), &sshd, &user).await;
        let path = format!("/zstack/v1/backup-storage/{store}");
        let store_path = format!("/zstack/v1/backup-storage/image-store/{store}");
        let actions = format!("{store_path}/actions");
        let mut reconnects = JoinSet::new();
        let mut removals = JoinSet::new();
        for _ in 0..8 {
            let (http, actions) = (agent.http(), actions.clone());
            reconnects.spawn(async move {
                let body = serde_json::json!({"params": {}});
                http.send_request(Method::PUT, &actions, Some(&body)).await.unwrap().status.as_u16()
            });
            let (http, path, store_path) = (agent.http(), path.clone(), store_path.clone());
            removals.spawn(async move {
                let removed = http.send_request(Method::DELETE, &path, None).await.unwrap();
                // A caller whose removal was answered does not see the store any more.
                let response = http.send_request(Method::GET, &store_path, None).await.unwrap();
                (removed.status.as_u16(), response.body["inventories"].as_array().unwrap().len())
            });
        }
        for status in reconnects.join_all().await {
            assert!([200, 404].contains(&status), "{status}");
        }
        for reply in removals.join_all().await {
            assert_eq!(reply, (200, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_store_is_removed_during_its_attempt_gets_unknown_store() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "");
    agent.start();
    let store = agent.add(&disk.path(), &sshd, &user).await;
    sshd.freeze();
    let (http, actions) =
        (agent.http(), format!("/zstack/v1/backup-storage/image-store/{store}/actions"));
    let mut reconnect = JoinSet::new();
    reconnect.spawn(async move {
        let body = serde_json::json!({"params": {}});
        http.send_request(Method::PUT, &actions, Some(&body)).await.unwrap()
    });
    agent.until_status(&store, "Connecting").await;
    let removed = agent.ask(Method::DELETE, &format!("/{store}"), None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    let reply = reconnect.join_next().await.unwrap().unwrap();
    sshd.thaw();
    assert_eq!(reply.status, 404, "{}", reply.body);
    assert_eq!(reply.body["error"]["code"], "SYS.1003", "{}", reply.body);
    assert!(!reply.body.to_string().contains("agent_stopping"), "{}", reply.body);
}
