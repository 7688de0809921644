//! Classification of a broken session: pure functions over the transcript of the peer. The message
//! of the peer takes precedence over the text of an error.

use russh::{AlgorithmKind, Error};

use crate::common::sanitize_ascii;
use crate::model::{Fault, Reason};

use super::transcript::{PeerProtocol, PeerTranscript, SessionEnd};
use crate::ssh::phase::LoginPhase;

/// Texts that sshd sends instead of its identification when it rejects a connection: past
/// `MaxStartups`, and for an address in `PerSourcePenalties` (`drop_connection` in OpenSSH's
/// sshd.c).
const THROTTLE_MESSAGES: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

/// The message after `MaxAuthTries` rejections (`auth_maxtries_exceeded` in OpenSSH's auth.c).
const MAX_AUTH_TRIES_MESSAGE: &str = "Too many authentication failures";

/// Maximum number of the server's algorithm names in a fault, and maximum length of a name in
/// bytes. A peer chooses both.
const MAX_ALGORITHM_NAMES: usize = 40;
const MAX_ALGORITHM_NAME_BYTES: usize = 64;

/// Returns the fault for a handshake that failed with an error.
pub(super) fn handshake_error(error: &Error, transcript: &PeerTranscript) -> Fault {
    let fault = if let Some(fault) = throttled(transcript) {
        fault
    } else if matches!(transcript.protocol(), PeerProtocol::Incomplete | PeerProtocol::NotSsh) {
        not_ssh_fault(transcript)
    } else if let Error::NoCommonAlgo { kind, ours, theirs } = error {
        no_common_algorithm(kind, ours, theirs)
    } else {
        connection_lost_fault(transcript, &describe_error(error))
    };
    with_peer_details(fault, transcript)
}

/// Returns the fault for a handshake that timed out.
pub(super) fn handshake_timeout(transcript: &PeerTranscript) -> Fault {
    let fault = match (throttled(transcript), transcript.protocol()) {
        (Some(fault), _) => fault,
        (None, PeerProtocol::NotSsh) => not_ssh_fault(transcript),
        (None, PeerProtocol::Silent) => {
            Fault::new(Reason::BannerTimeout, "the server accepted the connection but sent no data")
        }
        (None, PeerProtocol::Incomplete) => Fault::new(
            Reason::BannerTimeout,
            "the server did not complete its identification line in time",
        ),
        (None, PeerProtocol::Ssh) => {
            Fault::new(Reason::HandshakeTimeout, "the key exchange did not end in time")
        }
    };
    with_peer_details(fault, transcript)
}

/// Returns the fault for a session that ended during authentication. Returns `None` if the end was
/// the server's rejection.
pub(crate) fn auth_error(transcript: &PeerTranscript) -> Option<Fault> {
    let fault = match transcript.session_end.get() {
        Some(SessionEnd::NoMethodLeft) => return None,
        Some(SessionEnd::Disconnected { message, .. })
            if message.contains(MAX_AUTH_TRIES_MESSAGE) =>
        {
            Fault::new(
                Reason::CredentialsRefused,
                format!("the server rejected the login: \"{message}\""),
            )
        }
        _ => throttled(transcript).unwrap_or_else(|| {
            connection_lost_fault(transcript, "the connection ended during authentication")
        }),
    };
    Some(fault)
}

fn throttled(transcript: &PeerTranscript) -> Option<Fault> {
    let first_line = transcript.first_line();
    let message = match transcript.session_end.get() {
        _ if THROTTLE_MESSAGES.iter().any(|text| first_line.contains(text)) => first_line,
        Some(SessionEnd::Disconnected { message, too_many_connections: true }) => message.clone(),
        _ => return None,
    };
    let details = format!("the server rejected the connection: \"{message}\"");
    Some(Fault::new(Reason::Throttled, details))
}

fn not_ssh_fault(transcript: &PeerTranscript) -> Fault {
    let details =
        format!("the server is not an SSH server: it sent \"{}\"", transcript.first_line());
    Fault::new(Reason::NotSsh, details)
}

fn connection_lost_fault(transcript: &PeerTranscript, otherwise: &str) -> Fault {
    let details = match transcript.session_end.get() {
        Some(SessionEnd::Disconnected { message, .. }) => {
            format!("the server disconnected: \"{message}\"")
        }
        Some(SessionEnd::Failed(how)) => format!("{otherwise}: {how}"),
        _ => otherwise.to_owned(),
    };
    Fault::new(Reason::ConnectionLost, details)
}

/// Describes the failure of a connection, or of the protocol on it.
pub(super) fn describe_error(error: &Error) -> String {
    match error {
        Error::Disconnect | Error::HUP => "the server closed the connection".to_owned(),
        Error::IO(error) => match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            std::io::ErrorKind::ConnectionReset => "the server reset the connection".to_owned(),
            _ => format!("the connection failed: {error}"),
        },
        // russh's error texts contain only algorithm names from this side.
        other => format!("the SSH protocol failed: {other}"),
    }
}

fn no_common_algorithm(kind: &AlgorithmKind, ours: &[String], theirs: &[String]) -> Fault {
    let kind = match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    };
    let theirs: Vec<String> = theirs
        .iter()
        .take(MAX_ALGORITHM_NAMES)
        .map(|name| sanitize_ascii(name.as_bytes(), MAX_ALGORITHM_NAME_BYTES))
        .collect();
    let details = format!("no common {kind} algorithm: the server offers {}", theirs.join(", "));
    Fault::new(Reason::NoCommonAlgorithm, details)
        .with_detail("kind", kind)
        .with_detail("ours", ours.to_vec())
        .with_detail("theirs", theirs)
}

/// Adds the first line of the peer, and the phase that depends on its identification.
fn with_peer_details(fault: Fault, transcript: &PeerTranscript) -> Fault {
    let identified = transcript.protocol() == PeerProtocol::Ssh;
    let phase = if identified { LoginPhase::Handshake } else { LoginPhase::Banner };
    let fault = fault.with_detail("phase", phase.as_str());
    let first_line = transcript.first_line();
    if first_line.is_empty() { fault } else { fault.with_detail("said", first_line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(first_line: &[u8], session_end: Option<SessionEnd>) -> PeerTranscript {
        let transcript = PeerTranscript::default();
        transcript.record(first_line);
        if let Some(session_end) = session_end {
            transcript.session_end.set(session_end).unwrap();
        }
        transcript
    }

    fn disconnected(message: &str, too_many_connections: bool) -> Option<SessionEnd> {
        Some(SessionEnd::Disconnected { message: message.into(), too_many_connections })
    }

    const SSH: &[u8] = b"SSH-2.0-x\r\n";

    #[test]
    fn a_failed_handshake_is_classified_by_the_transcript() {
        let reset = || Error::IO(std::io::ErrorKind::ConnectionReset.into());
        for (first_line, session_end, error, reason) in [
            (&b""[..], None, Error::Disconnect, Reason::ConnectionLost),
            (b"", None, reset(), Reason::ConnectionLost),
            (SSH, None, reset(), Reason::ConnectionLost),
            (SSH, None, Error::WrongServerSig, Reason::ConnectionLost),
            (SSH, disconnected("bye", false), Error::Disconnect, Reason::ConnectionLost),
            (SSH, disconnected("full", true), Error::Disconnect, Reason::Throttled),
            (b"Exceeded MaxStartups\r\n", None, reset(), Reason::Throttled),
            (b"Not allowed at this time\r\n", None, Error::Disconnect, Reason::Throttled),
            (b"220 ftp\r\n", None, Error::Disconnect, Reason::NotSsh),
            (b"SSH-", None, Error::Disconnect, Reason::NotSsh),
            (b"no\r\nno\r\n", None, Error::Version, Reason::NotSsh),
        ] {
            let fault = handshake_error(&error, &after(first_line, session_end));
            assert_eq!(fault.reason(), reason, "{fault}");
        }
    }

    #[test]
    fn a_timeout_is_classified_by_the_transcript() {
        for (first_line, reason, phase) in [
            (&b""[..], Reason::BannerTimeout, "banner"),
            (b"SSH-2.0", Reason::BannerTimeout, "banner"),
            (b"220 ftp ready", Reason::NotSsh, "banner"),
            (b"Not allowed at this time\r\n", Reason::Throttled, "banner"),
            (SSH, Reason::HandshakeTimeout, "handshake"),
        ] {
            let fault = handshake_timeout(&after(first_line, None));
            assert_eq!(fault.reason(), reason, "{fault}");
            assert_eq!(fault.facts()["phase"], phase.into());
        }
    }

    #[test]
    fn an_end_during_the_login_is_classified_by_the_session_end() {
        for (session_end, reason) in [
            (
                disconnected("Too many authentication failures", false),
                Some(Reason::CredentialsRefused),
            ),
            (disconnected("go away", false), Some(Reason::ConnectionLost)),
            (disconnected("full", true), Some(Reason::Throttled)),
            (Some(SessionEnd::Failed("reset".into())), Some(Reason::ConnectionLost)),
            (Some(SessionEnd::NoMethodLeft), None),
            (None, Some(Reason::ConnectionLost)),
        ] {
            let fault = auth_error(&after(SSH, session_end.clone()));
            assert_eq!(fault.map(|fault| fault.reason()), reason, "{session_end:?}");
        }
    }

    #[test]
    fn the_algorithms_of_both_sides_are_listed_and_bounded() {
        let theirs = vec!["a\x1b".repeat(100); 1000];
        let error =
            Error::NoCommonAlgo { kind: AlgorithmKind::Kex, ours: vec!["b".into()], theirs };
        let fault = handshake_error(&error, &after(SSH, None));
        assert_eq!(fault.reason(), Reason::NoCommonAlgorithm);
        assert_eq!(fault.facts()["kind"], "key exchange".into());
        assert_eq!(fault.facts()["ours"], vec!["b".to_owned()].into());
        let crate::model::Fact::List(theirs) = &fault.facts()["theirs"] else { panic!("no list") };
        assert_eq!(
            (theirs.len(), theirs[0].len()),
            (MAX_ALGORITHM_NAMES, MAX_ALGORITHM_NAME_BYTES)
        );
        assert!(!fault.details().contains('\x1b'));
    }
}
