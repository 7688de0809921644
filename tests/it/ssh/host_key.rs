//! The login check against OpenSSH: the identity of the server.

use imagestore_agent::model::{Fact, Reason};
use imagestore_agent::settings::HostKeyPolicy;
use imagestore_agent::ssh::LoginRequest;

use crate::ssh::{by_password, expect, pinned, ssh_settings, text, verify, verify_by};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, HostKeyFile, User};

#[tokio::test]
async fn a_pinned_key_is_met_again_and_a_changed_one_refused_until_it_is_pinned() {
    needs_root!();
    let (old, new) = (HostKeyFile::generate("ed25519"), HostKeyFile::generate("ed25519"));
    let user = User::create();
    let sshd = Builder::new().host_key(&old).start();
    let first = verify(&by_password(&sshd, &user)).await.unwrap().host_key;
    assert_eq!(first.fingerprint, old.fingerprint());
    assert!(verify(&pinned(&first, by_password(&sshd, &user))).await.is_ok());

    let sshd = Builder::new().host_key(&new).start();
    let changed = pinned(&first, by_password(&sshd, &user));
    let fault = expect(verify(&changed).await, Reason::HostKeyChanged);
    assert_eq!(text(&fault, "expectedFingerprint"), old.fingerprint());
    assert_eq!(text(&fault, "offeredFingerprint"), new.fingerprint());
    assert_eq!(text(&fault, "phase"), "handshake");
    // The last line that this server logs for the connection.
    sshd.until_logged("Connection closed by", 1);
    assert_eq!(sshd.logged("Accepted "), 0);

    // The facts of the fault are enough to accept the key.
    let offered = text(&fault, "offeredKey");
    let (algorithm, blob) = offered.split_once(' ').unwrap();
    let mut accepted = first.clone();
    accepted.algorithm = algorithm.to_owned();
    accepted.blob = blob.to_owned();
    accepted.fingerprint = text(&fault, "offeredFingerprint");
    assert_eq!(fault.offered_host_key(), Some(&accepted));
    let verified = verify(&pinned(&accepted, changed)).await.unwrap();
    assert_eq!(verified.host_key, accepted);
}

#[tokio::test]
async fn nothing_of_the_store_is_sent_to_a_server_with_another_key() {
    needs_root!();
    let user = User::create();
    let sshd = Builder::new().start();
    let stranger = verify(&by_password(&Builder::new().start(), &user)).await.unwrap().host_key;
    expect(verify(&pinned(&stranger, by_password(&sshd, &user))).await, Reason::HostKeyChanged);
    sshd.until_logged("Connection closed by", 1);
    // No user name has reached the server, hence no password.
    assert_eq!(sshd.logged(&user.name), 0);
}

#[tokio::test]
async fn of_several_host_keys_the_pinned_one_is_asked_for() {
    needs_root!();
    let keys = ["ed25519", "ecdsa", "rsa"].map(HostKeyFile::generate);
    let user = User::create();
    let every = keys.iter().fold(Builder::new(), Builder::host_key).start();
    for key in &keys {
        let alone = Builder::new().host_key(key).start();
        let seen = verify(&by_password(&alone, &user)).await.unwrap().host_key;
        let verified = verify(&pinned(&seen, by_password(&every, &user))).await.unwrap();
        assert_eq!(verified.host_key, seen);
        assert_eq!(seen.fingerprint, key.fingerprint());
    }
}

#[tokio::test]
async fn the_strict_policy_takes_only_a_given_or_pinned_key() {
    needs_root!();
    let key = HostKeyFile::generate("ed25519");
    let (sshd, user) = (Builder::new().host_key(&key).start(), User::create());
    let mut strict = ssh_settings();
    strict.host_key_policy = HostKeyPolicy::Strict;
    let login = by_password(&sshd, &user);

    let fault = expect(verify_by(&strict, &login).await, Reason::HostKeyUnknown);
    assert_eq!(text(&fault, "offeredFingerprint"), key.fingerprint());
    let given = |fingerprint: String| LoginRequest {
        given_fingerprints: vec!["SHA256:another".to_owned(), fingerprint],
        ..login.clone()
    };
    let other = HostKeyFile::generate("ed25519").fingerprint();
    expect(verify_by(&strict, &given(other)).await, Reason::HostKeyUnknown);
    let verified = verify_by(&strict, &given(key.fingerprint())).await.unwrap();
    assert!(verify_by(&strict, &pinned(&verified.host_key, login)).await.is_ok());
}

#[tokio::test]
async fn a_given_fingerprint_may_be_that_of_any_key_of_the_server() {
    needs_root!();
    let keys = ["ed25519", "ecdsa", "rsa"].map(HostKeyFile::generate);
    let (user, other) = (User::create(), HostKeyFile::generate("rsa"));
    for (key, connections) in keys.iter().zip(1..) {
        let sshd = keys.iter().fold(Builder::new(), Builder::host_key).start();
        let given_fingerprints = vec![other.fingerprint(), key.fingerprint()];
        let login = LoginRequest { given_fingerprints, ..by_password(&sshd, &user) };
        let verified = verify(&login).await.unwrap();
        assert_eq!(verified.host_key.fingerprint, key.fingerprint());
        sshd.until_logged("Connection from", connections);
        sshd.until_logged("Accepted password", 1);
    }
    let sshd = keys.iter().fold(Builder::new(), Builder::host_key).start();
    let login =
        LoginRequest { given_fingerprints: vec![other.fingerprint()], ..by_password(&sshd, &user) };
    let fault = expect(verify(&login).await, Reason::HostKeyUnknown);
    assert_eq!(text(&fault, "offeredFingerprint"), keys[0].fingerprint());
    let all = Fact::List(keys.iter().map(HostKeyFile::fingerprint).collect());
    assert_eq!(fault.facts()["offeredFingerprints"], all);
    // The check asked for each kind of key that it has and for one more, and no user name has
    // reached it.
    sshd.until_logged("Connection from", 4);
    assert_eq!(sshd.logged(&user.name), 0);
}

#[tokio::test]
async fn any_key_is_taken_where_the_policy_says_so() {
    needs_root!();
    let user = User::create();
    let stranger = verify(&by_password(&Builder::new().start(), &user)).await.unwrap().host_key;
    let sshd = Builder::new().start();
    let mut any = ssh_settings();
    any.host_key_policy = HostKeyPolicy::AcceptAny;
    let verified = verify_by(&any, &pinned(&stranger, by_password(&sshd, &user))).await.unwrap();
    assert_ne!(verified.host_key, stranger);
}
