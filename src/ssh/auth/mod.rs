//! The login: sends the methods that `method` picks until the server accepts the login or no method
//! is left. It never sends a method twice, nor a key twice with the same hash.

pub(super) mod key_format;
pub(super) mod method;
pub(super) mod private_key;

use std::sync::Arc;

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse as Reply, Prompt};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{Error, MethodKind, MethodSet};
use tokio::time::{Instant, timeout_at};

use crate::common::{MAX_QUOTED, sanitize_ascii};
use crate::model::{Fault, Reason, Secret};

use super::session::SshSession;
use super::session::classify;
use method::{AuthMethod, AuthProgress};

/// Maximum number of keyboard-interactive rounds. PAM sends one round with a prompt and then one
/// without. After the answer to the last round the login fails, and the server's decision about it
/// is not read.
const MAX_PROMPT_ROUNDS: usize = 8;

/// Material for the authentication of one login.
pub(super) struct AuthMaterial<'a> {
    pub(super) username: &'a str,
    pub(crate) key: Option<Arc<PrivateKey>>,
    pub(super) password: Option<&'a Secret>,
    /// True if an RSA key may sign with SHA-1 for a server that supports nothing better.
    pub(super) rsa_sha1: bool,
}

/// The server's answer to one method.
enum MethodOutcome {
    Accepted,
    Rejected {
        offered: MethodSet,
        partial_success: bool,
    },
    /// Not sent, because the server accepts no signature that the key may make.
    NotSent,
}

/// Logs in and returns the methods that the server accepted, in order. Ends by `until`.
///
/// # Errors
/// `auth_timeout`, `credentials_refused`, `method_not_offered`, `second_factor_missing`,
/// `no_common_algorithm` (of signatures), `connection_lost`.
pub(super) async fn log_in(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    until: Instant,
) -> Result<Vec<AuthMethod>, Fault> {
    let mut progress = AuthProgress::new(material.key.is_some(), material.password.is_some());
    let outcome = timeout_at(until, run_methods(session, material, &mut progress)).await;
    let fault = match outcome {
        Ok(Ok(method)) => return Ok(progress.into_accepted(method)),
        Ok(Err(fault)) => fault,
        Err(_) => {
            // The server has not replied yet and would not read a disconnect before it.
            session.skip_disconnect();
            Fault::new(Reason::AuthTimeout, "the server did not accept or reject the login in time")
        }
    };
    Err(fault
        .with_detail("methodsTried", progress.tried_methods())
        .with_detail("methodsOffered", progress.offered_methods()))
}

/// Sends methods until one completes the login, and returns that method.
async fn run_methods(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    progress: &mut AuthProgress,
) -> Result<AuthMethod, Fault> {
    let mut no_signature = None;
    while let Some(method) = progress.next_method() {
        let outcome = match (method, &material.key, material.password) {
            (AuthMethod::PublicKey, Some(key), _) => try_publickey(session, material, key).await?,
            (AuthMethod::Password, _, Some(password)) => {
                try_password(session, material, password).await?
            }
            (AuthMethod::KeyboardInteractive, _, Some(password)) => {
                try_keyboard_interactive(session, material, password).await?
            }
            // `progress` picks only methods that have a secret.
            _ => break,
        };
        match outcome {
            MethodOutcome::Accepted => return Ok(method),
            MethodOutcome::Rejected { offered, partial_success: true } => {
                progress.record_partial_success(method, offered)
            }
            MethodOutcome::Rejected { offered, partial_success: false } => {
                progress.record_rejection(method, offered)
            }
            MethodOutcome::NotSent => {
                progress.record_skipped(method);
                no_signature = Some(no_common_signature());
            }
        }
    }
    let fault = rejection_fault(material.username, progress);
    Err(match no_signature {
        Some(no_signature) if fault.reason() == Reason::MethodNotOffered => no_signature,
        _ => fault,
    })
}

fn rejection_fault(username: &str, progress: &AuthProgress) -> Fault {
    let offered = progress.offered_methods().join(", ");
    let reason = progress.failure_reason();
    let details = match reason {
        Reason::SecondFactorMissing => {
            format!(
                "the server accepted one method of {username} and requires another one: {offered}"
            )
        }
        Reason::MethodNotOffered => {
            format!("the server accepts only {offered} from {username}")
        }
        _ => format!("the server rejected the login of {username}"),
    };
    Fault::new(reason, details)
}

async fn try_password(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    password: &Secret,
) -> Result<MethodOutcome, Fault> {
    let result =
        session.handle.authenticate_password(material.username, password.expose_secret()).await;
    method_outcome(session, result).await
}

async fn try_publickey(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    key: &Arc<PrivateKey>,
) -> Result<MethodOutcome, Fault> {
    let mut outcome = MethodOutcome::NotSent;
    for hash in signature_hashes(session, key, material.rsa_sha1).await? {
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        let result = session.handle.authenticate_publickey(material.username, key).await;
        outcome = method_outcome(session, result).await?;
        match &outcome {
            // The method is still offered, so the server may have rejected only the hash.
            MethodOutcome::Rejected { offered, partial_success: false }
                if offered.contains(&MethodKind::PublicKey) => {}
            _ => break,
        }
    }
    Ok(outcome)
}

fn no_common_signature() -> Fault {
    let details = "the server accepts only SHA-1 signatures of an RSA key";
    Fault::new(Reason::NoCommonAlgorithm, details)
        .with_detail("kind", "signature")
        .with_detail("ours", ["rsa-sha2-512", "rsa-sha2-256"].map(str::to_owned).to_vec())
        .with_detail("theirs", vec!["ssh-rsa".to_owned()])
}

/// Returns the hashes to sign with, at most two.
///
/// A server names the hashes for RSA keys in `server-sig-algs` (RFC 8308). If it does, only that
/// hash is tried, as ssh(1) does, because each attempt counts towards `MaxAuthTries`. With
/// `rsa_sha1` set, SHA-1 is tried after it. If the server does not, two hashes are tried, the
/// stronger one first. Old servers with SHA-2 may support only the weaker one. Other keys have one
/// fixed hash.
async fn signature_hashes(
    session: &mut SshSession,
    key: &PrivateKey,
    rsa_sha1: bool,
) -> Result<Vec<Option<HashAlg>>, Fault> {
    if !key.algorithm().is_rsa() {
        return Ok(vec![None]);
    }
    match session.handle.best_supported_rsa_hash().await {
        // Some servers list all built-in algorithms, including those that their settings forbid.
        Ok(Some(Some(hash))) if rsa_sha1 => Ok(vec![Some(hash), None]),
        Ok(Some(Some(hash))) => Ok(vec![Some(hash)]),
        Ok(Some(None)) => Ok(if rsa_sha1 { vec![None] } else { Vec::new() }),
        Ok(None) if rsa_sha1 => Ok(vec![Some(HashAlg::Sha512), None]),
        Ok(None) => Ok(vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)]),
        Err(_) => Err(connection_lost(session).await),
    }
}

/// Answers the server's prompts (RFC 4256). The password answers one hidden prompt. A round without
/// prompts gets an empty answer. Any other prompt needs a user, so the login fails.
async fn try_keyboard_interactive(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    password: &Secret,
) -> Result<MethodOutcome, Fault> {
    let mut answered_prompt: Option<String> = None;
    let mut reply =
        session.handle.authenticate_keyboard_interactive_start(material.username, None).await;
    // The names and instructions that the server sent with its prompts, over all rounds.
    let mut server_text = String::new();
    for _ in 0..MAX_PROMPT_ROUNDS {
        let prompts = match reply {
            Ok(Reply::Success) => return Ok(MethodOutcome::Accepted),
            Ok(Reply::Failure { remaining_methods: offered, partial_success }) => {
                return Ok(MethodOutcome::Rejected { offered, partial_success });
            }
            Ok(Reply::InfoRequest { name, instructions, prompts }) => {
                let texts = [server_text.as_str(), &name, &instructions].join("\n");
                server_text = sanitize_ascii(texts.as_bytes(), MAX_QUOTED);
                prompts
            }
            Err(_) => return Err(connection_lost(session).await),
        };
        let answers = match prompts.as_slice() {
            [] => Vec::new(),
            [hidden] if !hidden.echo && answered_prompt.is_none() => {
                answered_prompt = Some(hidden.prompt.clone());
                // Texts from here on refer to the password.
                server_text.clear();
                vec![password.expose_secret().to_owned()]
            }
            other_prompts => {
                session.skip_disconnect();
                return Err(unanswerable_prompts(
                    material.username,
                    &server_text,
                    other_prompts,
                    answered_prompt.as_deref(),
                ));
            }
        };
        reply = session.handle.authenticate_keyboard_interactive_respond(answers).await;
    }
    session.skip_disconnect();
    let details = format!(
        "the server sent {MAX_PROMPT_ROUNDS} rounds of prompts to {}, the maximum that the daemon \
         answers",
        material.username
    );
    Err(Fault::new(Reason::SecondFactorMissing, details).with_detail("rounds", MAX_PROMPT_ROUNDS))
}

/// Returns the fault for prompts that the daemon cannot answer. The same prompt again means that
/// the password was wrong. A prompt for a new password means that it has expired. Any other prompt
/// means that the password alone is not sufficient.
fn unanswerable_prompts(
    username: &str,
    server_text: &str,
    prompts: &[Prompt],
    answered_prompt: Option<&str>,
) -> Fault {
    let prompt_texts: Vec<String> = prompts
        .iter()
        .take(4)
        .map(|prompt| sanitize_ascii(prompt.prompt.as_bytes(), MAX_QUOTED))
        .collect();
    let is_repeated = match (prompts, answered_prompt) {
        ([prompt], Some(answered)) => prompt.prompt == answered,
        _ => false,
    };
    let fault = if is_repeated {
        Fault::new(
            Reason::CredentialsRefused,
            format!("the server rejected the login of {username}"),
        )
    } else if answered_prompt.is_some() && requires_new_password(server_text, &prompt_texts) {
        let details =
            format!("the server accepts {username}'s password but requires a new one first");
        Fault::new(Reason::CredentialsRefused, details).with_remedy(
            "change the user's password on the server, then give the store the new one: imagestore-agent update",
        )
    } else {
        let details = format!("the server asks {username} for more than the password");
        Fault::new(Reason::SecondFactorMissing, details)
    };
    let fault = if server_text.is_empty() { fault } else { fault.with_detail("told", server_text) };
    fault.with_detail("asked", prompt_texts)
}

/// Returns true if a text or a prompt requires a new password, in the words of pam_unix(8) and
/// similar modules.
fn requires_new_password(server_text: &str, prompt_texts: &[String]) -> bool {
    const EXPIRED_PASSWORD_TEXTS: [&str; 4] =
        ["change your password", "password has expired", "password expired", "changing password"];
    const NEW_PASSWORD_PROMPTS: [&str; 3] =
        ["new password", "current password", "current unix password"];
    let contains_any = |text: &str, words: &[&str]| {
        let text = text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    };
    contains_any(server_text, &EXPIRED_PASSWORD_TEXTS)
        || prompt_texts.iter().any(|prompt| contains_any(prompt, &NEW_PASSWORD_PROMPTS))
}

/// Converts russh's result of one method. russh also reports a lost session as a rejection without
/// an offer. Only the recorded end of the session distinguishes the two.
async fn method_outcome(
    session: &mut SshSession,
    result: Result<AuthResult, Error>,
) -> Result<MethodOutcome, Fault> {
    match result {
        Ok(AuthResult::Success) => Ok(MethodOutcome::Accepted),
        Ok(AuthResult::Failure { remaining_methods: offered, partial_success }) => {
            if offered.is_empty() {
                session.wait_closed().await;
                if let Some(fault) = classify::auth_error(&session.transcript) {
                    return Err(fault);
                }
            }
            Ok(MethodOutcome::Rejected { offered, partial_success })
        }
        Err(_) => Err(connection_lost(session).await),
    }
}

async fn connection_lost(session: &mut SshSession) -> Fault {
    session.wait_closed().await;
    classify::auth_error(&session.transcript).unwrap_or_else(|| {
        Fault::new(
            Reason::CredentialsRefused,
            "the server rejected the login and offers no other method",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str) -> Prompt {
        Prompt { prompt: text.into(), echo: false }
    }

    #[test]
    fn a_repeated_prompt_is_a_rejection_and_another_one_a_second_factor() {
        let reason = |prompts: &[Prompt], answered_prompt| {
            unanswerable_prompts("u", "", prompts, answered_prompt).reason()
        };
        assert_eq!(reason(&[prompt("Password: ")], Some("Password: ")), Reason::CredentialsRefused);
        assert_eq!(reason(&[prompt("Code: ")], Some("Password: ")), Reason::SecondFactorMissing);
        assert_eq!(reason(&[prompt("a"), prompt("b")], None), Reason::SecondFactorMissing);
    }

    #[test]
    fn an_expired_password_has_its_own_remedy() {
        let after = |server_text: &str, text: &str| {
            unanswerable_prompts("u", server_text, &[prompt(text)], Some("Password: "))
        };
        for (server_text, text) in [
            ("You are required to change your password immediately", "Code: "),
            ("", "Current password: "),
            ("", "New password: "),
        ] {
            let fault = after(server_text, text);
            assert_eq!(fault.reason(), Reason::CredentialsRefused, "{server_text} {text}");
            assert!(fault.remedy().starts_with("change the user's password"), "{fault:?}");
        }
        // Asked before anything was given, it is a question like others.
        let first =
            unanswerable_prompts("u", "", &[prompt("New password: "), prompt("Again: ")], None);
        assert_eq!(first.reason(), Reason::SecondFactorMissing);
    }
}
