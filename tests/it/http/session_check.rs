//! Sessions of the management node: the server asks a scripted one whether they are valid.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imagestore_agent::common::SystemRandom;
use imagestore_agent::http::SessionCheck;
use imagestore_agent::management::{SessionCheckClient, SessionCheckTimes, SessionChecker};
use imagestore_agent::model::Role;
use imagestore_agent::settings::{CallbackSettings, FilePolicy, Settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::http_server::*;
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::test_ca::TestCa;
use crate::support::wait::until;

pub(super) const PATH: &str = "/zstack/v1/accounts/sessions/{uuid}/valid";
pub(super) const LIST: &str = "GET /zstack/v1/backup-storage/image-store";

/// Returns the session with this number.
pub(super) fn session(n: u32) -> String {
    format!("a0b1c2d3e4f5{n:020x}")
}

/// Times with an hour for each answer, so that none becomes outdated within a test.
pub(super) fn lasting() -> SessionCheckTimes {
    let hour = Duration::from_secs(3600);
    SessionCheckTimes { valid_for: hour, refused_for: hour, ..SessionCheckTimes::default() }
}

/// Times in which each answer is outdated at once.
pub(super) fn outdated_at_once() -> SessionCheckTimes {
    let no_time = Duration::ZERO;
    SessionCheckTimes { valid_for: no_time, refused_for: no_time, ..SessionCheckTimes::default() }
}

pub(super) fn check_at(url: &str, role: Role, times: SessionCheckTimes) -> SessionCheck {
    check_over(url, role, times, &Settings::built_in().callback)
}

fn check_over(
    url: &str,
    role: Role,
    times: SessionCheckTimes,
    callback: &CallbackSettings,
) -> SessionCheck {
    let mut auth = Settings::built_in().auth;
    auth.session_check_url = Some(url.to_owned());
    let policy = FilePolicy::of_process();
    let client = SessionCheckClient::new(&auth, callback, &policy, times.request_timeouts());
    let client = client.unwrap().unwrap();
    SessionCheck { checker: SessionChecker::new(client, &SystemRandom::default(), times), role }
}

/// The valid sessions of a scripted management node.
#[derive(Clone, Default)]
pub(super) struct ValidSessions(Arc<Mutex<HashSet<String>>>);

impl ValidSessions {
    pub(super) fn of(sessions: &[u32]) -> Self {
        let valid = sessions.iter().map(|n| session(*n)).collect();
        Self(Arc::new(Mutex::new(valid)))
    }

    fn revoke(&self, n: u32) {
        assert!(self.0.lock().unwrap().remove(&session(n)));
    }

    /// Returns the body of the answer to a question.
    pub(super) fn answer(&self, question: &Received) -> String {
        let asked = question.line.split('/').nth_back(1).unwrap();
        format!("{{\"valid\":{}}}", self.0.lock().unwrap().contains(asked))
    }

    /// Starts a management node with these sessions.
    pub(super) async fn start_node(&self) -> ManagementNode {
        let sessions = self.clone();
        ManagementNode::scripted(move |question| Answer::Body(sessions.answer(question))).await
    }
}

/// Sends a request with a session.
pub(super) async fn ask(server: &TestServer, line: &str, session: &str) -> HttpResponse {
    server.ask(HttpRequest { token: Some(session), ..HttpRequest::new(line, "") }).await
}

async fn list(server: &TestServer, n: u32) -> u16 {
    ask(server, LIST, &session(n)).await.status
}

/// Returns the number of questions since the last call.
pub(super) fn questions(node: &mut ManagementNode) -> usize {
    std::iter::from_fn(|| node.try_next()).count()
}

#[tokio::test]
async fn a_valid_session_has_the_configured_role_and_is_asked_about_once() {
    for (role, changes) in [(Role::Read, 403), (Role::Operate, 200), (Role::Admin, 200)] {
        let mut node = ValidSessions::of(&[1]).start_node().await;
        let server = TestServer::checking_sessions(check_at(&node.url_of(PATH), role, lasting()));
        assert_eq!(list(&server, 1).await, 200);
        let question = node.next().await;
        assert_eq!(question.line, format!("GET {}", PATH.replace("{uuid}", &session(1))));
        assert_eq!(question.header("accept"), "application/json");
        assert!(question.header("user-agent").starts_with("imagestore-agent/"));
        assert_eq!(question.header("x-imagestore-agent-question").len(), 32);
        assert!(question.headers.get("authorization").is_none() && question.body.is_empty());
        // The answer to an action is synchronous, as for a token.
        let reconnect = format!("PUT /zstack/v1/backup-storage/image-store/{GOOD}/actions");
        let body = r#"{"reconnectImageStoreBackupStorage":{}}"#;
        let token = session(1);
        let request = HttpRequest { token: Some(&token), ..HttpRequest::new(&reconnect, body) };
        assert_eq!(server.ask(request).await.status, changes, "{role}");
        let accept =
            format!(r#"{{"acceptHostKey":{{"fingerprint":"SHA256:{}"}}}}"#, "A".repeat(43));
        let request = HttpRequest { token: Some(&token), ..HttpRequest::new(&reconnect, &accept) };
        let accepts = if role == Role::Admin { 200 } else { 403 };
        assert_eq!(server.ask(request).await.status, accepts, "{role}");
        assert_eq!(questions(&mut node), 0);
    }
}

#[tokio::test]
async fn a_refused_session_is_unknown_and_is_asked_about_again_only_after_its_time() {
    let mut node = ValidSessions::default().start_node().await;
    let url = node.url_of(PATH);
    let server = TestServer::checking_sessions(check_at(&url, Role::Admin, lasting()));
    for _ in 0..3 {
        let answer = ask(&server, LIST, &session(1)).await;
        assert_eq!((answer.status, answer.error("/code")), (401, &"ID.1001".into()));
    }
    assert_eq!(questions(&mut node), 1);
    let forgetful = TestServer::checking_sessions(check_at(&url, Role::Admin, outdated_at_once()));
    for _ in 0..3 {
        assert_eq!(list(&forgetful, 1).await, 401);
    }
    assert_eq!(questions(&mut node), 3);
}

#[tokio::test]
async fn a_token_and_a_text_of_another_form_are_never_asked_about() {
    let mut node = ValidSessions::of(&[1]).start_node().await;
    let url = node.url_of(PATH);
    let server = TestServer::checking_sessions(check_at(&url, Role::Admin, lasting()));
    // printf %s 0123456789abcdef0123456789abcdef | sha256sum
    let token = "0123456789abcdef0123456789abcdef";
    let digest = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
    server.tokens.send_replace(tokens(&format!("mn:{digest}:read\n")));
    assert_eq!(ask(&server, LIST, token).await.status, 200);
    let long = format!("{}0", session(1));
    let other_digits = session(1).replace('a', "g");
    let upper_case = session(1).to_uppercase();
    for other in ["null", &session(1)[1..], &long, &other_digits, &upper_case, "../../valid"] {
        assert_eq!(ask(&server, LIST, other).await.status, 401, "{other}");
    }
    // The open paths and the Unix socket need no session.
    let healthz = HttpRequest { token: Some(&session(2)), ..HttpRequest::new("GET /healthz", "") };
    assert_eq!(server.ask(healthz).await.status, 200);
    let local = HttpRequest { token: Some(&session(2)), ..HttpRequest::new(LIST, "") };
    assert_eq!(exchange(server.connect_local().await, &local.bytes()).await.status, 200);
    assert_eq!(questions(&mut node), 0);
}

#[tokio::test]
async fn without_a_usable_answer_nothing_is_done_and_the_error_says_what_happened() {
    let elsewhere = ValidSessions::of(&[1]).start_node().await;
    let location = elsewhere.url_of(&PATH.replace("{uuid}", &session(1)));
    let huge = format!(r#"{{"valid":true,"more":"{}"}}"#, "x".repeat(5000));
    let mut node = ManagementNode::answering([]).await;
    let mut other = elsewhere;
    let times = SessionCheckTimes { question: Duration::from_millis(300), ..lasting() };
    let server = TestServer::checking_sessions(check_at(&node.url_of(PATH), Role::Admin, times));
    for (answer, obstacle, status) in [
        (Answer::Status(500), "status", Some(500)),
        (Answer::Status(404), "status", Some(404)),
        (Answer::Full(302, ("location", location), ""), "status", Some(302)),
        (Answer::Full(201, ("x-a", "b".to_owned()), r#"{"valid":true}"#), "status", Some(201)),
        (Answer::Body(huge), "body_too_large", None),
        (Answer::Body("<html>valid</html>".to_owned()), "not_an_answer", None),
        (Answer::Body(r#"{"valid":"true"}"#.to_owned()), "not_an_answer", None),
        (Answer::Status(200), "not_an_answer", None),
        (Answer::Stalled(200), "timeout", None),
        (Answer::Never, "timeout", None),
    ] {
        let shown = format!("{answer:?}");
        node.set_script(move |_| answer.clone());
        let remove = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
        let refused = ask(&server, &remove, &session(1)).await;
        assert_eq!(refused.status, 503, "{shown}");
        assert_eq!(refused.error("/code"), "SYS.1012", "{shown}");
        assert_eq!(refused.error("/opaque/reason"), "management_unreachable", "{shown}");
        assert_eq!(refused.error("/opaque/obstacle"), obstacle, "{shown}");
        assert_eq!(refused.error("/opaque/status").as_u64(), status, "{shown}");
        assert!(refused.error("/elaboration").as_str().unwrap().contains("session_check_url"));
        assert_eq!(refused.header("retry-after"), Some("5"), "{shown}");
        assert!(!refused.body.to_string().contains(&session(1)), "{}", refused.body);
        assert_eq!(questions(&mut node), 1, "{shown}");
    }
    assert!(server.stores.removed().is_empty());
    assert_eq!(questions(&mut other), 0, "a redirect is not followed");
    node.stop().await;
    let refused = ask(&server, LIST, &session(1)).await;
    assert_eq!((refused.status, refused.error("/opaque/obstacle")), (503, &"no_response".into()));
    let details = refused.error("/details").as_str().unwrap();
    assert!(details.contains("Connection refused"), "{details}");
    // A session whose question had no answer does not count as an unknown one.
    for _ in 0..30 {
        assert_eq!(list(&server, 1).await, 503);
    }
}

#[tokio::test]
async fn a_valid_session_survives_a_restart_of_the_management_node_within_its_time() {
    let sessions = ValidSessions::of(&[1]);
    let mut node = sessions.start_node().await;
    let url = node.url_of(PATH);
    let lasts = TestServer::checking_sessions(check_at(&url, Role::Read, lasting()));
    let outdated = TestServer::checking_sessions(check_at(&url, Role::Read, outdated_at_once()));
    for server in [&lasts, &outdated] {
        assert_eq!(list(server, 1).await, 200);
    }
    node.stop().await;
    assert_eq!(list(&lasts, 1).await, 200);
    assert_eq!(list(&lasts, 2).await, 503);
    assert_eq!(list(&outdated, 1).await, 503);
    node.restart().await;
    assert_eq!(list(&lasts, 2).await, 401);
    assert_eq!(list(&outdated, 1).await, 200);
}

#[tokio::test]
async fn a_revoked_session_is_refused_after_the_time_of_its_answer() {
    let sessions = ValidSessions::of(&[1]);
    let mut node = sessions.start_node().await;
    let times = SessionCheckTimes { valid_for: Duration::from_millis(200), ..lasting() };
    let server = TestServer::checking_sessions(check_at(&node.url_of(PATH), Role::Read, times));
    assert_eq!(list(&server, 1).await, 200);
    sessions.revoke(1);
    until("the session is refused", async || list(&server, 1).await == 401).await;
    assert_eq!(questions(&mut node), 2);
    assert_eq!(SessionCheckTimes::default().valid_for, Duration::from_secs(30));
    assert_eq!(SessionCheckTimes::default().refused_for, Duration::from_secs(5));
}

#[tokio::test]
async fn callers_with_one_session_share_one_question() {
    let (sessions, permits) = (ValidSessions::of(&[1]), Arc::new(Semaphore::new(0)));
    let held = Arc::clone(&permits);
    let mut node = ManagementNode::scripted(move |question| {
        Answer::BodyAfterPermit(sessions.answer(question), Arc::clone(&held))
    })
    .await;
    let check = check_at(&node.url_of(PATH), Role::Read, lasting());
    let server = Arc::new(TestServer::checking_sessions(check));
    // The first caller disconnects while the question runs. One of the others asks again.
    let request = HttpRequest { token: Some(&session(1)), ..HttpRequest::new(LIST, "") }.bytes();
    let mut first = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut first, &request).await.unwrap();
    node.next().await;
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let server = Arc::clone(&server);
        callers.spawn(async move { list(&server, 1).await });
    }
    drop(first);
    node.next().await;
    permits.add_permits(2);
    let statuses = with_timeout(callers.join_all()).await;
    assert_eq!(statuses, [200; 20]);
    assert_eq!(questions(&mut node), 0);
}

#[tokio::test]
async fn a_question_over_tls_needs_a_certificate_of_the_authorities_of_the_callback() {
    let (ca, other_ca, clients) = (TestCa::new(), TestCa::new(), TestCa::new());
    let sessions = ValidSessions::of(&[1]);
    let answers = sessions.clone();
    let script = move |question: &Received| Answer::Body(answers.answer(question));
    let node = ManagementNode::scripted_over_tls(script, ca.server(Some(&clients))).await;
    let (cert, key) = clients.issue("agent");
    let trusting = |ca: &TestCa| CallbackSettings {
        ca_file: Some(ca.certificate()),
        client_cert: Some(cert.clone()),
        client_key: Some(key.clone()),
        ..Settings::built_in().callback
    };
    let url = node.url_of(PATH);
    for (callback, expected) in [(trusting(&ca), 200), (trusting(&other_ca), 503)] {
        let check = check_over(&url, Role::Read, lasting(), &callback);
        let server = TestServer::checking_sessions(check);
        let answer = ask(&server, LIST, &session(1)).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        let details = answer.error("/details").as_str().unwrap_or("certificate").to_owned();
        assert!(details.contains("certificate"), "{details}");
    }
}

#[tokio::test]
async fn a_url_that_leads_back_causes_one_request_and_the_error_says_so() {
    // A proxy whose address no setting of the daemon has.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
    let server = TestServer::checking_sessions(check_at(&url, Role::Admin, lasting()));
    let behind = server.address();
    let forwarded = Arc::new(Semaphore::new(0));
    let counter = Arc::clone(&forwarded);
    let mut proxy = JoinSet::new();
    proxy.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            counter.add_permits(1);
            connections.spawn(async move {
                let mut server = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let refused = ask(&server, LIST, &session(1)).await;
    assert_eq!((refused.status, refused.error("/opaque/obstacle")), (503, &"own_address".into()));
    assert!(refused.error("/elaboration").as_str().unwrap().contains("leads to this daemon"));
    assert_eq!(forwarded.available_permits(), 1);
}

#[tokio::test]
async fn a_question_of_another_daemon_causes_no_question() {
    let mut node = ValidSessions::of(&[1]).start_node().await;
    let url = node.url_of(PATH);
    let server = TestServer::checking_sessions(check_at(&url, Role::Admin, lasting()));
    let token = session(1);
    let headers = "x-imagestore-agent-question: 00000000000000000000000000000000\r\n";
    let request = HttpRequest { token: Some(&token), headers, ..HttpRequest::new(LIST, "") };
    assert_eq!(server.ask(request).await.status, 401);
    assert_eq!(questions(&mut node), 0);
}
