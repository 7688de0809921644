//! The login check: shared helpers of its tests, and the checks before the SSH handshake.

pub(crate) mod accounts;
mod host_key;
mod keys;
mod login;
mod peers;
mod refusals;
mod sftp;
mod table;
mod talk;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use imagestore_agent::model::{Fact, Fault, HostKey, Reason, Secret, SshAddress, SshCredentials};
use imagestore_agent::settings::{self, Settings};
use imagestore_agent::ssh::{
    EvidenceScope, LoginClass, LoginDeadline, LoginRequest, VerifiedLogin, Verifier,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::failures::english_action;
use crate::support::non_ssh_peers::{BANNER, NonSshPeer, Script};
use crate::support::sshd::{KeyPair, Sshd, User};

/// Deadline that is too long to end a check.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn ssh_settings() -> settings::SshSettings {
    Settings::built_in().ssh
}

pub(crate) fn ssh_address(host: &str, port: u16) -> SshAddress {
    SshAddress { hostname: host.parse().unwrap(), port: NonZeroU16::new(port).unwrap() }
}

pub(crate) fn login(
    address: SocketAddr,
    username: &str,
    credentials: SshCredentials,
) -> LoginRequest {
    LoginRequest {
        address: ssh_address(&address.ip().to_string(), address.port()),
        username: username.to_owned(),
        credentials,
        pinned: None,
        given_fingerprints: Vec::new(),
        evidence: EvidenceScope::Full(None),
    }
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub(crate) fn by_password(sshd: &Sshd, user: &User) -> LoginRequest {
    login(sshd.address, &user.name, SshCredentials::password(secret(&user.password)))
}

pub(crate) fn by_key(
    sshd: &Sshd,
    user: &User,
    key: &KeyPair,
    passphrase: Option<&str>,
) -> LoginRequest {
    let private_key = Some(secret(&key.private));
    let passphrase = passphrase.map(secret);
    login(sshd.address, &user.name, SshCredentials { password: None, private_key, passphrase })
}

pub(crate) async fn verify_by(
    settings: &settings::SshSettings,
    login: &LoginRequest,
) -> Result<VerifiedLogin, Fault> {
    let verifier = Verifier::new(settings);
    let outcome = check(&verifier, login, TEST_TIMEOUT).await;
    // The tests read the server's log without letting other tasks run.
    verifier.finish_disconnects().await;
    if let Err(fault) = &outcome {
        assert_no_secret(fault, login);
        assert_eq!(fault.facts()["host"], Fact::from(login.address.hostname.as_str()));
        assert_eq!(fault.facts()["port"], Fact::from(login.address.port.get()));
    }
    outcome
}

/// Prepares and runs one login, within one time for both.
pub(crate) async fn check(
    verifier: &Verifier,
    login: &LoginRequest,
    timeout: Duration,
) -> Result<VerifiedLogin, Fault> {
    let deadline = LoginDeadline::for_attempt(timeout);
    let prepared = verifier.prepare_login(login.clone(), LoginClass::Attempt, deadline).await?;
    verifier.verify(prepared, deadline).await
}

pub(crate) async fn verify(login: &LoginRequest) -> Result<VerifiedLogin, Fault> {
    verify_by(&ssh_settings(), login).await
}

/// Returns the fault of a check that must fail for this reason.
pub(crate) fn expect(outcome: Result<VerifiedLogin, Fault>, reason: Reason) -> Fault {
    let fault = outcome.expect_err("the check succeeded");
    assert_eq!(fault.reason(), reason, "{fault:?}");
    fault
}

pub(crate) fn list(fault: &Fault, name: &str) -> Vec<String> {
    match fault.facts().get(name) {
        Some(Fact::List(list)) => list.clone(),
        other => panic!("{name} is {other:?} in {fault:?}"),
    }
}

pub(crate) fn text(fault: &Fault, name: &str) -> String {
    match fault.facts().get(name) {
        Some(Fact::Text(text)) => text.clone(),
        other => panic!("{name} is {other:?} in {fault:?}"),
    }
}

fn assert_no_secret(fault: &Fault, login: &LoginRequest) {
    let texts = format!("{fault} {fault:?} {login:?}");
    let SshCredentials { password, private_key, passphrase } = &login.credentials;
    for secret in [password, private_key, passphrase].into_iter().flatten() {
        assert!(!texts.contains(secret.expose_secret()), "{texts}");
    }
}

fn anyone(address: SocketAddr) -> LoginRequest {
    login(address, "anyone", SshCredentials::password(secret("hunter2")))
}

#[tokio::test]
async fn a_foreign_address_is_refused_without_a_connection() {
    let began = Instant::now();
    // TEST-NET-1 is routed nowhere: a connection would have to time out.
    for foreign in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        let login = LoginRequest {
            address: ssh_address(foreign, 22),
            ..anyone(([127, 0, 0, 1], 22).into())
        };
        let fault = expect(verify(&login).await, Reason::TargetNotAllowed);
        assert_eq!(list(&fault, "addresses").len(), 1);
        assert_eq!(text(&fault, "phase"), "resolve");
    }
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_configured_network_is_dialled() {
    let mut settings = ssh_settings();
    settings.allowed_targets = vec!["192.0.2.0/24".parse().unwrap()];
    settings.connect_timeout = Duration::from_millis(200);
    let login = LoginRequest {
        address: ssh_address("192.0.2.1", 22),
        ..anyone(([127, 0, 0, 1], 22).into())
    };
    let fault = verify_by(&settings, &login).await.unwrap_err();
    // The outcome depends on the network.
    let dialled = [Reason::ConnectTimeout, Reason::Unreachable, Reason::ConnectionRefused];
    assert!(dialled.contains(&fault.reason()), "{fault}");
    assert_eq!(text(&fault, "phase"), "connect");
}

#[tokio::test]
async fn a_name_without_an_address_is_not_found() {
    // RFC 6761: this name is never delegated.
    let login = LoginRequest {
        address: ssh_address("no-such.invalid", 22),
        ..anyone(([127, 0, 0, 1], 22).into())
    };
    let fault = expect(verify(&login).await, Reason::NameNotFound);
    assert!(fault.details().contains("no-such.invalid"), "{fault}");
}

#[test]
fn a_lookup_that_finds_no_thread_says_nothing_about_the_name() {
    // The only thread is busy.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || held.recv());
    let mut settings = ssh_settings();
    settings.resolve_timeout = Duration::from_millis(200);
    let address = ssh_address("localhost", 22);
    let login = LoginRequest { address, ..anyone(([127, 0, 0, 1], 22).into()) };
    let outcome = runtime.block_on(verify_by(&settings, &login));
    drop(release);
    let fault = expect(outcome, Reason::AgentBusy);
    assert!(fault.details().contains("no thread"), "{fault}");
    assert_eq!(text(&fault, "phase"), "resolve");
}

#[tokio::test]
async fn a_name_is_dialled_in_both_families() {
    // Only the IPv4 address of the name listens.
    let peer = NonSshPeer::start(Script::SaysAndCloses(b"220 ftp\r\n")).await;
    let address = ssh_address("localhost", peer.address.port());
    let login = LoginRequest { address, ..anyone(peer.address) };
    let fault = expect(verify(&login).await, Reason::NotSsh);
    assert_eq!(text(&fault, "address"), "127.0.0.1");
}

#[tokio::test]
async fn a_closed_port_is_refused_at_once() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    // Bound, so that no other process gets it, and not listening.
    let fault =
        expect(verify(&anyone(socket.local_addr().unwrap())).await, Reason::ConnectionRefused);
    assert_eq!(fault.facts()["errno"], Fact::from(nix::errno::Errno::ECONNREFUSED as i32));
    assert_eq!(text(&fault, "address"), "127.0.0.1");
}

#[tokio::test]
async fn a_port_that_drops_packets_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    // The kernel drops connections beyond the listener's queue: listen(2), tcp_abort_on_overflow =
    // 0.
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(tcp)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(tcp);
        assert!(queued.len() < 10, "the listener's queue never fills");
    }
    let mut settings = ssh_settings();
    settings.connect_timeout = Duration::from_millis(300);
    let fault = expect(verify_by(&settings, &anyone(address)).await, Reason::ConnectTimeout);
    assert!(matches!(fault.facts()["milliseconds"], Fact::Number(300..3000)), "{fault:?}");
}

#[tokio::test]
async fn a_store_without_a_secret_is_not_dialled() {
    let peer = NonSshPeer::start(Script::Silent).await;
    let nothing = SshCredentials { password: None, private_key: None, passphrase: None };
    expect(verify(&login(peer.address, "u", nothing)).await, Reason::MethodNotOffered);
    assert_eq!(peer.opened(), 0);
}

#[tokio::test]
async fn an_unusable_key_is_reported_before_anything_is_dialled() {
    let peer = NonSshPeer::start(Script::Silent).await;
    let key = |text: &str| SshCredentials {
        password: Some(secret("hunter2")),
        private_key: Some(secret(text)),
        passphrase: None,
    };
    for text in ["garbage of a key", "-----BEGIN OPENSSH PRIVATE KEY-----\ngarbage\n"] {
        expect(verify(&login(peer.address, "u", key(text))).await, Reason::KeyUnusable);
    }
    assert_eq!(peer.opened(), 0);
}

/// Returns an OpenSSH key whose header states another number of rounds than its encryption used.
fn with_rounds(key: &KeyPair, rounds: u32) -> String {
    let lines: Vec<&str> = key.private.lines().collect();
    let (begin, end) = (lines[0], lines[lines.len() - 1]);
    let base64 = lines[1..lines.len() - 1].concat();
    let mut bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
    // The name, the length of its options, and in them a salt of 16 bytes with its length.
    let name = bytes.windows(6).position(|word| word == b"bcrypt").unwrap();
    let at = name + 6 + 4 + 4 + 16;
    bytes[at..at + 4].copy_from_slice(&rounds.to_be_bytes());
    format!("{begin}\n{}\n{end}\n", data_encoding::BASE64.encode(&bytes))
}

#[tokio::test]
async fn a_key_that_asks_for_endless_rounds_is_not_opened() {
    let peer = NonSshPeer::start(Script::Silent).await;
    let key = KeyPair::generate("ed25519", "open sesame");
    let text = with_rounds(&key, 1025);
    let key = SshCredentials {
        password: None,
        private_key: Some(secret(&text)),
        passphrase: Some(secret("open sesame")),
    };
    let fault = expect(verify(&login(peer.address, "u", key)).await, Reason::KeyUnusable);
    assert_eq!(fault.facts()["rounds"], Fact::from(1025));
    assert!(english_action(&fault).contains("ssh-keygen"), "{fault:?}");
    assert_eq!(peer.opened(), 0);
}

/// Starts a hundred checks, drops all of them once the peer has their connections, and checks that
/// no task is left.
async fn drop_a_hundred_checks_of(script: Script) {
    const CHECKS: usize = 100;
    let mut peer = NonSshPeer::start(script).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let mut checks = JoinSet::new();
    for _ in 0..CHECKS {
        // One verifier would run them one after the other.
        let (verifier, login) = (Verifier::new(&ssh_settings()), anyone(peer.address));
        checks.spawn(async move { check(&verifier, &login, TEST_TIMEOUT).await });
    }
    peer.until_opened(CHECKS).await;
    if let Script::Says(_) = script {
        // Each check and the session that russh runs for it, beside the peer's own tasks.
        let sessions = || Handle::current().metrics().num_alive_tasks() >= before + 3 * CHECKS;
        until(sessions).await;
    }
    checks.shutdown().await;
    timeout(TEST_TIMEOUT, peer.until_closed(CHECKS)).await.expect("some sockets are still open");
    until(|| Handle::current().metrics().num_alive_tasks() <= before).await;
}

/// Lets the other tasks run until the condition holds.
async fn until(so: impl Fn() -> bool) {
    let patience = timeout(TEST_TIMEOUT, async {
        while !so() {
            tokio::task::yield_now().await;
        }
    });
    assert!(
        patience.await.is_ok(),
        "{} tasks are left",
        Handle::current().metrics().num_alive_tasks()
    );
}

#[tokio::test]
async fn dropped_checks_of_a_silent_peer_leave_nothing_behind() {
    drop_a_hundred_checks_of(Script::Silent).await;
}

#[tokio::test]
async fn checks_dropped_during_key_exchange_leave_nothing_behind() {
    drop_a_hundred_checks_of(Script::Says(BANNER)).await;
}

#[tokio::test]
async fn a_check_that_times_out_during_key_exchange_leaves_nothing_behind() {
    let mut peer = NonSshPeer::start(Script::Says(BANNER)).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let mut settings = ssh_settings();
    settings.handshake_timeout = Duration::from_millis(200);
    expect(verify_by(&settings, &anyone(peer.address)).await, Reason::HandshakeTimeout);
    timeout(TEST_TIMEOUT, peer.until_closed(1)).await.expect("the socket is still open");
    until(|| Handle::current().metrics().num_alive_tasks() <= before).await;
}

#[tokio::test]
async fn the_callers_deadline_ends_every_phase() {
    let peer = NonSshPeer::start(Script::Silent).await;
    let began = Instant::now();
    let timeout = Duration::from_millis(200);
    let outcome = check(&Verifier::new(&ssh_settings()), &anyone(peer.address), timeout).await;
    expect(outcome, Reason::BannerTimeout);
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Returns a request that pins the key of an earlier check.
pub(crate) fn pinned(key: &HostKey, login: LoginRequest) -> LoginRequest {
    LoginRequest { pinned: Some(key.clone()), ..login }
}
