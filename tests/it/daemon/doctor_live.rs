//! Certificates and receivers, which the running daemon and `doctor` itself both look at.

use std::fs;

use serde_json::Value;

use crate::support::agent::{Agent, TEST_TIMEOUT, callback};
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::test_ca::TestCa;

/// Returns the verdict and the summary of a check.
fn found(agent: &Agent, id: &str) -> (String, String) {
    let output = agent.cli(&["doctor", "--json", "--check", id], "");
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |name: &str| body["checks"][0][name].as_str().unwrap().to_owned();
    (text("verdict"), text("summary"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_in_use_yet_is_said() {
    let (root, ca) = (tempfile::tempdir().unwrap(), TestCa::new());
    let (cert, key) = ca.issue("localhost");
    let (client_cert, client_key) = ca.issue("node-1");
    let mut agent = Agent::installed(root.path(), "");
    agent.configure(&format!(
        "{}[server.tls]\ncert = {cert:?}\nkey = {key:?}\n[callback]\n\
         urls = [\"https://localhost:1/\"]\nca_file = {:?}\nclient_cert = {client_cert:?}\n\
         client_key = {client_key:?}\n",
        agent.settings(),
        ca.certificate(),
    ));
    agent.start();
    for id in ["certificate.server", "certificate.client"] {
        let (verdict, summary) = found(&agent, id);
        assert!(verdict == "ok" && summary.contains("2099-01-01"), "{id}: {summary}");
    }
    // The daemon cannot load a certificate without its key, and reads the other one at its start.
    for (id, file) in [("certificate.server", &cert), ("certificate.client", &client_cert)] {
        fs::copy(ca.issue_until("other", 2088).0, file).unwrap();
        let (verdict, summary) = found(&agent, id);
        assert_eq!(verdict, "warning", "{id}: {summary}");
        assert!(summary.contains("2099-01-01"), "the one in use: {summary}");
        let words = "another certificate, valid until 2088-01-01";
        assert!(summary.contains(words) && summary.ends_with("does not use"), "{summary}");
    }
    fs::write(&cert, "no certificate").unwrap();
    let (verdict, summary) = found(&agent, "certificate.server");
    assert!(verdict == "warning" && summary.contains("a reload keeps it"), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_is_judged_by_the_connection_and_by_its_last_reply() {
    let root = tempfile::tempdir().unwrap();
    let node = ManagementNode::answering([]).await;
    node.set_heartbeat_script(|_| Answer::Status(503));
    let mut agent = Agent::installed(root.path(), &callback(&node.url()));
    agent.start();
    // The first heartbeat takes a moment.
    let deadline = std::time::Instant::now() + TEST_TIMEOUT;
    let (verdict, summary) = loop {
        let (verdict, summary) = found(&agent, "management.callback");
        if verdict == "error" {
            break (verdict, summary);
        }
        assert!(std::time::Instant::now() < deadline, "{verdict}: {summary}");
    };
    assert!(summary.contains("down") && summary.contains("503"), "{verdict}: {summary}");

    // The daemon is not asked about a name, a port or an authority: the command tries them.
    assert!(agent.terminate().0.success());
    let plain = agent.settings();
    let ca = TestCa::new();
    let secure = ManagementNode::over_tls(ca.server(None)).await;
    for (url, ca_file, words) in [
        (node.url(), None, "accepts connections"),
        ("http://no.such.host.invalid/".to_owned(), None, "failed to lookup address"),
        ("http://127.0.0.1:1/".to_owned(), None, "onnection refused"),
        (secure.url(), Some(TestCa::new().certificate()), "TLS: "),
        (secure.url(), Some(ca.certificate()), "accepts connections"),
    ] {
        let ca_file = ca_file.map(|path| format!("ca_file = {path:?}\n")).unwrap_or_default();
        let changed = plain.replace(&node.url(), &url);
        agent.configure(&format!("{changed}{ca_file}"));
        let (verdict, summary) = found(&agent, "management.callback");
        let expected = if words == "accepts connections" { "ok" } else { "error" };
        assert_eq!(verdict, expected, "{url}: {summary}");
        assert!(summary.contains(words), "{url}: {summary}");
    }
}
