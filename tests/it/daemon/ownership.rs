//! Ownership of a directory: two nodes that see one disk, and a disk that holds another store.

use std::fs;
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::{Agent, callback, store};
use crate::support::failures::{error_of_event, expect_failure, tree};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{ManagementNode, Received};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

/// No probe of the monitor notices the change before a reconnect does.
const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";
const MARKER: &str = ".imagestore-agent/identity.json";

fn marker(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join(MARKER)).unwrap()).unwrap()
}

fn node_id(agent: &Agent) -> String {
    fs::read_to_string(agent.path("state/node-id")).unwrap().trim_end().to_owned()
}

fn made(dir: PathBuf) -> PathBuf {
    fs::create_dir(&dir).unwrap();
    dir
}

async fn next_drop(node: &mut ManagementNode) -> Received {
    loop {
        let next = node.next().await;
        if next.json["data"]["newStatus"] == "Disconnected" {
            return next;
        }
    }
}

/// Runs `add` as an operator types it, over the socket.
fn typed_add(agent: &Agent, dir: &Path, sshd: &Sshd, user: &User, more: &[&str]) -> (bool, Value) {
    let (dir, port) = (dir.display().to_string(), sshd.address.port().to_string());
    let mut args = vec!["add", "--json", "--name", "images", "--path", &dir];
    args.extend(["--hostname", "127.0.0.1", "--port", &port]);
    args.extend(["--username", &user.name, "--password-stdin"]);
    args.extend(more);
    let output = agent.cli(&args, &user.password);
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_node_is_taken_over_only_on_demand_and_its_node_reports_it() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let (over_http, typed) = (made(disk.path().join("http")), made(disk.path().join("typed")));
    let mut node = ManagementNode::answering([]).await;
    let mut former =
        Agent::installed(&disk.path(), &format!("{HOURLY_PROBES}{}", callback(&node.url())));
    let mut new = Agent::installed(&disk.path(), HOURLY_PROBES);
    former.start();
    new.start();
    let of_http = former.add(&over_http, &sshd, &user).await;
    let of_typed = former.add(&typed, &sshd, &user).await;
    let (former_id, new_id) = (node_id(&former), node_id(&new));

    // Without the flag the directory stays with its node.
    let mut body = store(&over_http, &sshd, &user);
    let before = tree(&disk.path());
    let facts = |uuid: &str| json!({"storeUuid": uuid, "nodeId": former_id, "check": "identity"});
    let refused = new.ask(Method::POST, "/image-store", Some(body.clone())).await;
    expect_failure(&refused, &["taken_over"], &facts(&of_http));
    let (went_well, output) = typed_add(&new, &typed, &sshd, &user, &[]);
    assert!(!went_well);
    let root = &output["error"]["cause"]["cause"]["opaque"];
    assert_eq!((&root["reason"], &root["storeUuid"]), (&json!("taken_over"), &json!(of_typed)));
    assert_eq!(tree(&disk.path()), before, "a refusal changes no marker");
    assert_eq!(former.reconnect(&of_http).await.status, 200, "it is still served");

    // With the flag it moves; the marker keeps its id, because the directory is the same.
    let identity = marker(&over_http)["id"].clone();
    body["params"]["takeOver"] = json!(true);
    let added_by_http = new.ask(Method::POST, "/image-store", Some(body)).await;
    assert_eq!(added_by_http.status, 200, "{}", added_by_http.body);
    let (went_well, added) = typed_add(&new, &typed, &sshd, &user, &["--take-over"]);
    assert!(went_well, "{added}");
    let now = marker(&over_http);
    assert_eq!((&now["id"], &now["nodeId"]), (&identity, &json!(new_id)));
    assert_eq!(now["storeUuid"], added_by_http.body["inventory"]["uuid"]);
    assert_eq!(marker(&typed)["storeUuid"], added["inventory"]["uuid"]);

    // The former node detects and reports the change and leaves the marker alone.
    for (uuid, dir) in [(of_http, over_http), (of_typed, typed)] {
        let reply = former.reconnect(&uuid).await;
        let facts = json!({"nodeId": new_id, "path": dir, "storeUuid": marker(&dir)["storeUuid"]});
        expect_failure(&reply, &["taken_over"], &facts);
        let event = next_drop(&mut node).await;
        assert_eq!(event.store(), uuid);
        assert_eq!(event.json["data"]["reason"], error_of_event(&reply));
        assert_eq!(marker(&dir)["nodeId"], new_id.as_str());
        let new_store = marker(&dir)["storeUuid"].as_str().unwrap().to_owned();
        assert_eq!(new.reconnect(&new_store).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_the_marker_of_another_store_is_not_served() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let (first, second) = (made(disk.path().join("first")), made(disk.path().join("second")));
    let mut agent = Agent::installed(&disk.path(), HOURLY_PROBES);
    agent.start();
    let one = agent.add(&first, &sshd, &user).await;
    let two = agent.add(&second, &sshd, &user).await;
    let expected = marker(&second);
    let its_own = fs::read(second.join(MARKER)).unwrap();
    // As when the disks of two stores are mounted the wrong way round.
    fs::copy(first.join(MARKER), second.join(MARKER)).unwrap();
    let before = tree(&disk.path());
    let facts = json!({
        "storeUuid": one, "marker": marker(&first)["id"], "expectedMarker": expected["id"],
        "path": second, "mountPoint": disk.path(),
    });
    expect_failure(&agent.reconnect(&two).await, &["wrong_store"], &facts);
    assert_eq!(tree(&disk.path()), before);
    assert_eq!(agent.reconnect(&one).await.status, 200, "the other store is affected");
    // No flag lets an add take it as a third store.
    let gone = agent.ask(Method::DELETE, &format!("/{two}"), None).await;
    assert_eq!(gone.status, 200);
    for take_over in [false, true] {
        let mut body = store(&second, &sshd, &user);
        body["params"]["takeOver"] = json!(take_over);
        let reply = agent.ask(Method::POST, "/image-store", Some(body)).await;
        expect_failure(&reply, &["wrong_store"], &json!({"storeUuid": one}));
    }
    // With its own marker the directory is that of the removed store, and the add adopts it.
    fs::write(second.join(MARKER), its_own).unwrap();
    agent.add(&second, &sshd, &user).await;
    assert_eq!(marker(&second)["id"], expected["id"]);
}
