//! Classification of a session that ended during the login: pure functions over the transcript of
//! the peer. The code of `SSH_MSG_DISCONNECT` (RFC 4253 section 11.1) decides before its text,
//! because a server may write the text in any language.
//!
//! # Guarantees
//! - A fault after a sent credential counts as a possible rejection of it.

use russh::Disconnect;

use crate::model::{Fault, Reason, Remedy};

use super::classify;
use super::transcript::{PeerTranscript, SessionEnd};

/// Words of a refusal that some servers send with a code of another meaning. OpenSSH, Apache MINA
/// and the SSH package of Go send the first ones with the code of a protocol error
/// (`auth_maxtries_exceeded` in OpenSSH's auth.c).
const REFUSAL_WORDS: [&str; 4] =
    ["too many authentication failures", "authentication failed", "access denied", "login denied"];

/// Start of the identification of OpenSSH. Its server closes the connection without a message if
/// the account rules of PAM refuse a user (`do_pam_account` in auth2.c).
const OPENSSH_IDENTIFICATION: &str = "SSH-2.0-OpenSSH";
/// Start of the identification of Dropbear. Its server closes the connection in place of the answer
/// to the last permitted login (`send_msg_userauth_failure` in svr-auth.c).
const DROPBEAR_IDENTIFICATION: &str = "SSH-2.0-dropbear";

/// Returns the fault for a session that ended during the login. `banners` are the banners of the
/// peer, and `quote` makes another text of it safe to display. Returns `None` if the end was the
/// rejection of the last method.
pub(crate) fn login_end_fault(
    transcript: &PeerTranscript,
    username: &str,
    banners: &str,
    quote: impl Fn(&str) -> String,
) -> Option<Fault> {
    let is_credential_sent = transcript.is_credential_sent();
    let fault = match transcript.session_end() {
        Some(SessionEnd::NoMethodLeft) => return None,
        Some(SessionEnd::Disconnected { code, message }) => {
            disconnect_fault(username, code, &quote(message))
        }
        Some(SessionEnd::Closed) if is_credential_sent => {
            close_fault(username, banners, &transcript.first_line())
        }
        _ => classify::connection_lost_fault(
            transcript,
            "the connection ended during authentication",
        ),
    };
    Some(if is_credential_sent { fault.with_possible_rejection() } else { fault })
}

fn disconnect_fault(username: &str, code: &Disconnect, message: &str) -> Fault {
    use Disconnect::{
        AuthCancelledByUser, HostNotAllowedToConnect, IllegalUserName, NoMoreAuthMethodsAvailable,
    };
    let refused = |what: &str| {
        Fault::new(Reason::CredentialsRefused, format!("{what} of {username}: \"{message}\""))
    };
    let has_refusal_words = || {
        let message = message.to_lowercase();
        REFUSAL_WORDS.iter().any(|words| message.contains(words))
    };
    let fault = match code {
        Disconnect::TooManyConnections => return classify::disconnect_fault(code, message),
        HostNotAllowedToConnect => refused("the server does not permit this host the login")
            .with_remedy(Remedy::PermitThisHost),
        NoMoreAuthMethodsAvailable | IllegalUserName | AuthCancelledByUser => {
            refused("the server rejected the login")
        }
        _ if has_refusal_words() => refused("the server rejected the login"),
        _ => return classify::disconnect_fault(code, message),
    };
    classify::with_disconnect_code(fault, code)
}

/// Returns the fault for a connection that the server closed in place of an answer.
fn close_fault(username: &str, banner: &str, identification: &str) -> Fault {
    if !banner.is_empty() {
        let details = format!(
            "the server rejected the login of {username}: it sent \"{banner}\" and closed the \
             connection"
        );
        return Fault::new(Reason::CredentialsRefused, details)
            .with_remedy(Remedy::CheckAccountRules);
    }
    if identification.starts_with(OPENSSH_IDENTIFICATION) {
        let details = format!(
            "the server closed the connection in place of an answer to the login of {username}; \
             sshd does this if the account rules of PAM refuse a user"
        );
        return Fault::new(Reason::CredentialsRefused, details)
            .with_remedy(Remedy::CheckAccountRules);
    }
    if identification.starts_with(DROPBEAR_IDENTIFICATION) {
        let details = format!(
            "the server closed the connection in place of an answer to the login of {username}; \
             Dropbear does this if it rejects the last permitted login of a connection"
        );
        return Fault::new(Reason::CredentialsRefused, details);
    }
    let details = "the server closed the connection in place of an answer to the login";
    Fault::new(Reason::ConnectionLost, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(first_line: &[u8], credential_sent: bool, end: Option<SessionEnd>) -> PeerTranscript {
        let transcript = PeerTranscript::default();
        transcript.record(first_line);
        transcript.begin_login();
        for _ in 0..if credential_sent { 2 } else { 1 } {
            transcript.record_write();
        }
        if let Some(end) = end {
            transcript.record_session_end(end);
        }
        transcript
    }

    fn disconnected(code: Disconnect, message: &str) -> Option<SessionEnd> {
        Some(SessionEnd::Disconnected { code, message: message.into() })
    }

    fn fault_of(transcript: &PeerTranscript) -> Option<Fault> {
        let banners = transcript.banners().join(" ");
        login_end_fault(transcript, "u", &banners, str::to_owned)
    }

    const SSH: &[u8] = b"SSH-2.0-x\r\n";
    const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1\r\n";

    #[test]
    fn the_code_of_a_disconnect_decides_in_any_language() {
        use Reason::{ConnectionLost, CredentialsRefused, Throttled};
        for (code, message, reason) in [
            (
                Disconnect::NoMoreAuthMethodsAvailable,
                "Keine weiteren Verfahren",
                CredentialsRefused,
            ),
            (Disconnect::IllegalUserName, "utilisateur inconnu", CredentialsRefused),
            (Disconnect::HostNotAllowedToConnect, "\u{7981}\u{6b62}", CredentialsRefused),
            (Disconnect::AuthCancelledByUser, "", CredentialsRefused),
            (Disconnect::ProtocolError, "Too many authentication failures", CredentialsRefused),
            (Disconnect::ProtocolError, "too many authentication failures: 6", CredentialsRefused),
            (Disconnect::ByApplication, "Access denied.", CredentialsRefused),
            (Disconnect::TooManyConnections, "voll", Throttled),
            (Disconnect::ProtocolError, "Zu viele Versuche", ConnectionLost),
            (Disconnect::ByApplication, "go away", ConnectionLost),
            (Disconnect::ServiceNotAvailable, "", ConnectionLost),
        ] {
            let fault = fault_of(&after(SSH, true, disconnected(code, message))).unwrap();
            assert_eq!(fault.reason(), reason, "{message}");
            assert!(fault.details().contains(message), "{fault}");
            assert!(fault.counts_as_rejection(), "{fault}");
        }
    }

    #[test]
    fn a_closed_connection_is_a_rejection_where_the_server_says_so_or_is_openssh() {
        let reason = |first_line, banner: &str, sent| {
            let transcript = after(first_line, sent, Some(SessionEnd::Closed));
            transcript.record_banner(banner);
            let fault = fault_of(&transcript).unwrap();
            assert_eq!(fault.counts_as_rejection(), sent, "{fault}");
            fault.reason()
        };
        assert_eq!(reason(SSH, "Konto abgelaufen", true), Reason::CredentialsRefused);
        assert_eq!(reason(OPENSSH, "", true), Reason::CredentialsRefused);
        assert_eq!(reason(OPENSSH, " \r\n", true), Reason::CredentialsRefused);
        assert_eq!(reason(b"SSH-2.0-dropbear_2022.83\r\n", "", true), Reason::CredentialsRefused);
        assert_eq!(reason(SSH, "", true), Reason::ConnectionLost);
        // Without a credential, nothing was rejected.
        assert_eq!(reason(OPENSSH, "hello", false), Reason::ConnectionLost);
    }

    #[test]
    fn a_failed_connection_is_lost_and_the_last_rejection_is_no_end() {
        let failed = || Some(SessionEnd::Failed("reset".into()));
        for (end, sent) in [(failed(), true), (failed(), false), (None, false)] {
            let fault = fault_of(&after(OPENSSH, sent, end)).unwrap();
            assert_eq!(fault.reason(), Reason::ConnectionLost);
            assert_eq!(fault.counts_as_rejection(), sent);
        }
        assert!(fault_of(&after(SSH, true, Some(SessionEnd::NoMethodLeft))).is_none());
    }
}
