//! The steps of the README, from the first add to the last remove.

use std::fs;
use std::io::{BufRead as _, BufReader};

use hyper::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::agent::{Agent, callback, store};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

#[tokio::test]
async fn a_store_is_added_reconnected_shown_removed_and_added_again() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &callback(&node.url()));
    agent.start();

    let dir = disk.path();
    let port = sshd.address.port().to_string();
    let add = [
        "add",
        "--json",
        "--name",
        "images",
        "--path",
        dir.to_str().unwrap(),
        "--hostname",
        "127.0.0.1",
        "--port",
        &port,
        "--username",
        &user.name,
        "--password-stdin",
        "--system-tag",
        "a::b",
    ];
    let added = agent.cli(&add, &format!("{}\n", user.password));
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stdout));
    let added: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    let inventory = &added["inventory"];
    let uuid = inventory["uuid"].as_str().unwrap().to_owned();
    assert_eq!(inventory["status"], "Connected");
    assert_eq!(inventory.as_object().unwrap().len(), 15);
    let raw = nix::sys::statvfs::statvfs(&dir).unwrap();
    assert_eq!(inventory["totalCapacity"], raw.blocks() * raw.fragment_size());
    let first = node.next().await;
    assert_eq!((first.store(), first.seq()), (uuid.as_str(), 1));
    let data = &first.json["data"];
    assert_eq!(
        (&data["oldStatus"], &data["newStatus"]),
        (&json!("Connecting"), &json!("Connected"))
    );
    assert_eq!(data["systemTags"], json!(["a::b"]));

    for body in [json!({"params": {}}), json!({"reconnectImageStoreBackupStorage": {}})] {
        let path = format!("/image-store/{uuid}/actions");
        let reply = agent.ask(Method::PUT, &path, Some(body)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.body["inventory"]["uuid"], uuid.as_str());
    }
    for seq in 2..=5 {
        assert_eq!(node.next().await.seq(), seq);
    }
    let output = agent.cli(&["show", &uuid], "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Connected"));
    assert!(agent.cli(&["healthcheck"], "").status.success());
    assert!(agent.cli(&["reconnect", "--all"], "").status.success());

    assert!(agent.cli(&["remove", &uuid, "--yes"], "").status.success());
    let marker = dir.join(".imagestore-agent/identity.json");
    let identity: serde_json::Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    let gone = agent.ask(Method::DELETE, &format!("/{uuid}"), None).await;
    assert_eq!((gone.status.as_u16(), gone.body), (200, json!({})));
    let listed = agent.ask(Method::GET, "/image-store", None).await;
    assert_eq!(listed.body, json!({"inventories": [], "schema": {}}));
    assert_eq!(agent.reconnect(&uuid).await.status, 404);

    let mut body = store(&dir, &sshd, &user);
    body["params"]["resourceUuid"] = json!(uuid);
    let again = agent.ask(Method::POST, "/image-store", Some(body)).await;
    assert_eq!(again.status, 200, "{}", again.body);
    let now: serde_json::Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    assert_eq!(now["id"], identity["id"], "the marker was adopted");
    // The removal drops the notices that were not delivered; the new positions are above the old
    // ones.
    let epoch = data["epoch"].as_u64().unwrap();
    let renewed = loop {
        let next = node.next().await;
        if next.json["data"]["epoch"].as_u64().unwrap() > epoch {
            break next;
        }
    };
    assert_eq!(renewed.seq(), 1);

    let (status, _) = agent.terminate();
    assert!(status.success());
}

#[tokio::test]
async fn an_add_that_fails_leaves_nothing_and_sends_no_notice() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &callback(&node.url()));
    agent.start();
    let mut body = store(&disk.path(), &sshd, &user);
    body["params"]["password"] = json!("not it");
    let refused = agent.ask(Method::POST, "/image-store", Some(body)).await;
    assert_eq!(refused.status, 503);
    let error = &refused.body["error"];
    assert_eq!((&error["code"], &error["cause"]["code"]), (&json!("SYS.1002"), &json!("BS.1500")));
    let root = &error["cause"]["cause"];
    assert_eq!(root["opaque"]["reason"], "credentials_refused");
    assert!(root["elaboration"].is_string());
    assert!(fs::read_dir(disk.path()).unwrap().next().is_none(), "the folder is gone again");
    let listed = agent.ask(Method::GET, "/image-store", None).await;
    assert_eq!(listed.body, json!({"inventories": [], "schema": {}}));

    // The same directory twice, and a marker of the daemon's own store.
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let body = Some(store(&disk.path(), &sshd, &user));
    let twice = agent.ask(Method::POST, "/image-store", body).await;
    assert_eq!(twice.status, 400);
    assert_eq!(twice.body["error"]["opaque"]["reason"], "duplicate_directory");
    assert_eq!(node.next().await.store(), uuid);
    assert!(node.try_next().is_none());
}

#[test]
fn the_demo_succeeds() {
    let demo = std::process::Command::new(crate::support::agent::PROGRAM)
        .args(["demo", "--once"])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{stdout}{}", String::from_utf8_lossy(&demo.stderr));
    let signed = stdout.lines().filter(|line| line.starts_with("callback ")).inspect(|line| {
        assert!(line.ends_with("signature good"), "{line}");
    });
    assert_eq!(signed.count(), 3, "{stdout}");
    let scratch = stdout.split_whitespace().find(|word| word.contains("imagestore-demo-")).unwrap();
    assert!(!std::path::Path::new(scratch).exists());
}

#[test]
fn the_demo_leaves_nothing_behind_whenever_it_is_interrupted() {
    const SERVING: &str = "serving until Ctrl-C";
    for moment in ["everything runs in", SERVING] {
        let mut demo = std::process::Command::new(crate::support::agent::PROGRAM)
            .arg("demo")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = Vec::new();
        for line in BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap) {
            if line.contains(moment) {
                kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT).unwrap();
            }
            stdout.push(line);
        }
        // A demo that runs to its end is a success.
        let whole = stdout.iter().any(|line| line == SERVING);
        assert_eq!(demo.wait().unwrap().code(), Some(i32::from(!whole)), "{stdout:?}");
        let scratch = stdout[0].split_whitespace().find(|word| word.contains("imagestore-demo-"));
        assert!(!std::path::Path::new(scratch.unwrap()).exists(), "{stdout:?}");
    }
}
