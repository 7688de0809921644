//! ZStack's management node calls the daemon as it calls its own agents.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::agent::Agent;
use crate::support::filesystems::Mounted;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::http_server::{Answer as Told, Asked, exchange};
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// A daemon that knows the management node's other agent by its name, too.
fn installed(dir: &Path, more: &str) -> Agent {
    let agent = Agent::installed(dir, &format!("[monitor]\ninterval = \"1h\"\n{more}"));
    let more = "[server]\nagent_prefixes = [\"/imagestore\", \"/sftpbackupstorage\"]\n\
                agent_allow = [\"127.0.0.0/8\"]\n";
    agent.configure(&agent.settings().replacen("[server]\n", more, 1));
    agent
}

async fn call(agent: &Agent, path: &str, headers: &str, body: &Value) -> Told {
    let (line, body) = (format!("POST {path}"), body.to_string());
    let asked = Asked { token: None, headers, ..Asked::new(&line, &body) };
    exchange(TcpStream::connect(agent.address()).await.unwrap(), &asked.bytes()).await
}

/// What a ping is answered, where it is waited for.
async fn pinged(agent: &Agent, node: &mut ManagementNode, uuid: &str) -> Value {
    let task = "0a1b2c3d4e5f40718293a4b5c6d7e8f9";
    let headers = format!("taskuuid: {task}\r\ncallbackurl: {}\r\n", node.url());
    let told = call(agent, "/sftpbackupstorage/ping", &headers, &json!({"uuid": uuid})).await;
    assert_eq!((told.status, told.body), (200, Value::Null));
    let reply = node.next().await;
    assert_eq!(reply.header("taskuuid"), task);
    reply.json
}

#[tokio::test]
async fn a_store_is_connected_pinged_lost_and_connected_by_the_management_node() {
    needs_root!();
    let (disk, sshd, user) = (Mounted::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = installed(&disk.path(), "");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;

    let command = json!({
        "uuid": uuid, "storagePath": disk.path(),
        "sendCommandUrl": "http://127.0.0.1:8080/zstack/asyncrest/sendcommand",
    });
    let shown = agent.shown(&uuid).await;
    for _ in 0..5 {
        let told = call(&agent, "/sftpbackupstorage/connect/", "", &command).await;
        assert_eq!((told.status, &told.body["success"]), (200, &json!(true)));
        assert_eq!(told.body["totalCapacity"], shown["totalCapacity"]);
    }
    assert_eq!(pinged(&agent, &mut node, &uuid).await, json!({"success": true, "uuid": uuid}));

    user.set_password("another");
    let told = call(&agent, "/imagestore/connect", "", &command).await;
    assert_eq!((told.status, &told.body["success"]), (200, &json!(false)));
    let error = told.body["error"].as_str().unwrap();
    assert!(error.starts_with("credentials_refused: ") && error.contains("Remedy: "), "{error}");
    let reply = pinged(&agent, &mut node, &uuid).await;
    assert_eq!((&reply["success"], &reply["uuid"]), (&json!(false), &json!(uuid)));
    assert_eq!(reply["error"], told.body["error"]);
    assert_eq!(agent.shown(&uuid).await["status"], "Disconnected");

    user.set_password(&user.password);
    let told = call(&agent, "/imagestore/connect", "", &command).await;
    assert_eq!(told.body["success"], true, "{}", told.body);

    assert_eq!(agent.ask(Method::DELETE, &format!("/{uuid}"), None).await.status, 200);
    let reply = pinged(&agent, &mut node, &uuid).await;
    assert_eq!((&reply["success"], &reply["uuid"]), (&json!(false), &Value::Null));
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
    assert_eq!(pinged(&agent, &mut node, &uuid).await, json!({"success": true}));
    // The management node's own agents forget their uuid with their process; it connects them then.
    fuse.release();
    let told = call(&agent, "/imagestore/connect", "", &json!({"uuid": uuid})).await;
    assert_eq!(told.body["success"], true, "{}", told.body);
    assert_eq!(pinged(&agent, &mut node, &uuid).await, json!({"success": true, "uuid": uuid}));
}
