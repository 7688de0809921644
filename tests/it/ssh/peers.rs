//! The login check against peers that are no SSH server or a broken one.

use std::time::Duration;

use imagestore_agent::model::{Fact, Fault, Reason, SshCredentials};
use imagestore_agent::ssh::{LoginClass, LoginDeadline, Verifier};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ssh::{check, expect, login, secret, ssh_settings, text, verify_by};
use crate::support::failures::english_action;
use crate::support::non_ssh_peers::{BANNER, NonSshPeer, Script};
use crate::support::sshd::KeyPair;

/// Returns the fault of a check against a peer with this script. No check takes as long as the
/// limit, which is long, except where a test sets `limit`.
async fn fault_of(script: Script, limit: Duration, reason: Reason) -> Fault {
    let peer = NonSshPeer::start(script).await;
    let mut settings = ssh_settings();
    settings.handshake_timeout = limit;
    let login = login(peer.address, "anyone", SshCredentials::password(secret("hunter2")));
    let began = Instant::now();
    let fault = expect(verify_by(&settings, &login).await, reason);
    assert!(began.elapsed() < limit + Duration::from_secs(5), "{fault:?}");
    assert_eq!(text(&fault, "address"), "127.0.0.1");
    fault
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_silent_port_is_a_banner_timeout() {
    let fault = fault_of(Script::Silent, SHORT, Reason::BannerTimeout).await;
    assert_eq!(text(&fault, "phase"), "banner");
    let imagestore_agent::model::Fact::Number(took) = fault.facts()["milliseconds"] else {
        panic!("{fault:?}")
    };
    assert!((300..3000).contains(&took), "{took}");
}

/// The decryption of the key is neither the server's time nor a wait for other logins.
#[tokio::test]
async fn a_silent_port_is_a_banner_timeout_also_after_a_slow_decryption() {
    let peer = NonSshPeer::start(Script::Silent).await;
    let key = KeyPair::generate_as("ed25519", "open sesame", &["-a", "300"]);
    let (private_key, passphrase) = (Some(secret(&key.private)), Some(secret("open sesame")));
    let credentials = SshCredentials { password: None, private_key, passphrase };
    let login = login(peer.address, "anyone", credentials);
    let verifier = Verifier::new(&ssh_settings());
    // The time of the deadline is spent on the decryption, and on the server.
    let began = Instant::now();
    let deadline = LoginDeadline::for_attempt(Duration::from_secs(8));
    let prepared = verifier.prepare_login(login, LoginClass::Attempt, deadline).await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
    let fault = expect(verifier.verify(prepared, deadline).await, Reason::BannerTimeout);
    assert!(
        english_action(&fault).contains("raise monitor.attempt_deadline"),
        "{}",
        english_action(&fault)
    );
}

#[tokio::test]
async fn a_peer_that_goes_silent_after_its_banner_is_a_handshake_timeout() {
    let fault = fault_of(Script::Says(BANNER), SHORT, Reason::HandshakeTimeout).await;
    assert_eq!(text(&fault, "phase"), "handshake");
    assert_eq!(text(&fault, "said"), "SSH-2.0-OpenSSH_9.2p1 Debian-2");
}

#[tokio::test]
async fn a_banner_that_drips_is_a_banner_timeout() {
    let script = Script::Drips(BANNER, Duration::from_millis(50));
    let fault = fault_of(script, SHORT, Reason::BannerTimeout).await;
    assert!(text(&fault, "said").starts_with("SS"), "{fault:?}");
}

#[tokio::test]
async fn an_http_server_is_not_ssh() {
    let script = Script::AnswersAndCloses(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let fault = fault_of(script, LONG, Reason::NotSsh).await;
    assert!(fault.details().contains("HTTP/1.1 400 Bad Request"), "{fault}");
}

#[tokio::test]
async fn an_ftp_server_that_waits_is_not_ssh() {
    let fault = fault_of(Script::Says(b"220 ftp ready\r\n"), SHORT, Reason::NotSsh).await;
    assert_eq!(text(&fault, "said"), "220 ftp ready");
}

#[tokio::test]
async fn lines_without_end_are_not_ssh() {
    fault_of(Script::Repeats(b"not yet\r\n"), LONG, Reason::NotSsh).await;
    fault_of(Script::Repeats(b"no line at all "), LONG, Reason::NotSsh).await;
}

#[tokio::test]
async fn what_a_peer_says_cannot_move_a_terminal() {
    let script = Script::SaysAndCloses(b"\x1b[2J\x07\xff\r\n");
    let fault = fault_of(script, LONG, Reason::NotSsh).await;
    assert!(fault.details().chars().all(|c| c.is_ascii_graphic() || c == ' '), "{fault}");
}

#[tokio::test]
async fn the_greeting_of_another_service_is_readable_in_any_script() {
    let greeting = "220 文件服务器就绪 é🎉\u{200b}\r\n";
    let fault = fault_of(Script::SaysAndCloses(greeting.as_bytes()), LONG, Reason::NotSsh).await;
    assert_eq!(text(&fault, "said"), "220 文件服务器就绪 é🎉.");
}

#[tokio::test]
async fn a_peer_that_turns_connections_away_throttles() {
    for words in [&b"Exceeded MaxStartups\r\n"[..], b"Not allowed at this time\r\n"] {
        for script in [Script::SaysAndCloses(words), Script::SaysAndResets(words)] {
            let fault = fault_of(script, LONG, Reason::Throttled).await;
            assert_eq!(text(&fault, "said"), String::from_utf8_lossy(words).trim());
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_or_reset_is_lost() {
    for script in [Script::SaysAndCloses(b""), Script::SaysAndResets(b"")] {
        let fault = fault_of(script, LONG, Reason::ConnectionLost).await;
        assert_eq!(text(&fault, "phase"), "banner");
    }
    for script in [Script::SaysAndCloses(BANNER), Script::SaysAndResets(BANNER)] {
        let fault = fault_of(script, LONG, Reason::ConnectionLost).await;
        assert_eq!(text(&fault, "phase"), "handshake");
    }
}

#[tokio::test]
async fn four_logins_at_a_time_are_made_on_one_server() {
    let mut peer = NonSshPeer::start(Script::Silent).await;
    let mut settings = ssh_settings();
    settings.handshake_timeout = LONG;
    let verifier = Verifier::new(&settings);
    let login = login(peer.address, "anyone", SshCredentials::password(secret("hunter2")));
    let mut visits = JoinSet::new();
    let mut handles = Vec::new();
    for _ in 0..6 {
        let (verifier, login) = (verifier.clone(), login.clone());
        handles.push(visits.spawn(async move {
            let _ = check(&verifier, &login, LONG).await;
        }));
    }
    peer.until_opened(4).await;
    // The peer accepts this connection after all earlier ones.
    let own = TcpStream::connect(peer.address).await.unwrap();
    peer.until_opened(5).await;
    assert_eq!(peer.opened(), 5);
    for first in &handles[..2] {
        first.abort();
    }
    peer.until_opened(7).await;
    drop(own);
}

#[tokio::test]
async fn a_wait_that_shortens_a_phase_is_not_the_servers_time() {
    let mut peer = NonSshPeer::start(Script::Silent).await;
    let mut settings = ssh_settings();
    settings.handshake_timeout = LONG;
    let verifier = Verifier::new(&settings);
    let login = login(peer.address, "anyone", SshCredentials::password(secret("hunter2")));
    let mut visits = JoinSet::new();
    for _ in 0..4 {
        let (verifier, login) = (verifier.clone(), login.clone());
        visits.spawn(async move {
            let _ = check(&verifier, &login, LONG).await;
        });
    }
    peer.until_opened(4).await;
    // One time for the preparation and the login.
    let fifth = check(&verifier, &login, Duration::from_secs(2));
    tokio::pin!(fifth);
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut fifth).await;
    assert!(waits.is_err(), "a fifth login has a permit");
    visits.shutdown().await;
    let fault = expect(fifth.await, Reason::AgentBusy);
    assert_eq!(text(&fault, "phase"), "banner");
    assert!(fault.details().contains("the server accepted the connection"), "{fault}");
    let number = |name: &str| match fault.facts()[name] {
        Fact::Number(number) => number,
        _ => panic!("{name} is no number"),
    };
    assert!((500..2000).contains(&number("waitedMilliseconds")), "{fault}");
    assert!(number("givenMilliseconds") <= 1500, "{fault}");
}
