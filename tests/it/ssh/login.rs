//! The login check against OpenSSH: accepted and refused logins, and the reasons.

use std::time::Duration;

use imagestore_agent::model::{Fact, Reason, SshCredentials};
use imagestore_agent::ssh::{AuthMethod, LoginRequest, Verifier};
use tokio::net::TcpStream;

use crate::ssh::{TEST_TIMEOUT, check, ssh_address, verify_by};
use crate::ssh::{by_key, by_password, expect, list, login, secret, ssh_settings, text, verify};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, HostKeyFile, KeyPair, User};

#[tokio::test]
async fn a_password_is_accepted_at_the_first_try() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    let verified = verify(&by_password(&sshd, &user)).await.unwrap();
    assert_eq!(verified.methods, [AuthMethod::Password]);
    assert_eq!(verified.peer, sshd.address);
    assert_eq!(verified.host_key.algorithm, "ssh-ed25519");
    assert!(verified.phases.handshake > Duration::ZERO);
    sshd.until_logged("login checked", 1);
    assert_eq!((sshd.accepted_logins(), sshd.logged("Failed ")), (1, 0));
}

#[tokio::test]
async fn the_result_of_a_check_does_not_wait_for_the_disconnect() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    let (verifier, login) = (Verifier::new(&ssh_settings()), by_password(&sshd, &user));
    for checks in 1..=2 {
        check(&verifier, &login, TEST_TIMEOUT).await.unwrap();
        // This runtime has one thread: the client sends nothing before the next await.
        assert_eq!(sshd.logged("login checked"), checks - 1);
        verifier.finish_disconnects().await;
        sshd.until_logged("login checked", checks);
    }
}

#[tokio::test]
async fn a_key_of_each_kind_is_accepted_with_one_try() {
    needs_root!();
    let (sshd, user) = (Builder::new().line("MaxAuthTries 1").start(), User::create());
    for (kind, options) in [
        ("ed25519", &[][..]),
        ("ecdsa", &["-b", "256"]),
        ("ecdsa", &["-b", "384"]),
        ("ecdsa", &["-b", "521"]),
        ("rsa", &["-b", "2048"]),
        ("rsa", &["-b", "2048", "-m", "PEM"]),
        ("rsa", &["-b", "2048", "-m", "PKCS8"]),
        ("ecdsa", &["-m", "PEM"]),
    ] {
        let key = KeyPair::generate_as(kind, "", options);
        sshd.authorize(&user, &key);
        let verified = verify(&by_key(&sshd, &user, &key, None)).await;
        let verified = verified.unwrap_or_else(|fault| panic!("{kind} {options:?}: {fault:?}"));
        assert_eq!(verified.methods, [AuthMethod::PublicKey]);
    }
    sshd.until_logged("Accepted publickey", 8);
}

#[tokio::test]
async fn a_key_behind_a_passphrase_is_opened() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    for (kind, options) in
        [("ed25519", &[][..]), ("rsa", &["-m", "PEM"]), ("ecdsa", &["-m", "PKCS8"])]
    {
        let key = KeyPair::generate_as(kind, "open sesame", options);
        sshd.authorize(&user, &key);
        let outcome = verify(&by_key(&sshd, &user, &key, Some("open sesame"))).await;
        outcome.unwrap_or_else(|fault| panic!("{kind} {options:?}: {fault:?}"));
        for (passphrase, words) in
            [(Some("hunter2"), "does not decrypt"), (None, "has no passphrase")]
        {
            let outcome = verify(&by_key(&sshd, &user, &key, passphrase)).await;
            let fault = expect(outcome, Reason::KeyUnusable);
            assert!(fault.details().contains(words), "{kind} {options:?}: {fault}");
            assert_eq!(text(&fault, "phase"), "key");
        }
    }
    sshd.until_logged("Accepted publickey", 3);
    assert_eq!(sshd.logged("Connection from"), 3);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_refused_after_one_try() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    for name in [user.name.as_str(), "nobody-of-this-name"] {
        let login = login(sshd.address, name, SshCredentials::password(secret("hunter2")));
        let fault = expect(verify(&login).await, Reason::CredentialsRefused);
        assert_eq!(list(&fault, "methodsTried"), ["password"]);
        assert_eq!(list(&fault, "methodsOffered"), ["publickey", "password"]);
        assert_eq!(text(&fault, "phase"), "authentication");
    }
    sshd.until_logged("Failed password", 2);
    sshd.until_logged("login checked", 2);
    assert_eq!(sshd.logged("Failed "), 2);
}

#[tokio::test]
async fn an_unknown_key_is_refused_and_the_password_takes_over() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    let key = KeyPair::generate("rsa", "");
    let alone = by_key(&sshd, &user, &key, None);
    let fault = expect(verify(&alone).await, Reason::CredentialsRefused);
    assert_eq!(list(&fault, "methodsTried"), ["publickey"]);
    let password = Some(secret(&user.password));
    let both = LoginRequest {
        credentials: SshCredentials { password, ..alone.credentials.clone() },
        ..alone
    };
    assert_eq!(verify(&both).await.unwrap().methods, [AuthMethod::Password]);
}

#[tokio::test]
async fn the_servers_limit_of_tries_is_a_refusal() {
    needs_root!();
    let (sshd, user) = (Builder::new().line("MaxAuthTries 1").start(), User::create());
    let login = login(sshd.address, &user.name, SshCredentials::password(secret("hunter2")));
    let fault = expect(verify(&login).await, Reason::CredentialsRefused);
    assert!(fault.details().contains("Too many authentication failures"), "{fault}");
}

#[tokio::test]
async fn a_method_that_is_off_is_not_offered() {
    needs_root!();
    let user = User::create();
    let sshd = Builder::new().line("PasswordAuthentication no").start();
    let fault = expect(verify(&by_password(&sshd, &user)).await, Reason::MethodNotOffered);
    assert_eq!(list(&fault, "methodsOffered"), ["publickey"]);
    let sshd = Builder::new().line("PubkeyAuthentication no").start();
    let login = by_key(&sshd, &user, &KeyPair::generate("ed25519", ""), None);
    let fault = expect(verify(&login).await, Reason::MethodNotOffered);
    assert_eq!(list(&fault, "methodsOffered"), ["password"]);
}

#[tokio::test]
async fn two_factors_are_both_given() {
    needs_root!();
    let two = "AuthenticationMethods publickey,password";
    let (sshd, user) = (Builder::new().line(two).start(), User::create());
    let key = KeyPair::generate("ed25519", "");
    sshd.authorize(&user, &key);
    let alone = by_key(&sshd, &user, &key, None);
    let with = |password: &str| {
        let password = Some(secret(password));
        let credentials = SshCredentials { password, ..alone.credentials.clone() };
        LoginRequest { credentials, ..alone.clone() }
    };
    let verified = verify(&with(&user.password)).await.unwrap();
    assert_eq!(verified.methods, [AuthMethod::PublicKey, AuthMethod::Password]);

    let fault = expect(verify(&alone).await, Reason::SecondFactorMissing);
    assert_eq!(list(&fault, "methodsOffered"), ["password"]);
    expect(verify(&with("hunter2")).await, Reason::CredentialsRefused);
    let fault = expect(verify(&by_password(&sshd, &user)).await, Reason::MethodNotOffered);
    assert_eq!(list(&fault, "methodsOffered"), ["publickey"]);
}

fn conversing() -> Builder {
    Builder::new()
        .line("UsePAM yes")
        .line("PasswordAuthentication no")
        .line("KbdInteractiveAuthentication yes")
}

#[tokio::test]
async fn a_prompt_is_answered_with_the_password() {
    needs_root!();
    let (sshd, user) = (conversing().start(), User::create());
    let verified = verify(&by_password(&sshd, &user)).await.unwrap();
    assert_eq!(verified.methods, [AuthMethod::KeyboardInteractive]);
    let wrong = login(sshd.address, &user.name, SshCredentials::password(secret("hunter2")));
    let fault = expect(verify(&wrong).await, Reason::CredentialsRefused);
    assert_eq!(list(&fault, "methodsTried"), ["password", "keyboard-interactive"]);
}

#[tokio::test]
async fn a_rejected_password_is_not_repeated_as_an_answer_to_a_prompt() {
    needs_root!();
    let sshd = Builder::new().line("UsePAM yes").line("KbdInteractiveAuthentication yes").start();
    let user = User::create();
    let wrong = login(sshd.address, &user.name, SshCredentials::password(secret("hunter2")));
    let fault = expect(verify(&wrong).await, Reason::CredentialsRefused);
    assert_eq!(list(&fault, "methodsTried"), ["password"]);
    assert!(list(&fault, "methodsOffered").contains(&"keyboard-interactive".to_owned()));
}

#[tokio::test]
async fn pams_delay_is_waited_out_unless_the_limit_is_shorter() {
    needs_root!();
    let (sshd, user) = (Builder::new().line("UsePAM yes").start(), User::create());
    assert_eq!(verify(&by_password(&sshd, &user)).await.unwrap().methods, [AuthMethod::Password]);
    let wrong = login(sshd.address, &user.name, SshCredentials::password(secret("hunter2")));
    let fault = expect(verify(&wrong).await, Reason::CredentialsRefused);
    assert!(matches!(fault.facts()["milliseconds"], Fact::Number(1000..10_000)), "{fault:?}");
    let mut settings = ssh_settings();
    settings.auth_timeout = Duration::from_millis(200);
    let fault = expect(verify_by(&settings, &wrong).await, Reason::AuthTimeout);
    assert!(matches!(fault.facts()["milliseconds"], Fact::Number(200..1000)), "{fault:?}");
}

#[tokio::test]
async fn an_ipv6_address_is_checked_like_any_other() {
    needs_root!();
    let sshd = Builder::new().listen(std::net::Ipv6Addr::LOCALHOST).start();
    let user = User::create();
    let verified = verify(&by_password(&sshd, &user)).await.unwrap();
    assert!(verified.peer.is_ipv6());
    let address = ssh_address("[::1]", sshd.address.port());
    let bracketed = LoginRequest { address, ..by_password(&sshd, &user) };
    assert!(verify(&bracketed).await.is_ok());
}

#[tokio::test]
async fn a_server_past_its_limit_of_connections_throttles() {
    needs_root!();
    let (sshd, user) = (Builder::new().line("MaxStartups 1:100:1").start(), User::create());
    let held = TcpStream::connect(sshd.address).await.unwrap();
    // sshd counts the connection once it has sent its banner.
    held.readable().await.unwrap();
    for _ in 0..20 {
        expect(verify(&by_password(&sshd, &user)).await, Reason::Throttled);
    }
    drop(held);
}

#[tokio::test]
async fn a_frozen_listener_is_a_banner_timeout() {
    needs_root!();
    let (sshd, user) = (Builder::new().start(), User::create());
    sshd.freeze();
    let mut settings = ssh_settings();
    settings.handshake_timeout = Duration::from_millis(300);
    let outcome = verify_by(&settings, &by_password(&sshd, &user)).await;
    assert_eq!(text(&expect(outcome, Reason::BannerTimeout), "phase"), "banner");
}

#[tokio::test]
async fn old_algorithms_need_to_be_re_enabled_one_by_one() {
    needs_root!();
    let old = Builder::new()
        .host_key(&HostKeyFile::generate("rsa"))
        .line("KexAlgorithms diffie-hellman-group14-sha1")
        .line("HostKeyAlgorithms ssh-rsa")
        .line("Ciphers aes128-cbc")
        .line("MACs hmac-sha1")
        .line("PubkeyAcceptedAlgorithms ssh-rsa")
        .start();
    let user = User::create();
    let mut settings = ssh_settings();
    for (name, kind) in [
        ("diffie-hellman-group14-sha1", "key exchange"),
        ("ssh-rsa", "host key"),
        ("aes128-cbc", "cipher"),
        ("hmac-sha1", "MAC"),
    ] {
        let outcome = verify_by(&settings, &by_password(&old, &user)).await;
        let fault = expect(outcome, Reason::NoCommonAlgorithm);
        assert_eq!(text(&fault, "kind"), kind);
        assert!(list(&fault, "theirs").iter().any(|theirs| theirs == name), "{fault:?}");
        assert!(!list(&fault, "ours").is_empty());
        settings.legacy.push(name.to_owned());
    }
    let verified = verify_by(&settings, &by_password(&old, &user)).await.unwrap();
    assert_eq!(verified.host_key.algorithm, "ssh-rsa");
    let key = KeyPair::generate("rsa", "");
    old.authorize(&user, &key);
    let login = by_key(&old, &user, &key, None);
    assert_eq!(verify_by(&settings, &login).await.unwrap().methods, [AuthMethod::PublicKey]);
}

#[tokio::test]
async fn an_rsa_key_does_not_sign_with_sha1_unasked() {
    needs_root!();
    let sshd = Builder::new().line("PubkeyAcceptedAlgorithms ssh-rsa").start();
    let (user, key) = (User::create(), KeyPair::generate("rsa", ""));
    sshd.authorize(&user, &key);
    let login = by_key(&sshd, &user, &key, None);
    // This server announces the algorithms of its build, not those of its settings.
    expect(verify(&login).await, Reason::CredentialsRefused);
    let mut settings = ssh_settings();
    settings.legacy = vec!["ssh-rsa".to_owned()];
    assert_eq!(verify_by(&settings, &login).await.unwrap().methods, [AuthMethod::PublicKey]);
}
