//! Classification of a broken session: pure functions over the transcript of the peer. The message
//! of the peer takes precedence over the text of an error.

use russh::keys::ssh_encoding;
use russh::{AlgorithmKind, Disconnect, Error};

use crate::model::{Fault, Reason, Remedy};

use super::kex_sizes::{disconnect_message, exceeded_limit};
use super::transcript::{PeerProtocol, PeerTranscript, SessionEnd};
use crate::ssh::phase::LoginPhase;

/// Texts that sshd sends instead of its identification when it rejects a connection: past
/// `MaxStartups`, and for an address in `PerSourcePenalties` (`drop_connection` in OpenSSH's
/// sshd.c).
const THROTTLE_MESSAGES: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

const CLOSED_BY_SERVER: &str = "the server closed the connection";

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
        no_common_algorithm(kind, ours, theirs, transcript)
    } else if let Some(fault) = exceeded_limit(error, &transcript.handshake_packets()) {
        fault
    } else if let Some(fault) = unknown_disconnect(transcript) {
        fault
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

fn throttled(transcript: &PeerTranscript) -> Option<Fault> {
    let first_line = transcript.first_line();
    match transcript.session_end() {
        _ if THROTTLE_MESSAGES.iter().any(|text| first_line.contains(text)) => {
            Some(throttled_fault(&first_line))
        }
        Some(SessionEnd::Disconnected { code: code @ Disconnect::TooManyConnections, message }) => {
            Some(disconnect_fault(code, &transcript.quote(message)))
        }
        _ => None,
    }
}

/// Returns the fault for a server that rejects connections with a message.
fn throttled_fault(message: &str) -> Fault {
    let details = format!("the server rejected the connection: \"{message}\"");
    Fault::new(Reason::Throttled, details)
}

fn not_ssh_fault(transcript: &PeerTranscript) -> Fault {
    let first_line = transcript.first_line();
    if first_line.starts_with("SSH-1.") {
        let details =
            format!("the server supports only version 1 of SSH: it sent \"{first_line}\"");
        return Fault::new(Reason::NotSsh, details).with_remedy(Remedy::UpdateSshServer);
    }
    let details = format!("the server is not an SSH server: it sent \"{first_line}\"");
    Fault::new(Reason::NotSsh, details)
}

/// Returns the fault for a connection that ended before its purpose was reached.
pub(super) fn connection_lost_fault(transcript: &PeerTranscript, otherwise: &str) -> Fault {
    let details = match transcript.session_end() {
        Some(SessionEnd::Disconnected { code, message }) => {
            return disconnect_fault(code, &transcript.quote(message));
        }
        Some(SessionEnd::TextNotUtf8) => {
            let details = format!(
                "{otherwise}: the server sent a text that is not UTF-8, and the SSH library of \
                 this daemon reads no other text"
            );
            return Fault::new(Reason::ConnectionLost, details).with_remedy(Remedy::UseUtf8Texts);
        }
        Some(SessionEnd::Closed) => format!("{otherwise}: {CLOSED_BY_SERVER}"),
        Some(SessionEnd::Failed(how)) => format!("{otherwise}: {how}"),
        _ => otherwise.to_owned(),
    };
    Fault::new(Reason::ConnectionLost, details)
}

/// Returns the fault for a disconnect by the server without a more specific reason. `message` is
/// safe to display.
pub(super) fn disconnect_fault(code: &Disconnect, message: &str) -> Fault {
    let fault = match code {
        Disconnect::TooManyConnections => throttled_fault(message),
        Disconnect::HostNotAllowedToConnect => {
            let details = format!("the server does not permit this host to connect: \"{message}\"");
            Fault::new(Reason::ConnectionLost, details).with_remedy(Remedy::PermitThisHost)
        }
        _ => Fault::new(Reason::ConnectionLost, format!("the server disconnected: \"{message}\"")),
    };
    with_disconnect_code(fault, code)
}

/// Adds the number of the code and its name in RFC 4253 section 11.1.
pub(super) fn with_disconnect_code(fault: Fault, code: &Disconnect) -> Fault {
    let (number, name) = disconnect_code(code);
    fault.with_detail("disconnectCode", number).with_detail("disconnectReason", name)
}

/// Returns the fault for a disconnect before the encryption that russh did not read. It reads none
/// with a code that RFC 4253 does not name, such as those for private use.
fn unknown_disconnect(transcript: &PeerTranscript) -> Option<Fault> {
    if transcript.session_end().is_some_and(|end| !matches!(end, SessionEnd::Failed(_))) {
        return None;
    }
    let (code, message) = disconnect_message(&transcript.handshake_packets())?;
    let message = transcript.quote(&String::from_utf8_lossy(&message));
    let details = format!("the server disconnected with code {code}: \"{message}\"");
    Some(Fault::new(Reason::ConnectionLost, details).with_detail("disconnectCode", code))
}

fn disconnect_code(code: &Disconnect) -> (u32, &'static str) {
    match code {
        Disconnect::HostNotAllowedToConnect => (1, "HOST_NOT_ALLOWED_TO_CONNECT"),
        Disconnect::ProtocolError => (2, "PROTOCOL_ERROR"),
        Disconnect::KeyExchangeFailed => (3, "KEY_EXCHANGE_FAILED"),
        Disconnect::Reserved => (4, "RESERVED"),
        Disconnect::MACError => (5, "MAC_ERROR"),
        Disconnect::CompressionError => (6, "COMPRESSION_ERROR"),
        Disconnect::ServiceNotAvailable => (7, "SERVICE_NOT_AVAILABLE"),
        Disconnect::ProtocolVersionNotSupported => (8, "PROTOCOL_VERSION_NOT_SUPPORTED"),
        Disconnect::HostKeyNotVerifiable => (9, "HOST_KEY_NOT_VERIFIABLE"),
        Disconnect::ConnectionLost => (10, "CONNECTION_LOST"),
        Disconnect::ByApplication => (11, "BY_APPLICATION"),
        Disconnect::TooManyConnections => (12, "TOO_MANY_CONNECTIONS"),
        Disconnect::AuthCancelledByUser => (13, "AUTH_CANCELLED_BY_USER"),
        Disconnect::NoMoreAuthMethodsAvailable => (14, "NO_MORE_AUTH_METHODS_AVAILABLE"),
        Disconnect::IllegalUserName => (15, "ILLEGAL_USER_NAME"),
    }
}

/// Returns true if the server sent a text that russh cannot read.
pub(super) fn is_text_not_utf8(error: &Error) -> bool {
    matches!(error, Error::SshEncoding(ssh_encoding::Error::CharacterEncoding) | Error::Utf8(_))
}

/// Describes the end of a session. `quote` makes a text of the server safe to display.
pub(super) fn describe_end(end: &SessionEnd, quote: impl Fn(&str) -> String) -> String {
    match end {
        SessionEnd::Disconnected { code, message } => {
            let (number, name) = disconnect_code(code);
            let message = quote(message);
            format!("the server disconnected with code {number} ({name}): \"{message}\"")
        }
        SessionEnd::Failed(how) => how.clone(),
        SessionEnd::TextNotUtf8 => "the server sent a text that is not UTF-8".to_owned(),
        SessionEnd::Closed | SessionEnd::NoMethodLeft => CLOSED_BY_SERVER.to_owned(),
    }
}

/// Returns true if the server closed the connection, and nothing else failed.
pub(super) fn is_closed_by_server(error: &Error) -> bool {
    match error {
        Error::Disconnect | Error::HUP => true,
        Error::IO(error) => error.kind() == std::io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

/// Describes the failure of a connection, or of the protocol on it.
pub(super) fn describe_error(error: &Error) -> String {
    match error {
        error if is_closed_by_server(error) => CLOSED_BY_SERVER.to_owned(),
        Error::IO(error) => match error.kind() {
            std::io::ErrorKind::ConnectionReset => "the server reset the connection".to_owned(),
            _ => format!("the connection failed: {error}"),
        },
        Error::WrongServerSig => {
            "the signature of the server's host key is wrong: the server does not have the key, or \
             the connection was altered"
                .to_owned()
        }
        Error::PacketAuth | Error::DecryptionError => {
            "a packet of the server was altered or damaged on its way".to_owned()
        }
        Error::PacketSize(bytes) => {
            format!("the server sent a packet of {bytes} bytes, more than this daemon accepts")
        }
        Error::Version => {
            "the identification line of the server is invalid or longer than RFC 4253 permits"
                .to_owned()
        }
        Error::StrictKeyExchangeViolation { message_type, .. } => format!(
            "the server sent message {message_type} where the strict key exchange permits none"
        ),
        Error::KexInit | Error::Kex | Error::UnknownAlgo => {
            "the server sent an invalid message of the key exchange".to_owned()
        }
        Error::Inconsistent => {
            "the server sent a message that the SSH library of this daemon does not support here, \
             such as a disconnect with a code that RFC 4253 does not name"
                .to_owned()
        }
        Error::Keys(_) | Error::SshKey(_) | Error::UnknownKey => {
            "the SSH library of this daemon cannot read the host key of the server".to_owned()
        }
        Error::SshEncoding(_) | Error::Utf8(_) | Error::IndexOutOfBounds => {
            "a message of the server is malformed".to_owned()
        }
        // russh's error texts contain only algorithm names from this side.
        other => format!("the SSH protocol failed: {other}"),
    }
}

fn no_common_algorithm(
    kind: &AlgorithmKind,
    ours: &[String],
    theirs: &[String],
    transcript: &PeerTranscript,
) -> Fault {
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
        .map(|name| transcript.quote_line(name.as_bytes(), MAX_ALGORITHM_NAME_BYTES))
        .collect();
    let details =
        format!("no common {kind} algorithm: the server offers \"{}\"", theirs.join(", "));
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
    use crate::model::Secret;

    fn after(first_line: &[u8], session_end: Option<SessionEnd>) -> PeerTranscript {
        let transcript = PeerTranscript::default();
        transcript.record(first_line);
        if let Some(session_end) = session_end {
            transcript.record_session_end(session_end);
        }
        transcript
    }

    fn disconnected(message: &str, code: Disconnect) -> Option<SessionEnd> {
        Some(SessionEnd::Disconnected { code, message: message.into() })
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
            (SSH, None, Error::PacketSize(1 << 30), Reason::ConnectionLost),
            (SSH, None, Error::Inconsistent, Reason::ConnectionLost),
            (
                SSH,
                disconnected("bye", Disconnect::ByApplication),
                Error::Disconnect,
                Reason::ConnectionLost,
            ),
            (
                SSH,
                disconnected("full", Disconnect::TooManyConnections),
                Error::Disconnect,
                Reason::Throttled,
            ),
            (b"Exceeded MaxStartups\r\n", None, reset(), Reason::Throttled),
            (b"Not allowed at this time\r\n", None, Error::Disconnect, Reason::Throttled),
            (b"220 ftp\r\n", None, Error::Disconnect, Reason::NotSsh),
            (b"SSH-", None, Error::Disconnect, Reason::NotSsh),
            (b"SSH-1.5-Cisco\n", None, Error::Version, Reason::NotSsh),
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

    fn packet(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 1).unwrap().to_be_bytes();
        [&length[..], &[0], payload].concat()
    }

    #[test]
    fn the_words_of_a_disconnect_with_an_unknown_code_are_kept() {
        let string =
            |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat();
        let code = 0xfe00_0001_u32;
        let disconnect = packet(
            &[&[1], &code.to_be_bytes()[..], &string(b"locked: hunter2\n"), &string(b"en")]
                .concat(),
        );
        let transcript = PeerTranscript::with_password(Some(Secret::new("hunter2".into())));
        transcript.record(&[SSH, &packet(&[20, 0]), &disconnect].concat());
        let fault = handshake_error(&Error::Inconsistent, &transcript);
        let expected = "the server disconnected with code 4261412865: \"locked: ***\"";
        assert_eq!((fault.reason(), fault.details()), (Reason::ConnectionLost, expected));
        assert_eq!(fault.facts()["disconnectCode"], code.into());
        // The packets after the new keys are encrypted.
        let transcript = after(&[SSH, &packet(&[21]), &disconnect].concat(), None);
        let fault = handshake_error(&Error::Inconsistent, &transcript);
        assert!(fault.details().contains("does not support here"), "{fault}");
    }

    #[test]
    fn no_text_before_the_login_shows_its_password() {
        let repeated = |first_line: &[u8], session_end, error: Option<&Error>| {
            let transcript = PeerTranscript::with_password(Some(Secret::new("hunter2".into())));
            transcript.record(first_line);
            transcript.record_session_end(session_end);
            let fault = match error {
                Some(error) => handshake_error(error, &transcript),
                None => handshake_timeout(&transcript),
            };
            let shown = format!("{} {:?}", fault.details(), fault.facts());
            assert!(!shown.contains("hunt") && shown.contains("***"), "{shown}");
        };
        let named = |message: &str, code| disconnected(message, code).unwrap();
        let names = Error::NoCommonAlgo {
            kind: AlgorithmKind::Kex,
            ours: vec![],
            theirs: vec!["x-hunter2".into()],
        };
        repeated(b"220 hunter2\r\n", SessionEnd::Closed, Some(&Error::Disconnect));
        repeated(b"220 hunter2\r\n", SessionEnd::Closed, None);
        repeated(b"SSH-1.5-hunter2\r\n", SessionEnd::Closed, Some(&Error::Version));
        repeated(b"SSH-2.0-hunter2\r\n", SessionEnd::Closed, None);
        repeated(b"Not allowed at this time hunter2\n", SessionEnd::Closed, None);
        repeated(SSH, SessionEnd::Closed, Some(&names));
        for code in [Disconnect::TooManyConnections, Disconnect::ByApplication] {
            repeated(SSH, named("you said hunter2", code), Some(&Error::Disconnect));
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
        let begin = "no common key exchange algorithm: the server offers \"a";
        assert!(fault.details().starts_with(begin) && fault.details().ends_with('"'), "{fault}");
    }
}
