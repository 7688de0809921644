//! The receiver in `examples/`: its handling of made-up events, and of those of a daemon.

use std::sync::Arc;

use hyper::{HeaderMap, StatusCode};
use imagestore_agent::management::EventSigner;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../../examples/receiver.rs"]
mod example;

use example::Receiver;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Signs a body now, as the daemon does.
fn signed(body: &str) -> HeaderMap {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let signature =
        EventSigner::parse_secrets(SECRET).unwrap().sign_event("id", now, body.as_bytes());
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", "id".parse().unwrap());
    headers.insert("webhook-timestamp", now.into());
    headers.insert("webhook-signature", signature.parse().unwrap());
    headers
}

fn take(receiver: &Receiver, event: &Value) -> (StatusCode, Value) {
    let body = event.to_string();
    receiver.take(&signed(&body), body.as_bytes())
}

fn changed(kind: &str, epoch: i64, seq: i64) -> Value {
    let status = format!("{epoch}.{seq}");
    let data = json!({"backupStorageUuid": "one", "newStatus": status, "epoch": epoch, "seq": seq});
    json!({"type": format!("backup-storage.status.{kind}"), "data": data})
}

fn state(path: &std::path::Path) -> Option<(String, i64, i64)> {
    let row = Connection::open(path).unwrap().query_row(
        "SELECT status, epoch, seq FROM states",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    );
    row.ok()
}

#[test]
fn what_is_not_signed_with_the_secret_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("states");
    let receiver = Receiver::open(path.to_str().unwrap(), SECRET).unwrap();
    let body = changed("changed", 1, 1).to_string();
    let other = signed("something else");
    for headers in [HeaderMap::new(), other] {
        assert_eq!(receiver.take(&headers, body.as_bytes()).0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(state(&path), None);
    assert_eq!(take(&receiver, &changed("changed", 1, 1)).0, StatusCode::OK);
    assert_eq!(state(&path), Some(("1.1".to_owned(), 1, 1)));
}

#[test]
fn a_heartbeat_is_answered_with_what_was_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("states");
    let receiver = Receiver::open(path.to_str().unwrap(), SECRET).unwrap();
    take(&receiver, &changed("changed", 2, 5));
    let beat = |epoch: i64, seq: i64| {
        let stores = json!([{"backupStorageUuid": "one", "epoch": epoch, "seq": seq}]);
        let beat = json!({"type": "backup-storage.heartbeat", "data": {"stores": stores}});
        take(&receiver, &beat).1["resync"].clone()
    };
    for (is_stored, position) in [(true, (2, 5)), (true, (1, 9)), (false, (2, 6)), (false, (3, 1))]
    {
        let resync = if is_stored { json!([]) } else { json!(["one"]) };
        assert_eq!(beat(position.0, position.1), resync, "{position:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_newest_state_stays_whatever_comes_twice_late_or_out_of_order(
        places in proptest::collection::vec((1_i64..4, 1_i64..6), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("states");
        let receiver = Receiver::open(path.to_str().unwrap(), SECRET).unwrap();
        for (epoch, seq) in &places {
            take(&receiver, &changed("changed", *epoch, *seq));
        }
        let (epoch, seq) = places.into_iter().max().unwrap();
        let newest = (format!("{epoch}.{seq}"), epoch, seq);
        prop_assert_eq!(state(&path), Some(newest));
    }
}

/// Runs the receiver on this listener until the result is dropped.
async fn serving(path: &std::path::Path, port: u16) -> (u16, JoinSet<()>) {
    let receiver = Arc::new(Receiver::open(path.to_str().unwrap(), SECRET).unwrap());
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(async move { receiver.serve(listener).await.unwrap() });
    (port, serving)
}

#[tokio::test]
async fn it_ends_on_the_daemons_state_also_when_it_has_lost_its_own() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let dir = tempfile::tempdir().unwrap();
    let (path, secrets) = (dir.path().join("states"), dir.path().join("secrets"));
    std::fs::write(&secrets, SECRET).unwrap();
    std::fs::set_permissions(&secrets, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let (port, mut running) = serving(&path, 0).await;
    let url = format!("http://127.0.0.1:{port}/events");
    let more = "heartbeat = \"1s\"\nsigning_secret_file = ";
    let mut agent =
        Agent::installed(&disk.path(), &format!("{}{more}{secrets:?}\n", callback(&url)));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    // The add is one transition, the reconnect two.
    let is_current = |_: &Value| state(&path).is_some_and(|(_, _, seq)| seq == 3);
    agent.until_health(&uuid, "told", is_current).await;
    let stored = state(&path).unwrap();
    assert_eq!(stored.0, "Connected");

    // A receiver with an empty database: the next heartbeat shows the missing state.
    running.shutdown().await;
    let fresh = dir.path().join("fresh");
    let (_, _running) = serving(&fresh, port).await;
    agent.until_health(&uuid, "told again", |_| state(&fresh).as_ref() == Some(&stored)).await;
}
