//! Text of others on its way through the daemon: to its log, its responses, its events and the
//! terminal of a command.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::agent::{Agent, TOKEN, callback, store};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::non_ssh_peers::{self, NonSshPeer};
use crate::support::outside_text::{INVISIBLE, READABLE, assert_ascii, assert_safe, hostile_text};
use crate::support::requirements::needs_root;
use crate::support::scripted_ssh_server::{self, ScriptedSshServer};
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, User};

/// Sends one request as `curl` does. Returns the response as it comes over the connection.
fn raw_request(agent: &Agent, head: &str, body: &str) -> Vec<u8> {
    let mut tcp = TcpStream::connect(agent.address()).unwrap();
    let head = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nAuthorization: OAuth {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes()).unwrap();
    tcp.write_all(body.as_bytes()).unwrap();
    let mut response = Vec::new();
    tcp.read_to_end(&mut response).unwrap();
    response
}

#[tokio::test]
async fn no_text_of_others_passes_the_daemon_unescaped() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let refusal: &'static str = Box::leak(hostile_text().replace('\0', "").into_boxed_str());
    let header = ("retry-after", "1".to_owned());
    let mut node = ManagementNode::answering([Answer::Full(418, header, refusal)]).await;
    let mut agent = Agent::installed(&disk.path(), &callback(&node.url()));
    agent.start();

    // Everything that a caller may choose freely.
    let dir = disk.path().join(format!("images{INVISIBLE}{READABLE}"));
    fs::create_dir(&dir).unwrap();
    let mut body = store(&dir, &sshd, &user);
    let name = format!("name{INVISIBLE}{READABLE}");
    body["params"]["name"] = json!(name);
    body["params"]["description"] = json!(hostile_text());
    body["params"]["systemTags"] = json!([hostile_text()]);
    body["params"]["userTags"] = json!([hostile_text()]);
    let added = agent.ask(hyper::Method::POST, "/image-store", Some(body)).await;
    assert_eq!(added.status, 200, "{}", added.body);
    assert_eq!(added.body["inventory"]["description"], hostile_text());
    let uuid = added.body["inventory"]["uuid"].as_str().unwrap().to_owned();

    let event = node.next().await;
    assert_eq!(event.json["data"]["inventory"]["name"], name);
    assert_eq!(event.json["data"]["userTags"], json!([hostile_text()]));
    assert_safe(&event.body);

    // The marker of the store becomes a hostile text, and the attempt reports it.
    fs::write(dir.join(".imagestore-agent/identity.json"), hostile_text()).unwrap();
    let path = format!("/zstack/v1/backup-storage/image-store/{uuid}");
    let put = format!("PUT {path}/actions HTTP/1.1");
    let failed = raw_request(&agent, &put, "{\"params\":{}}");
    assert!(failed.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&failed));
    let others = [
        raw_request(&agent, &format!("GET {path} HTTP/1.1"), ""),
        raw_request(&agent, &format!("GET /imagestore/stores/{uuid}/health HTTP/1.1"), ""),
        raw_request(&agent, "GET /imagestore/stores HTTP/1.1", ""),
        raw_request(&agent, &format!("PUT /nowhere{READABLE}\u{202e}\u{9b}31m HTTP/1.1"), "{}"),
        raw_request(&agent, &format!("GET / HTTP/1.1\r\nX-Request-Id: {INVISIBLE}"), ""),
        raw_request(&agent, &put, &json!({ hostile_text(): hostile_text() }).to_string()),
        raw_request(&agent, &put, &hostile_text()),
    ];
    for response in others.iter().chain([&failed]) {
        assert_safe(response);
    }

    for command in ["list", "show", "reconnect", "update"] {
        let mut args = vec![command];
        args.extend((command != "list").then_some(uuid.as_str()));
        args.extend((command == "update").then_some(["--description", "d"]).into_iter().flatten());
        let output = agent.cli(&args, "");
        assert_safe(&output.stdout);
        assert_safe(&output.stderr);
        args.push("--json");
        let output = agent.cli(&args, "");
        assert_ascii(&output.stdout);
        serde_json::from_slice::<Value>(&output.stdout).unwrap();
    }
    agent.terminate();
    let log = agent.log();
    assert!(log.contains("status changed") || log.contains("request"), "{log}");
    assert_safe(log.as_bytes());
}

// The requests block, while the servers run on the other thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_of_an_ssh_server_passes_the_daemon_unescaped() {
    let roots = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(roots.path(), "allow_root_disk = true\n");
    agent.start();
    let dir = roots.path().join("images");
    fs::create_dir(&dir).unwrap();
    write_secret(roots.path().join("password"), "hunter2\n");
    let hostile: &'static str = Box::leak(format!("{READABLE}{}", hostile_text()).into_boxed_str());
    let rounds: &'static [(&'static str, bool)] = Box::leak(Box::new([(hostile, false)]));
    let asking = scripted_ssh_server::Script::AsksForEver(rounds);
    let (asking, other_service) = (
        ScriptedSshServer::start(asking).await,
        NonSshPeer::start(non_ssh_peers::Script::SaysAndCloses(hostile.as_bytes())).await,
    );
    for (port, reason) in
        [(asking.address.port(), "credentials_refused"), (other_service.address.port(), "not_ssh")]
    {
        let body = json!({"params": {
            "name": "images", "url": dir, "hostname": "127.0.0.1", "sshPort": port,
            "username": "storage", "password": "hunter2",
        }});
        let head = "POST /zstack/v1/backup-storage/image-store HTTP/1.1";
        let response = raw_request(&agent, head, &body.to_string());
        let text = String::from_utf8_lossy(&response);
        assert!(text.contains(reason) && text.contains(READABLE), "{text}");
        assert_safe(&response);
        let (port, dir) = (port.to_string(), dir.to_str().unwrap());
        let password = roots.path().join("password");
        let add = [
            ["add", "--name", "images", "--path", dir, "--hostname", "127.0.0.1"].as_slice(),
            &["--username", "storage", "--password-file", password.to_str().unwrap()],
            &["--port", &port],
        ]
        .concat();
        let output = agent.cli(&add, "");
        assert!(String::from_utf8_lossy(&output.stderr).contains(READABLE), "{output:?}");
        assert_safe(&output.stderr);
        let output = agent.cli(&[&add[..], &["--json"]].concat(), "");
        assert_ascii(&output.stdout);
        assert_eq!(
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["error"]["code"],
            "SYS.1002"
        );
    }
    agent.terminate();
    assert_safe(agent.log().as_bytes());
}
