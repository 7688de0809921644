//! Adds that fail: each reports its root cause and evidence and leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::{Agent, callback, store};
use crate::support::failures::{expect_failure, tree};
use crate::support::filesystems::MountedFs;
use crate::support::ledger_snapshot::count_rows;
use crate::support::management_node::ManagementNode;
use crate::support::non_ssh_peers::{NonSshPeer, Script};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// No probe of the monitor disturbs. A handshake with a good server takes a twentieth of the limit.
const SETTINGS: &str = "[monitor]\ninterval = \"1h\"\n[ssh]\nhandshake_timeout = \"2s\"\n";

const WEB: Script = Script::AnswersAndCloses(b"HTTP/1.1 400 Bad Request\r\n\r\n");

/// One add that fails: the difference from a good one, the reasons, and facts of the first reason.
struct Case {
    differs: Value,
    reasons: &'static [&'static str],
    facts: Value,
}

fn case(differs: Value, reasons: &'static [&'static str], facts: Value) -> Case {
    Case { differs, reasons, facts }
}

struct Scene {
    disk: MountedFs,
    agent: Agent,
    /// Returns the body of a good add.
    body: Value,
}

impl Scene {
    /// Sends the add and checks that it leaves nothing behind.
    async fn fails(&self, case: &Case) {
        let mut body = self.body.clone();
        for (name, value) in case.differs.as_object().unwrap() {
            body["params"][name] = value.clone();
        }
        let before = tree(&self.disk.path());
        let reply = self.agent.ask(Method::POST, "/image-store", Some(body)).await;
        let facts = expect_failure(&reply, case.reasons, &case.facts);
        if facts["check"] == "ssh" {
            assert!(facts["milliseconds"].is_u64(), "{facts}");
            // The response names a server that the daemon dialled, and no server that it must not
            // dial.
            assert_eq!(facts["address"].is_string(), facts["phase"] != "resolve", "{facts}");
        }
        let error = &reply.body["error"];
        let codes = [&error["code"], &error["cause"]["code"]];
        assert_eq!(codes, ["SYS.1002", "BS.1500"], "{error:#}");
        assert_eq!(tree(&self.disk.path()), before, "{error:#}");
        let listed = self.agent.ask(Method::GET, "/image-store", None).await;
        assert_eq!(listed.body, json!({"inventories": [], "schema": {}}));
    }

    /// Counts the rows of a table of the ledger, read with SQLite as an operator would.
    fn rows(&self, table: &str) -> u32 {
        count_rows(&self.agent, &format!("SELECT count(*) FROM {table}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_that_cannot_succeed_says_why_and_leaves_nothing() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| disk.path().join(name);
    fs::create_dir(at("images")).unwrap();
    fs::write(at("file"), "x").unwrap();
    symlink(outside.path(), at("link")).unwrap();
    let (missing, file, link) = (at("missing"), at("file"), at("link"));
    let images = at("images");
    let (silent, web) = (NonSshPeer::start(Script::Silent).await, NonSshPeer::start(WEB).await);
    let (silent, web) = (silent.address.port(), web.address.port());

    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &format!("{SETTINGS}{}", callback(&node.url())));
    agent.start();
    let body = store(&at("images"), &sshd, &user);
    let cases = [
        case(
            json!({"url": missing}),
            &["directory_missing"],
            json!({"path": missing, "errno": "ENOENT", "step": "open", "check": "identity"}),
        ),
        case(
            json!({"url": file}),
            &["not_a_directory"],
            json!({"path": file, "errno": "ENOTDIR", "step": "open"}),
        ),
        case(
            json!({"url": link}),
            &["outside_allowed_roots"],
            json!({"path": link, "target": outside.path()}),
        ),
        case(
            json!({"sshPort": silent}),
            &["banner_timeout"],
            json!({"host": "127.0.0.1", "port": silent, "address": "127.0.0.1", "phase": "banner"}),
        ),
        case(
            json!({"sshPort": web}),
            &["not_ssh"],
            json!({"port": web, "phase": "banner", "said": "HTTP/1.1 400 Bad Request"}),
        ),
        case(
            json!({"hostname": "192.0.2.1"}),
            &["target_not_allowed"],
            json!({"host": "192.0.2.1", "phase": "resolve", "addresses": ["192.0.2.1"]}),
        ),
        // Both checks fail: the directory is the root cause, and the response has both.
        case(
            json!({"url": missing, "sshPort": web}),
            &["directory_missing", "not_ssh"],
            json!({"path": missing}),
        ),
        case(
            json!({"url": link, "hostname": "192.0.2.1"}),
            &["outside_allowed_roots", "target_not_allowed"],
            json!({"target": outside.path()}),
        ),
    ];
    let scene = Scene { disk, agent, body };
    for case in &cases {
        scene.fails(case).await;
    }
    scene.disk.remount("ro");
    let facts = json!({"path": images, "superblock": "ro", "check": "storage"});
    scene.fails(&case(json!({}), &["read_only"], facts)).await;
    scene.disk.remount("rw");
    assert_eq!(tree(outside.path()).len(), 1, "the link was followed");

    // No notice was sent and none is in the outbox: the first is that of the add that succeeds.
    assert_eq!((scene.rows("stores"), scene.rows("outbox"), scene.rows("secrets")), (0, 0, 0));
    let good = scene.agent.ask(Method::POST, "/image-store", Some(scene.body.clone())).await;
    assert_eq!(good.status, 200, "{}", good.body);
    let first = node.next().await;
    assert_eq!((first.store().into(), first.seq()), (good.body["inventory"]["uuid"].clone(), 1));
    assert!(node.try_next().is_none());
}
