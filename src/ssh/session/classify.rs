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
const OVERLOAD_MESSAGES: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

/// The message after `MaxAuthTries` rejections (`auth_maxtries_exceeded` in OpenSSH's auth.c).
const TOO_MANY_TRIES: &str = "Too many authentication failures";

/// Maximum number of the server's algorithm names in a fault, and maximum length of a name in
/// bytes. A peer chooses both.
const MAX_NAMES: usize = 40;
const MAX_NAME_BYTES: usize = 64;

/// Returns the fault for a handshake that failed with an error.
pub(super) fn handshake_error(error: &Error, witness: &PeerTranscript) -> Fault {
    let fault = if let Some(fault) = turned_away(witness) {
        fault
    } else if matches!(witness.protocol(), PeerProtocol::Partly | PeerProtocol::Foreign) {
        not_ssh(witness)
    } else if let Error::NoCommonAlgo { kind, ours, theirs } = error {
        no_common_algorithm(kind, ours, theirs)
    } else {
        connection_lost(witness, &describe_error(error))
    };
    with_peer_details(fault, witness)
}

/// Returns the fault for a handshake that timed out.
pub(super) fn handshake_timeout(witness: &PeerTranscript) -> Fault {
    let fault = match (turned_away(witness), witness.protocol()) {
        (Some(fault), _) => fault,
        (None, PeerProtocol::Foreign) => not_ssh(witness),
        (None, PeerProtocol::Nothing) => {
            Fault::new(Reason::BannerTimeout, "the server accepted the connection and said nothing")
        }
        (None, PeerProtocol::Partly) => {
            Fault::new(Reason::BannerTimeout, "the server did not finish saying who it is")
        }
        (None, PeerProtocol::Ssh) => {
            Fault::new(Reason::HandshakeTimeout, "the key exchange did not end in time")
        }
    };
    with_peer_details(fault, witness)
}

/// Returns the fault for a session that ended during authentication. Returns `None` if the end was
/// the server's rejection.
pub(crate) fn auth_error(witness: &PeerTranscript) -> Option<Fault> {
    let fault = match witness.farewell.get() {
        Some(SessionEnd::NoMethodLeft) => return None,
        Some(SessionEnd::Said { words, .. }) if words.contains(TOO_MANY_TRIES) => {
            Fault::new(Reason::CredentialsRefused, format!("the server refused: {words}"))
        }
        _ => turned_away(witness).unwrap_or_else(|| {
            connection_lost(witness, "the connection ended during authentication")
        }),
    };
    Some(fault)
}

fn turned_away(witness: &PeerTranscript) -> Option<Fault> {
    let said = witness.first_line();
    let words = match witness.farewell.get() {
        _ if OVERLOAD_MESSAGES.iter().any(|text| said.contains(text)) => said,
        Some(SessionEnd::Said { words, too_many: true }) => words.clone(),
        _ => return None,
    };
    let details = format!("the server turned the connection away: \"{words}\"");
    Some(Fault::new(Reason::Throttled, details))
}

fn not_ssh(witness: &PeerTranscript) -> Fault {
    let details = format!("the server does not speak SSH: it said \"{}\"", witness.first_line());
    Fault::new(Reason::NotSsh, details)
}

fn connection_lost(witness: &PeerTranscript, otherwise: &str) -> Fault {
    let details = match witness.farewell.get() {
        Some(SessionEnd::Said { words, .. }) => format!("the server hung up: \"{words}\""),
        Some(SessionEnd::Broke(how)) => format!("{otherwise}: {how}"),
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
            _ => format!("the connection broke: {error}"),
        },
        // russh's error texts contain only algorithm names from this side.
        other => format!("the SSH protocol broke: {other}"),
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
        .take(MAX_NAMES)
        .map(|name| sanitize_ascii(name.as_bytes(), MAX_NAME_BYTES))
        .collect();
    let details = format!("no common {kind} algorithm: the server has {}", theirs.join(", "));
    Fault::new(Reason::NoCommonAlgorithm, details)
        .with_detail("kind", kind)
        .with_detail("ours", ours.to_vec())
        .with_detail("theirs", theirs)
}

/// Adds the first line of the peer, and the phase that depends on its identification.
fn with_peer_details(fault: Fault, witness: &PeerTranscript) -> Fault {
    let identified = witness.protocol() == PeerProtocol::Ssh;
    let phase = if identified { LoginPhase::Handshake } else { LoginPhase::Banner };
    let fault = fault.with_detail("phase", phase.as_str());
    let said = witness.first_line();
    if said.is_empty() { fault } else { fault.with_detail("said", said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(said: &[u8], farewell: Option<SessionEnd>) -> PeerTranscript {
        let witness = PeerTranscript::default();
        witness.record(said);
        if let Some(farewell) = farewell {
            witness.farewell.set(farewell).unwrap();
        }
        witness
    }

    fn goodbye(words: &str, too_many: bool) -> Option<SessionEnd> {
        Some(SessionEnd::Said { words: words.into(), too_many })
    }

    const SSH: &[u8] = b"SSH-2.0-x\r\n";

    #[test]
    fn a_broken_handshake_is_told_by_what_the_peer_said() {
        let reset = || Error::IO(std::io::ErrorKind::ConnectionReset.into());
        for (said, farewell, error, reason) in [
            (&b""[..], None, Error::Disconnect, Reason::ConnectionLost),
            (b"", None, reset(), Reason::ConnectionLost),
            (SSH, None, reset(), Reason::ConnectionLost),
            (SSH, None, Error::WrongServerSig, Reason::ConnectionLost),
            (SSH, goodbye("bye", false), Error::Disconnect, Reason::ConnectionLost),
            (SSH, goodbye("full", true), Error::Disconnect, Reason::Throttled),
            (b"Exceeded MaxStartups\r\n", None, reset(), Reason::Throttled),
            (b"Not allowed at this time\r\n", None, Error::Disconnect, Reason::Throttled),
            (b"220 ftp\r\n", None, Error::Disconnect, Reason::NotSsh),
            (b"SSH-", None, Error::Disconnect, Reason::NotSsh),
            (b"no\r\nno\r\n", None, Error::Version, Reason::NotSsh),
        ] {
            let fault = handshake_error(&error, &after(said, farewell));
            assert_eq!(fault.reason(), reason, "{fault}");
        }
    }

    #[test]
    fn silence_is_told_by_how_far_the_peer_came() {
        for (said, reason, phase) in [
            (&b""[..], Reason::BannerTimeout, "banner"),
            (b"SSH-2.0", Reason::BannerTimeout, "banner"),
            (b"220 ftp ready", Reason::NotSsh, "banner"),
            (b"Not allowed at this time\r\n", Reason::Throttled, "banner"),
            (SSH, Reason::HandshakeTimeout, "handshake"),
        ] {
            let fault = handshake_timeout(&after(said, None));
            assert_eq!(fault.reason(), reason, "{fault}");
            assert_eq!(fault.facts()["phase"], phase.into());
        }
    }

    #[test]
    fn an_end_during_the_login_is_told_by_the_servers_goodbye() {
        for (farewell, reason) in [
            (goodbye("Too many authentication failures", false), Some(Reason::CredentialsRefused)),
            (goodbye("go away", false), Some(Reason::ConnectionLost)),
            (goodbye("full", true), Some(Reason::Throttled)),
            (Some(SessionEnd::Broke("reset".into())), Some(Reason::ConnectionLost)),
            (Some(SessionEnd::NoMethodLeft), None),
            (None, Some(Reason::ConnectionLost)),
        ] {
            let fault = auth_error(&after(SSH, farewell.clone()));
            assert_eq!(fault.map(|fault| fault.reason()), reason, "{farewell:?}");
        }
    }

    #[test]
    fn both_sides_algorithms_are_told_and_bounded() {
        let theirs = vec!["a\x1b".repeat(100); 1000];
        let error =
            Error::NoCommonAlgo { kind: AlgorithmKind::Kex, ours: vec!["b".into()], theirs };
        let fault = handshake_error(&error, &after(SSH, None));
        assert_eq!(fault.reason(), Reason::NoCommonAlgorithm);
        assert_eq!(fault.facts()["kind"], "key exchange".into());
        assert_eq!(fault.facts()["ours"], vec!["b".to_owned()].into());
        let crate::model::Fact::List(theirs) = &fault.facts()["theirs"] else { panic!("no list") };
        assert_eq!((theirs.len(), theirs[0].len()), (MAX_NAMES, MAX_NAME_BYTES));
        assert!(!fault.details().contains('\x1b'));
    }
}
