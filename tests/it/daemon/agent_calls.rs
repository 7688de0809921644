//! ZStack's management node calls the daemon as it calls its own agents.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// Installs a daemon that also answers under the path of the management node's other agent.
fn installed(dir: &Path, more: &str) -> Agent {
    let agent = Agent::installed(dir, &format!("[monitor]\ninterval = \"1h\"\n{more}"));
    let more = "[server]\nagent_prefixes = [\"/imagestore\", \"/sftpbackupstorage\"]\n\
                agent_allow = [\"127.0.0.0/8\"]\n";
    agent.configure(&agent.settings().replacen("[server]\n", more, 1));
    agent
}

async fn call(agent: &Agent, path: &str, headers: &str, body: &Value) -> HttpResponse {
    let (line, body) = (format!("POST {path}"), body.to_string());
    let request = HttpRequest { token: None, headers, ..HttpRequest::new(&line, &body) };
    exchange(TcpStream::connect(agent.address()).await.unwrap(), &request.bytes()).await
}

/// Pings a store and returns the reply that the daemon posts to the callback URL.
async fn ping(agent: &Agent, node: &mut ManagementNode, uuid: &str) -> Value {
    let task = "0a1b2c3d4e5f40718293a4b5c6d7e8f9";
    let headers = format!("taskuuid: {task}\r\ncallbackurl: {}\r\n", node.url());
    let reply = call(agent, "/sftpbackupstorage/ping", &headers, &json!({"uuid": uuid})).await;
    assert_eq!((reply.status, reply.body), (200, Value::Null));
    let received = node.next().await;
    assert_eq!(received.header("taskuuid"), task);
    received.json
}

#[tokio::test]
async fn a_store_is_connected_pinged_lost_and_connected_by_the_management_node() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = installed(&disk.path(), "");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;

    let command = json!({
        "uuid": uuid, "storagePath": disk.path(),
        "sendCommandUrl": "http://127.0.0.1:8080/zstack/asyncrest/sendcommand",
    });
    let inventory = agent.inventory(&uuid).await;
    for _ in 0..5 {
        let reply = call(&agent, "/sftpbackupstorage/connect/", "", &command).await;
        assert_eq!((reply.status, &reply.body["success"]), (200, &json!(true)));
        assert_eq!(reply.body["totalCapacity"], inventory["totalCapacity"]);
    }
    assert_eq!(ping(&agent, &mut node, &uuid).await, json!({"success": true, "uuid": uuid}));

    user.set_password("another");
    let reply = call(&agent, "/imagestore/connect", "", &command).await;
    assert_eq!((reply.status, &reply.body["success"]), (200, &json!(false)));
    let error = reply.body["error"].as_str().unwrap();
    assert!(error.starts_with("credentials_refused: ") && error.contains("Remedy: "), "{error}");
    let pinged = ping(&agent, &mut node, &uuid).await;
    assert_eq!((&pinged["success"], &pinged["uuid"]), (&json!(false), &json!(uuid)));
    assert_eq!(pinged["error"], reply.body["error"]);
    assert_eq!(agent.inventory(&uuid).await["status"], "Disconnected");

    user.set_password(&user.password);
    let reply = call(&agent, "/imagestore/connect", "", &command).await;
    assert_eq!(reply.body["success"], true, "{}", reply.body);

    assert_eq!(agent.ask(Method::DELETE, &format!("/{uuid}"), None).await.status, 200);
    let pinged = ping(&agent, &mut node, &uuid).await;
    assert_eq!((&pinged["success"], &pinged["uuid"]), (&json!(false), &Value::Null));
    let log = agent.log();
    assert!(log.contains("agent_connect"), "no audit line in {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_uuid_is_withheld_until_the_store_has_been_looked_at() {
    needs_root!();
    let (fuse, sshd, user) = (Fuse::mounted(), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = installed(&fuse.path(), "probe_deadline = \"15s\"\n");
    agent.start();
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    agent.terminate();
    fuse.set(Op::Statfs, Behaviour::Hang);
    agent.start();
    fuse.until_hanging(1);
    assert_eq!(ping(&agent, &mut node, &uuid).await, json!({"success": true}));
    // An agent of the management node loses its uuid with its process; the management node then
    // connects it again.
    fuse.release();
    let reply = call(&agent, "/imagestore/connect", "", &json!({"uuid": uuid})).await;
    assert_eq!(reply.body["success"], true, "{}", reply.body);
    assert_eq!(ping(&agent, &mut node, &uuid).await, json!({"success": true, "uuid": uuid}));
}
