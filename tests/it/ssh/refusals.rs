//! Refusals in the words and codes of servers other than OpenSSH, and of PAM.

use std::net::SocketAddr;
use std::time::Duration;

use imagestore_agent::model::{Fact, Fault, Reason, SshCredentials};
use imagestore_agent::ssh::LoginRequest;

use crate::ssh::{
    by_key, by_password, expect, login, secret, ssh_settings, text, verify, verify_by,
};
use crate::support::pam::PamService;
use crate::support::raw_ssh_server::RawSshServer;
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
    assert!(fault.remedy().contains("update"), "{fault:?}");
    assert!(fault.counts_as_rejection());
    // A server that is only slow has not answered.
    let server = ScriptedSshServer::start(Script::NeverDecides).await;
    let fault = expect(verify_by(&settings, &anyone(server.address)).await, Reason::AuthTimeout);
    assert!(!fault.details().contains("new password"), "{fault:?}");
    assert!(!fault.counts_as_rejection());
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
            assert!(fault.remedy().contains("PAM"), "{fault:?}");
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
