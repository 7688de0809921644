//! The daemon accepts sessions of a management node, and its settings about them are checked.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::agent::Agent;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::management_node::{Answer, ManagementNode};

const PATH: &str = "/zstack/v1/accounts/sessions/{uuid}/valid";
const SESSION: &str = "5e55104a0b1c2d3e4f5061728394a5b6";
/// A store that does not exist. Its removal succeeds all the same.
const NO_STORE: &str = "00000000000040008000000000000009";

/// Makes an installation with these lines in the section `[auth]`.
fn installed(auth: &str) -> Agent {
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    agent.configure(&agent.settings().replace("[auth]\n", &format!("[auth]\n{auth}\n")));
    agent
}

async fn ask(agent: &Agent, line: &str, token: &str) -> HttpResponse {
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    let request = HttpRequest { token: Some(token), ..HttpRequest::new(line, "") };
    exchange(stream, &request.bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_management_node_is_a_caller_and_no_line_of_the_log_shows_it() {
    let valid = |_: &_| Answer::Body(r#"{"valid":true}"#.to_owned());
    let mut node = ManagementNode::scripted(valid).await;
    let url = node.url_of(PATH);
    let mut agent =
        installed(&format!("session_check_url = {url:?}\nsession_check_role = \"operate\""));
    assert!(agent.start_under(&["env", "RUST_LOG=trace"]));
    let list = "GET /zstack/v1/backup-storage/image-store";
    let remove = format!("DELETE /zstack/v1/backup-storage/{NO_STORE}");
    assert_eq!(ask(&agent, list, SESSION).await.status, 200);
    assert_eq!(ask(&agent, &remove, SESSION).await.status, 200);
    let line = agent.until_logged("\"action\":\"remove\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    // printf %s 5e55104a0b1c2d3e4f5061728394a5b6 | sha256sum | cut -c1-8
    assert_eq!(line["caller"], "management session dc4e972f", "{line}");
    assert_eq!(line["role"], "operate");

    // Without the node, only a session that was confirmed lately is accepted.
    node.stop().await;
    let other = SESSION.replace('5', "0");
    let refused = ask(&agent, &remove, &other).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.error("/opaque/reason"), "management_unreachable");
    agent.until_logged("session check failed");
    assert_eq!(ask(&agent, list, SESSION).await.status, 200);
    node.set_script(|_| Answer::Body(r#"{"valid":false}"#.to_owned()));
    node.restart().await;
    assert_eq!(ask(&agent, &remove, &other).await.status, 401);
    agent.until_logged("session check recovered");

    // A change of the settings of the check needs a restart, and the log says so.
    agent.configure(&agent.settings().replace("\"operate\"", "\"admin\""));
    agent.signal(Signal::SIGHUP);
    let reloaded = agent.until_logged("need a restart");
    assert!(reloaded.contains("auth"), "{reloaded}");

    assert!(agent.terminate().0.success());
    let log = agent.log();
    assert!(log.contains("TRACE") && log.contains("dc4e972f"));
    for session in [SESSION, other.as_str()] {
        assert!(!log.contains(session), "the log shows a session");
    }
}

/// Runs `check-config`. Returns true if it accepts the settings, and its output.
fn check(agent: &Agent) -> (bool, String) {
    let output = agent.cli(&["check-config"], "");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_url_that_leads_to_the_daemon_or_lacks_its_placeholder_is_a_fault() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for (url, problem) in [
        (format!("http://127.0.0.1:{port}{PATH}"), "leads to 127.0.0.1:"),
        (format!("https://localhost:{port}{PATH}"), "leads to 127.0.0.1:"),
        ("http://mn.example/valid".to_owned(), "exactly once"),
        ("http://{uuid}.example/".to_owned(), "in its host"),
        ("unix:///run/agent.sock/{uuid}".to_owned(), "http"),
        ("https://mn~1/{uuid}".to_owned(), "host"),
    ] {
        let agent = installed(&format!("session_check_url = {url:?}"));
        let listen = format!("listen = [\"127.0.0.1:{port}\"]");
        agent.configure(&agent.settings().replace("listen = [\"127.0.0.1:0\"]", &listen));
        let (is_accepted, report) = check(&agent);
        assert!(!is_accepted, "{url}");
        assert!(report.contains("auth.session_check_url") && report.contains(problem), "{report}");
        assert_eq!(agent.run_serve_to_end().status.code(), Some(64), "{url}");
    }
    let agent = installed("session_check_role = \"root\"");
    let (is_accepted, report) = check(&agent);
    assert!(!is_accepted && report.contains("auth.session_check_role"), "{report}");
    let agent = installed(&format!("session_check_url = \"https://mn.example{PATH}\""));
    let callback = "[callback]\nca_file = \"/nowhere/ca.pem\"\n";
    agent.configure(&format!("{}{callback}", agent.settings()));
    let (is_accepted, report) = check(&agent);
    assert!(!is_accepted && report.contains("callback.ca_file"), "{report}");
}

#[test]
fn plain_http_to_another_host_is_warned_of_by_check_and_start() {
    let mut agent = installed(&format!("session_check_url = \"http://mn.example:8080{PATH}\""));
    let (is_accepted, report) = check(&agent);
    assert!(is_accepted && report.contains("warning: auth.session_check_url"), "{report}");
    agent.start();
    assert!(agent.log().contains("cross the network unencrypted"), "{}", agent.log());
}
