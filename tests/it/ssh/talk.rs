//! The login check against servers whose login takes turns that no sshd takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use imagestore_agent::model::{Fact, Reason, SshCredentials};
use imagestore_agent::ssh::{AuthMethod, LoginRequest};
use russh::keys::decode_secret_key;
use russh::server::{Auth, Config, PublicKeyOffer, run_stream};
use russh::{MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::ssh::{expect, list, login, secret, ssh_settings, text, verify, verify_by};
use crate::support::scripted_ssh_server::{Script, ScriptedSshServer};
use crate::support::sshd::KeyPair;

fn by_password(server: &ScriptedSshServer) -> LoginRequest {
    login(server.address, "anyone", SshCredentials::password(secret("hunter2")))
}

#[tokio::test]
async fn a_round_without_a_question_is_answered_without_a_word() {
    let server =
        ScriptedSshServer::start(Script::Asks(&[&[], &[("Password: ", false)], &[]])).await;
    let verified = verify(&by_password(&server)).await.unwrap();
    assert_eq!(verified.methods, [AuthMethod::KeyboardInteractive]);
    assert_eq!(server.answers(), ["hunter2"]);
}

#[tokio::test]
async fn a_question_beyond_the_password_is_a_missing_second_factor() {
    let rounds = Script::Asks(&[&[("Password: ", false)], &[("Verification code:\x1b ", false)]]);
    let server = ScriptedSshServer::start(rounds).await;
    let fault = expect(verify(&by_password(&server)).await, Reason::SecondFactorMissing);
    assert_eq!(list(&fault, "asked"), ["Verification code:"]);
    // The check does not answer the question for the code with the password.
    assert_eq!(server.answers(), ["hunter2"]);
}

#[tokio::test]
async fn a_question_in_chinese_is_shown_as_it_is() {
    let rounds = Script::Asks(&[&[("密码：", false)], &[("动态\u{202e}口令：\u{9b}31m", false)]]);
    let server = ScriptedSshServer::start(rounds).await;
    let fault = expect(verify(&by_password(&server)).await, Reason::SecondFactorMissing);
    assert_eq!(list(&fault, "asked"), ["动态口令： 31m"]);
}

#[tokio::test]
async fn the_password_is_never_given_to_a_question_whose_answer_is_shown() {
    for script in [
        Script::AsksForEver(&[("Password: ", true)]),
        Script::AsksForEver(&[("User: ", true), ("Password: ", false)]),
    ] {
        let server = ScriptedSshServer::start(script).await;
        expect(verify(&by_password(&server)).await, Reason::SecondFactorMissing);
        assert_eq!(server.answers(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_password_that_is_asked_for_again_was_refused() {
    let server = ScriptedSshServer::start(Script::AsksForEver(&[("Password: ", false)])).await;
    expect(verify(&by_password(&server)).await, Reason::CredentialsRefused);
    assert_eq!(server.answers(), ["hunter2"]);
}

#[tokio::test]
async fn endless_prompts_end_the_login() {
    let server = ScriptedSshServer::start(Script::AsksForEver(&[])).await;
    let fault = expect(verify(&by_password(&server)).await, Reason::SecondFactorMissing);
    assert_eq!(fault.facts()["rounds"], Fact::from(8));
}

#[tokio::test]
async fn a_server_that_takes_sha1_signatures_only_has_no_common_algorithm() {
    let server = ScriptedSshServer::start(Script::AcceptsPasswords).await;
    let private_key = Some(secret(&KeyPair::generate("rsa", "").private));
    let key = SshCredentials { password: None, private_key, passphrase: None };
    let alone = login(server.address, "anyone", key.clone());
    let fault = expect(verify(&alone).await, Reason::NoCommonAlgorithm);
    assert_eq!(text(&fault, "kind"), "signature");
    assert_eq!(list(&fault, "theirs"), ["ssh-rsa"]);
    // With a password in the request the check skips the key.
    let both = SshCredentials { password: Some(secret("hunter2")), ..key };
    let verified = verify(&login(server.address, "anyone", both)).await.unwrap();
    assert_eq!(verified.methods, [AuthMethod::Password]);
}

#[tokio::test]
async fn a_server_that_never_decides_is_an_authentication_timeout() {
    let server = ScriptedSshServer::start(Script::NeverDecides).await;
    let mut settings = ssh_settings();
    settings.auth_timeout = Duration::from_millis(300);
    let fault = expect(verify_by(&settings, &by_password(&server)).await, Reason::AuthTimeout);
    assert_eq!(text(&fault, "phase"), "authentication");
    assert!(matches!(fault.facts()["milliseconds"], Fact::Number(300..3000)), "{fault:?}");
}

#[tokio::test]
async fn a_connection_that_ends_during_the_login_is_lost_and_not_refused() {
    let server = ScriptedSshServer::start(Script::Disconnects).await;
    let fault = expect(verify(&by_password(&server)).await, Reason::ConnectionLost);
    assert_eq!(text(&fault, "phase"), "authentication");
}

/// Refuses the first key, then offers passwords alone, and counts the keys.
#[derive(Clone, Default)]
struct OneKeyOnly(Arc<AtomicU32>);

impl russh::server::Handler for OneKeyOnly {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let passwords = MethodSet::from(&[MethodKind::Password][..]);
        Ok(Auth::Reject { proceed_with_methods: Some(passwords), partial_success: false })
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }
}

#[tokio::test]
async fn a_key_that_is_no_longer_asked_for_is_not_tried_with_another_hash() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = OneKeyOnly::default();
    let verify_against = seen.clone();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let key = decode_secret_key(&KeyPair::generate("ed25519", "").private, None).unwrap();
        let config =
            Config { keys: vec![key], auth_rejection_time: Duration::ZERO, ..Config::default() };
        let (tcp, _) = listener.accept().await.unwrap();
        let session = run_stream(Arc::new(config), tcp, verify_against).await.unwrap();
        // The client judges the end of the session.
        let _ = session.await;
    });
    let both = SshCredentials {
        password: Some(secret("hunter2")),
        private_key: Some(secret(&KeyPair::generate("rsa", "").private)),
        passphrase: None,
    };
    let mut settings = ssh_settings();
    settings.legacy = vec!["ssh-rsa".to_owned()];
    let verified = verify_by(&settings, &login(address, "anyone", both)).await.unwrap();
    assert_eq!(verified.methods, [AuthMethod::Password]);
    assert_eq!(seen.0.load(Ordering::Relaxed), 1);
}
