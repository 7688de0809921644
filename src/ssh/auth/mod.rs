//! The login: sends the methods that `method` picks until the server accepts the login or no method
//! is left. It never sends a method twice, nor a key twice with the same hash.

mod conversation;
mod key_error;
pub(super) mod key_format;
pub(super) mod method;
pub(super) mod private_key;
mod server_words;

use std::sync::Arc;
use std::time::Duration;

use russh::client::AuthResult;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{Error, MethodKind, MethodSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::model::{Fault, Reason, Remedy, Secret};

use super::session::SshSession;
use super::session::login_end::login_end_fault;
use super::session::transcript::PeerTranscript;
use method::{AuthMethod, AuthProgress};
use server_words::ServerWords;

/// Maximum time to wait for a text after the rejection of the last method. RFC 4252 section 5.4
/// permits a banner there. A server that sends one sends it with the rejection.
const LATE_WORDS_TIMEOUT: Duration = Duration::from_millis(20);

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
/// `no_common_algorithm` (of signatures), `throttled`, `connection_lost`. The facts `told` and
/// `asked` quote the words of the server.
pub(super) async fn log_in(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    until: Instant,
) -> Result<Vec<AuthMethod>, Fault> {
    let mut progress = AuthProgress::new(material.key.is_some(), material.password.is_some());
    let mut words = ServerWords::new(material.password);
    session.transcript.begin_login();
    let outcome =
        timeout_at(until, run_methods(session, material, &mut progress, &mut words)).await;
    let fault = match outcome {
        Ok(Ok(MethodsEnd::Accepted(method))) => return Ok(progress.into_accepted(method)),
        Ok(Ok(MethodsEnd::NoneLeft { no_signature })) => {
            record_last_words(&session.transcript, &mut words).await;
            let fault = rejection_fault(material.username, &progress, &words.joined_texts());
            no_signature.filter(|_| fault.reason() == Reason::MethodNotOffered).unwrap_or(fault)
        }
        Ok(Err(fault)) => fault,
        Err(_) => {
            // The server has not replied yet and would not read a disconnect before it.
            session.skip_disconnect();
            words.record_texts(&session.transcript.take_banners());
            let has_answered = session.transcript.has_answered_credential();
            undecided_fault(progress.next_method(), has_answered, &words.joined_texts())
                .with_detail("said", session.transcript.first_line())
        }
    };
    words.record_texts(&session.transcript.take_banners());
    Err(words
        .add_to(fault)
        .with_detail("methodsTried", progress.tried_methods())
        .with_detail("methodsOffered", progress.offered_methods()))
}

/// Returns the fault for a login that the server did not decide in time. `pending` is the method
/// that waits for the decision. `has_answered` is true if the server sent something after it that
/// is no decision. `texts` are the words of the server.
///
/// russh discards `SSH_MSG_USERAUTH_PASSWD_CHANGEREQ`, so this answer to an expired password is not
/// visible. `docs/decisions/0005-password-change-request.md` has the alternatives.
fn undecided_fault(pending: Option<AuthMethod>, has_answered: bool, texts: &str) -> Fault {
    let fault = match has_answered {
        true => unreadable_answer_fault(pending),
        false => {
            let details = "the server did not accept or reject the login in time";
            Fault::new(Reason::AuthTimeout, details)
        }
    };
    match texts {
        "" => fault,
        texts => fault.append_details(&format!("; it sent \"{texts}\"")),
    }
}

/// Returns the fault for an answer that is no decision.
fn unreadable_answer_fault(pending: Option<AuthMethod>) -> Fault {
    let fault = if pending == Some(AuthMethod::Password) {
        let details = "the server answered the password, but neither accepted nor rejected it in \
                       time; it may be asking for a new password (RFC 4252 section 8)";
        Fault::new(Reason::AuthTimeout, details).with_remedy(Remedy::CheckPasswordAge)
    } else {
        let details = "the server answered the login, but neither accepted nor rejected it in time";
        Fault::new(Reason::AuthTimeout, details)
    };
    fault.with_possible_rejection()
}

/// End of the methods of one login.
enum MethodsEnd {
    /// This method completed the login.
    Accepted(AuthMethod),
    /// No method is left. `no_signature` is the fault of a key without a common signature.
    NoneLeft { no_signature: Option<Fault> },
}

/// Sends methods until one completes the login or none is left.
async fn run_methods(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    progress: &mut AuthProgress,
    words: &mut ServerWords<'_>,
) -> Result<MethodsEnd, Fault> {
    let mut no_signature = None;
    while let Some(method) = progress.next_method() {
        let outcome = match (method, &material.key, material.password) {
            (AuthMethod::PublicKey, Some(key), _) => {
                try_publickey(session, material, key, words).await?
            }
            (AuthMethod::Password, _, Some(password)) => {
                try_password(session, material, password, words).await?
            }
            (AuthMethod::KeyboardInteractive, _, Some(password)) => {
                conversation::try_keyboard_interactive(session, material, password, words).await?
            }
            // `progress` picks only methods that have a secret.
            _ => break,
        };
        match outcome {
            MethodOutcome::Accepted => return Ok(MethodsEnd::Accepted(method)),
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
    Ok(MethodsEnd::NoneLeft { no_signature })
}

/// Records the banners, one after the rejection included, and the text of a disconnect.
async fn record_last_words(transcript: &PeerTranscript, words: &mut ServerWords<'_>) {
    let _ = timeout(LATE_WORDS_TIMEOUT, transcript.wait_banner_or_end()).await;
    words.record_texts(&transcript.take_banners());
    if let Some(message) = transcript.disconnect_message() {
        words.record_text(message);
    }
}

fn rejection_fault(username: &str, progress: &AuthProgress, texts: &str) -> Fault {
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
        _ if texts.is_empty() => format!("the server rejected the login of {username}"),
        _ => format!("the server rejected the login of {username}: \"{texts}\""),
    };
    Fault::new(reason, details)
}

async fn try_password(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    password: &Secret,
    words: &ServerWords<'_>,
) -> Result<MethodOutcome, Fault> {
    let result =
        session.handle.authenticate_password(material.username, password.expose_secret()).await;
    method_outcome(session, material, words, result).await
}

async fn try_publickey(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    key: &Arc<PrivateKey>,
    words: &ServerWords<'_>,
) -> Result<MethodOutcome, Fault> {
    let mut outcome = MethodOutcome::NotSent;
    for hash in signature_hashes(session, material, key, words).await? {
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        let result = session.handle.authenticate_publickey(material.username, key).await;
        outcome = method_outcome(session, material, words, result).await?;
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
    material: &AuthMaterial<'_>,
    key: &PrivateKey,
    words: &ServerWords<'_>,
) -> Result<Vec<Option<HashAlg>>, Fault> {
    let rsa_sha1 = material.rsa_sha1;
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
        Err(_) => Err(connection_lost(session, material, words).await),
    }
}

/// Converts russh's result of one method. russh also reports a lost session as a rejection without
/// an offer. Only the recorded end of the session distinguishes the two.
async fn method_outcome(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    words: &ServerWords<'_>,
    result: Result<AuthResult, Error>,
) -> Result<MethodOutcome, Fault> {
    match result {
        Ok(AuthResult::Success) => Ok(MethodOutcome::Accepted),
        Ok(AuthResult::Failure { remaining_methods: offered, partial_success }) => {
            if offered.is_empty()
                && let Some(fault) = session_end_fault(session, material, words).await
            {
                return Err(fault);
            }
            Ok(MethodOutcome::Rejected { offered, partial_success })
        }
        Err(_) => Err(connection_lost(session, material, words).await),
    }
}

async fn connection_lost(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    words: &ServerWords<'_>,
) -> Fault {
    session_end_fault(session, material, words).await.unwrap_or_else(|| {
        Fault::new(
            Reason::CredentialsRefused,
            "the server rejected the login and offers no other method",
        )
    })
}

/// Waits for the end of the session and returns its fault, or `None` if it was a rejection.
async fn session_end_fault(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    words: &ServerWords<'_>,
) -> Option<Fault> {
    session.wait_closed().await;
    let banners = words.quote_all(&session.transcript.banners());
    let quote = |text: &str| words.quote(text);
    login_end_fault(&session.transcript, material.username, &banners, quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};

    #[test]
    fn an_undecided_login_counts_as_rejected_if_the_server_answered_it() {
        let fault = undecided_fault(Some(AuthMethod::Password), true, "");
        assert!(fault.details().contains("RFC 4252") && fault.counts_as_rejection(), "{fault}");
        assert!(
            fault_action(&fault, Language::English).starts_with("change the password"),
            "{fault:?}"
        );
        let fault = undecided_fault(Some(AuthMethod::PublicKey), true, "");
        assert!(!fault.details().contains("password") && fault.counts_as_rejection(), "{fault}");
        for pending in [Some(AuthMethod::Password), None] {
            let fault = undecided_fault(pending, false, "Account locked");
            assert!(!fault.counts_as_rejection() && fault.own_remedy().is_none(), "{fault}");
            assert!(fault.details().ends_with("in time; it sent \"Account locked\""), "{fault}");
        }
    }
}
