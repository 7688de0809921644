//! Classification of a session that ended during the login: pure functions over the transcript of
//! the peer. The code of `SSH_MSG_DISCONNECT` (RFC 4253 section 11.1) decides before its text,
//! because a server may write the text in any language.
//!
//! # Guarantees
//! - A fault after a sent credential counts as a possible rejection of it.

use russh::Disconnect;

use crate::model::{Fault, Reason};

use super::classify;
use super::transcript::{PeerTranscript, SessionEnd};

/// Words of the message after too many rejections. OpenSSH and Apache MINA send them with the code
/// of a protocol error (`auth_maxtries_exceeded` in OpenSSH's auth.c).
const MAX_AUTH_TRIES_WORDS: &str = "too many authentication failures";

/// Start of the identification of OpenSSH. Its server closes the connection without a message if
/// the account rules of PAM refuse a user (`do_pam_account` in auth2.c).
const OPENSSH_IDENTIFICATION: &str = "SSH-2.0-OpenSSH";

const ACCOUNT_REMEDY: &str = "check the log of sshd: the rules for accounts on the server (PAM, an expired account, /run/nologin) \
     refuse the user, even if the credentials are right";
const HOST_REMEDY: &str =
    "permit the address of this node in the access rules of the SSH server: it refuses this host";

/// Returns the fault for a session that ended during the login. `quote` makes a text of the peer
/// safe to display. Returns `None` if the end was the rejection of the last method.
pub(crate) fn login_end_fault(
    transcript: &PeerTranscript,
    username: &str,
    quote: impl Fn(&str) -> String,
) -> Option<Fault> {
    let is_credential_sent = transcript.is_credential_sent();
    let fault = match transcript.session_end.get() {
        Some(SessionEnd::NoMethodLeft) => return None,
        Some(SessionEnd::Disconnected { code, message }) => {
            disconnect_fault(username, code, &quote(message))
        }
        Some(SessionEnd::Closed) if is_credential_sent => {
            let is_openssh = transcript.first_line().starts_with(OPENSSH_IDENTIFICATION);
            close_fault(username, &quote(&transcript.banner()), is_openssh)
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
    let fault = match code {
        Disconnect::TooManyConnections => classify::throttled_fault(message),
        HostNotAllowedToConnect => {
            refused("the server does not permit this host the login").with_remedy(HOST_REMEDY)
        }
        NoMoreAuthMethodsAvailable | IllegalUserName | AuthCancelledByUser => {
            refused("the server rejected the login")
        }
        _ if message.to_lowercase().contains(MAX_AUTH_TRIES_WORDS) => {
            refused("the server rejected the login")
        }
        _ => classify::disconnect_fault(message),
    };
    fault.with_detail("disconnectReason", format!("{code:?}"))
}

/// Returns the fault for a connection that the server closed in place of an answer.
fn close_fault(username: &str, banner: &str, is_openssh: bool) -> Fault {
    if !banner.is_empty() {
        let details = format!(
            "the server rejected the login of {username}: it sent \"{banner}\" and closed the \
             connection"
        );
        return Fault::new(Reason::CredentialsRefused, details).with_remedy(ACCOUNT_REMEDY);
    }
    if is_openssh {
        let details = format!(
            "the server closed the connection in place of an answer to the login of {username}; \
             sshd does this if the account rules of PAM refuse a user"
        );
        return Fault::new(Reason::CredentialsRefused, details).with_remedy(ACCOUNT_REMEDY);
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
            transcript.session_end.set(end).unwrap();
        }
        transcript
    }

    fn disconnected(code: Disconnect, message: &str) -> Option<SessionEnd> {
        Some(SessionEnd::Disconnected { code, message: message.into() })
    }

    fn fault_of(transcript: &PeerTranscript) -> Option<Fault> {
        login_end_fault(transcript, "u", str::to_owned)
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
