//! Refusals in the words and codes of servers other than OpenSSH, and of PAM.

use std::net::SocketAddr;
use std::time::Duration;

use imagestore_agent::model::{Fact, Fault, HostIdentity, Obstacle, Reason, SshCredentials};
use imagestore_agent::ssh::LoginRequest;

use crate::ssh::{
    by_key, by_password, expect, login, secret, ssh_settings, text, verify, verify_by,
};
use crate::support::dropbear::Dropbear;
use crate::support::failures::english_action;
use crate::support::pam::PamService;
use crate::support::raw_ssh_server::{self, Moment, RawSshServer};
use crate::support::requirements::{needs_root, run};
use crate::support::scripted_ssh_server::{Script, ScriptedSshServer};
use crate::support::sshd::{Builder, KeyPair, User};

fn anyone(address: SocketAddr) -> LoginRequest {
    login(address, "anyone", SshCredentials::password(secret("hunter2")))
}

async fn fault_of(script: Script) -> Fault {
    let server = ScriptedSshServer::start(script).await;
    verify(&anyone(server.address)).await.unwrap_err()
}

#[tokio::test]
async fn a_disconnect_is_a_refusal_by_its_code_in_any_language() {
    use Reason::{ConnectionLost, CredentialsRefused, Throttled};
    for (code, message, reason) in [
        (14, "Keine weiteren Anmeldeverfahren für hunter2", CredentialsRefused),
        (15, "用户名无效", CredentialsRefused),
        (13, "abgebrochen", CredentialsRefused),
        (1, "hôte refusé", CredentialsRefused),
        (12, "trop de connexions", Throttled),
        (2, "Too many authentication failures", CredentialsRefused),
        (2, "Zu viele Fehlversuche", ConnectionLost),
        (11, "bis bald", ConnectionLost),
    ] {
        let server = RawSshServer::disconnecting(code, message).await;
        let fault = expect(verify(&anyone(server.address)).await, reason);
        // The server repeats the password, and the daemon does not.
        let shown = message.replace("hunter2", "***");
        assert!(fault.details().contains(&shown), "{fault:?}");
        assert!(fault.counts_as_rejection(), "{fault:?}");
        assert_eq!(server.logins(), 1);
    }
    // A code for private use (RFC 4250 section 4.2.2), which the SSH library does not know.
    let server = RawSshServer::disconnecting(0xfe00_0001, "Sonderfall").await;
    let fault = expect(verify(&anyone(server.address)).await, ConnectionLost);
    assert!(fault.counts_as_rejection(), "{fault:?}");
}

#[tokio::test]
async fn a_request_for_a_new_password_is_named_in_the_timeout() {
    let server = RawSshServer::requesting_new_password("Kennwort abgelaufen").await;
    let mut settings = ssh_settings();
    settings.auth_timeout = Duration::from_secs(1);
    let outcome = verify_by(&settings, &anyone(server.address)).await;
    let fault = expect(outcome, Reason::AuthTimeout);
    assert!(fault.details().contains("may be asking for a new password"), "{fault:?}");
    assert!(english_action(&fault).contains("update"), "{fault:?}");
    assert!(fault.counts_as_rejection());
    // A server that is only slow has not answered.
    let server = ScriptedSshServer::start(Script::NeverDecides).await;
    let fault = expect(verify_by(&settings, &anyone(server.address)).await, Reason::AuthTimeout);
    assert!(!fault.details().contains("new password"), "{fault:?}");
    assert!(!fault.counts_as_rejection());
}

#[tokio::test]
async fn a_banner_is_no_answer_and_a_request_for_a_new_password_after_it_is_one() {
    let mut settings = ssh_settings();
    settings.auth_timeout = Duration::from_secs(1);
    let banner = raw_ssh_server::banner("Nur für Befugte".as_bytes());
    let request = raw_ssh_server::password_change_request("Neues Kennwort");
    for (messages, is_answered) in
        [(vec![banner.clone()], false), (vec![banner.clone(), request.clone()], true)]
    {
        let server = RawSshServer::sending(Moment::Login, messages).await;
        let outcome = verify_by(&settings, &anyone(server.address)).await;
        let fault = expect(outcome, Reason::AuthTimeout);
        assert_eq!(fault.counts_as_rejection(), is_answered, "{fault:?}");
        assert_eq!(text(&fault, "told"), "Nur für Befugte");
        assert!(fault.details().contains("; it sent \"Nur für Befugte\""), "{fault:?}");
        assert_eq!(text(&fault, "said"), "SSH-2.0-scripted");
    }
}

#[tokio::test]
async fn every_banner_is_shown_also_in_parts_and_after_the_rejection() {
    let banner = |text: &str| raw_ssh_server::banner(text.as_bytes());
    let failure = raw_ssh_server::failure;
    let closing = raw_ssh_server::disconnect(2, "Zugang für hunter2 beendet".as_bytes());
    for (messages, told) in [
        (
            vec![banner("Konto gesperrt."), banner("登录失败"), failure()],
            "Konto gesperrt. 登录失败",
        ),
        (vec![failure(), banner("Konto gesperrt für hunter2")], "Konto gesperrt für ***"),
        (vec![banner("Teil 1"), failure(), banner("Teil 2")], "Teil 1 Teil 2"),
        (vec![failure(), closing], "Zugang für *** beendet"),
    ] {
        let server = RawSshServer::sending(Moment::Login, messages).await;
        let outcome = verify(&anyone(server.address)).await;
        let fault = expect(outcome, Reason::CredentialsRefused);
        assert_eq!(text(&fault, "told"), told, "{fault:?}");
        assert!(fault.details().contains(told), "{fault:?}");
        assert_eq!(server.logins(), 1);
    }
}

#[tokio::test]
async fn a_disconnect_in_each_phase_is_reported_with_its_code() {
    use Reason::{ConnectionLost, CredentialsRefused, Throttled};
    for (moment, code, reason, remedy) in [
        (Moment::KeyExchange, 1, ConnectionLost, "permit the address of this node"),
        (Moment::KeyExchange, 3, ConnectionLost, "log of sshd"),
        (Moment::KeyExchange, 12, Throttled, "MaxStartups"),
        (Moment::Service, 1, CredentialsRefused, "permit the address of this node"),
        (Moment::Service, 7, ConnectionLost, "log of sshd"),
        (Moment::Service, 12, Throttled, "MaxStartups"),
    ] {
        let message = raw_ssh_server::disconnect(code, "hôte refusé".as_bytes());
        let server = RawSshServer::sending(moment, vec![message]).await;
        let fault = expect(verify(&anyone(server.address)).await, reason);
        assert!(fault.details().contains("hôte refusé"), "{moment:?} {fault:?}");
        assert!(english_action(&fault).contains(remedy), "{moment:?} {fault:?}");
        assert_eq!(fault.facts()["disconnectCode"], Fact::from(code), "{fault:?}");
        assert_eq!(fault.counts_as_rejection(), reason == CredentialsRefused, "{fault:?}");
    }
    // The SSH library reads no disconnect with a code of its own, such as those for private use.
    let message = raw_ssh_server::disconnect(0xfe00_0001, "gesperrt für hunter2".as_bytes());
    let server = RawSshServer::sending(Moment::KeyExchange, vec![message]).await;
    let fault = expect(verify(&anyone(server.address)).await, ConnectionLost);
    assert!(fault.details().contains("4261412865: \"gesperrt für ***\""), "{fault:?}");
    // After the login, the words explain why the host is not proven.
    let message = raw_ssh_server::disconnect(11, "keine Sitzung für hunter2".as_bytes());
    let server = RawSshServer::sending(Moment::Channel, vec![message]).await;
    let verified = verify(&anyone(server.address)).await.unwrap();
    let HostIdentity::Unverified(unverified) = verified.host_identity else { panic!("verified") };
    assert_eq!(unverified.obstacle, Obstacle::ConnectionLost);
    assert!(unverified.details.contains("keine Sitzung für ***"), "{unverified:?}");
    assert!(unverified.details.contains("11 (BY_APPLICATION)"), "{unverified:?}");
}

#[tokio::test]
async fn a_text_in_another_encoding_is_named_as_a_limit_of_the_daemon() {
    for message in [
        raw_ssh_server::banner(b"Konto gesperrt f\xfcr heute"),
        raw_ssh_server::disconnect(14, b"Konto gesperrt f\xfcr heute"),
    ] {
        let server = RawSshServer::sending(Moment::Login, vec![message]).await;
        let fault = expect(verify(&anyone(server.address)).await, Reason::ConnectionLost);
        assert!(fault.details().contains("not UTF-8"), "{fault:?}");
        assert!(english_action(&fault).contains("UTF-8"), "{fault:?}");
        assert!(fault.counts_as_rejection(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_prompt_after_the_password_counts_as_a_rejection_of_it() {
    const AGAIN: &[&[(&str, bool)]] =
        &[&[("Password: ", false)], &[("Sorry, try again.\r\nPassword (2/3): ", false)]];
    const CODE: &[&[(&str, bool)]] = &[&[("Password: ", false)], &[("Code: ", false)]];
    const ONLY_CODE: &[&[(&str, bool)]] = &[&[("Code: ", true)]];
    for (rounds, reason, is_counted) in [
        (AGAIN, Reason::CredentialsRefused, true),
        (CODE, Reason::SecondFactorMissing, true),
        (ONLY_CODE, Reason::SecondFactorMissing, false),
    ] {
        let fault = fault_of(Script::Asks(rounds)).await;
        assert_eq!(fault.reason(), reason, "{fault:?}");
        assert_eq!(fault.counts_as_rejection(), is_counted, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_closes_in_place_of_its_last_answer_has_rejected_the_login() {
    needs_root!();
    let dropbear = Dropbear::start_with(&["-T", "1"]);
    let fault = expect(verify(&anyone(dropbear.address)).await, Reason::CredentialsRefused);
    assert!(fault.details().contains("Dropbear"), "{fault:?}");
    assert!(fault.counts_as_rejection(), "{fault:?}");
}

#[tokio::test]
async fn the_words_of_the_server_are_shown_with_the_refusal() {
    let banner = "Konto gesperrt \x1b[2J\r\n(zu viele Versuche mit hunter2)\r\n";
    let said = "Konto gesperrt [2J (zu viele Versuche mit ***)";
    for script in [Script::SaysAndCloses(banner), Script::SaysAndRejects(banner)] {
        let fault = fault_of(script).await;
        assert_eq!(fault.reason(), Reason::CredentialsRefused, "{fault:?}");
        assert!(fault.details().contains(said), "{fault:?}");
        assert_eq!(text(&fault, "told"), said);
    }
    let told = Script::TellsAndRejects { name: "登录", instruction: "账户已过期\n" };
    let fault = fault_of(told).await;
    assert_eq!(fault.reason(), Reason::CredentialsRefused, "{fault:?}");
    assert_eq!(text(&fault, "told"), "登录 账户已过期");
    assert!(fault.details().contains("账户已过期"), "{fault:?}");
}

#[tokio::test]
async fn a_login_that_the_eighth_answer_completes_is_accepted() {
    let rounds: &[&[(&str, bool)]] = &[&[], &[], &[], &[("Password: ", false)], &[], &[], &[], &[]];
    let server = ScriptedSshServer::start(Script::Asks(rounds)).await;
    assert!(verify(&anyone(server.address)).await.is_ok());
    // It accepts after a ninth round, which is not answered.
    const MORE: &[&[(&str, bool)]] = &[&[] as &[(&str, bool)]; 9];
    let server = ScriptedSshServer::start(Script::Asks(MORE)).await;
    let fault = expect(verify(&anyone(server.address)).await, Reason::SecondFactorMissing);
    assert_eq!(fault.facts()["rounds"], Fact::from(8));
}

const UNIX: [&str; 2] = ["auth required pam_unix.so nodelay", "session required pam_permit.so"];

#[tokio::test]
async fn an_account_that_pam_refuses_is_refused_with_the_message_of_pam() {
    needs_root!();
    let user = User::create();
    let nologin = [&UNIX[..], &["account required pam_nologin.so file={dir}/nologin"]].concat();
    let access = [&UNIX[..], &["account required pam_access.so accessfile={dir}/access"]].concat();
    let unix = [&UNIX[..], &["account required pam_unix.so"]].concat();
    let nologin = PamService::create(&nologin);
    let silent_nologin = nologin.clone();
    let access = PamService::create(&access);
    access.write("access", &format!("-:{}:ALL\n", user.name));
    let expired = PamService::create(&unix);
    for (pam, message, prepare) in [
        (
            &nologin,
            "Wartung bis 18 Uhr",
            &(|| nologin.write("nologin", "Wartung bis 18 Uhr\n")) as &dyn Fn(),
        ),
        (&silent_nologin, "account rules of PAM", &|| silent_nologin.write("nologin", "")),
        (&access, "account rules of PAM", &|| {}),
        (&expired, "account has expired", &|| {
            run("chage", &["-E", "0", &user.name]);
        }),
    ] {
        prepare();
        let sshd = Builder::new().pam(pam).start();
        let key = KeyPair::generate("ed25519", "");
        sshd.authorize(&user, &key);
        for login in [by_password(&sshd, &user), by_key(&sshd, &user, &key, None)] {
            let fault = expect(verify(&login).await, Reason::CredentialsRefused);
            assert!(fault.details().contains(message), "{message}: {fault:?}");
            assert!(english_action(&fault).contains("PAM"), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn an_account_that_faillock_locks_is_refused_with_its_message() {
    needs_root!();
    let pam = PamService::create(&[
        "auth required pam_faillock.so preauth deny=1 dir={dir}",
        "auth [success=1 default=ignore] pam_unix.so nodelay",
        "auth [default=die] pam_faillock.so authfail deny=1 dir={dir}",
        "auth sufficient pam_faillock.so authsucc deny=1 dir={dir}",
        "account required pam_permit.so",
    ]);
    let sshd = Builder::new()
        .pam(&pam)
        .line("KbdInteractiveAuthentication yes")
        .line("PasswordAuthentication no")
        .start();
    let user = User::create();
    let wrong = LoginRequest {
        credentials: SshCredentials::password(secret("hunter2")),
        ..by_password(&sshd, &user)
    };
    expect(verify(&wrong).await, Reason::CredentialsRefused);
    let fault = expect(verify(&by_password(&sshd, &user)).await, Reason::CredentialsRefused);
    assert!(text(&fault, "told").contains("account is locked"), "{fault:?}");
    assert!(fault.details().contains("account is locked"), "{fault:?}");
}
