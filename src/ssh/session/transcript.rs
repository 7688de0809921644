//! The transcript of a peer during one check, used for a fault. It keeps only the first bytes and
//! the last message of the peer. It never keeps a secret: all of it was sent by the peer.

use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::common::{lock_unpoisoned, sanitize_ascii};
use crate::model::HostKey;

/// Maximum number of first bytes kept. They identify the protocol and are quoted in a fault.
const MAX_FIRST_LINE: usize = 64;

/// Transcript shared between the check, the stream below russh and the handler above it.
#[derive(Debug, Default)]
pub(crate) struct PeerTranscript {
    opening: Mutex<PeerIdentification>,
    /// The key that the server proved to have.
    pub(super) host_key: OnceLock<HostKey>,
    /// The end of the session, if the server or an error ended it.
    pub(super) farewell: OnceLock<SessionEnd>,
}

/// End of a session that the daemon did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The server sent a disconnect (`SSH_MSG_DISCONNECT`). `words` is its message. `too_many` is
    /// true if its code means that it has too many connections.
    Said { words: String, too_many: bool },
    /// The server rejected the last method and offers no other. This is an answer, not a lost
    /// connection.
    NoMethodLeft,
    /// The connection or the protocol failed.
    Broke(String),
}

/// Protocol that a peer identified itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerProtocol {
    /// The peer has sent no byte.
    Nothing,
    /// The peer has sent less than a line, and it matches SSH so far.
    Partly,
    /// Another protocol.
    Foreign,
    /// SSH.
    Ssh,
}

impl PeerTranscript {
    /// Records bytes that the peer sent.
    pub(crate) fn record(&self, bytes: &[u8]) {
        self.identification().record_bytes(bytes);
    }

    pub(crate) fn protocol(&self) -> PeerProtocol {
        self.identification().detect_protocol()
    }

    /// Returns the first bytes of the peer as printable text. For an SSH server this is its
    /// identification line.
    pub(crate) fn first_line(&self) -> String {
        let opening = self.identification();
        let mut said = opening.first.as_slice();
        if opening.identified {
            // The bytes after the line are binary.
            said = said.split(|&byte| byte == b'\n').find(|line| is_identity(line)).unwrap_or(&[]);
        }
        sanitize_ascii(said, MAX_FIRST_LINE)
    }

    fn identification(&self) -> MutexGuard<'_, PeerIdentification> {
        lock_unpoisoned(&self.opening)
    }
}

/// Parser of the bytes up to the end of the identification line (RFC 4253 section 4.2).
#[derive(Debug, Default)]
struct PeerIdentification {
    first: Vec<u8>,
    /// The start of the line that is being received.
    line: Vec<u8>,
    foreign_lines: bool,
    identified: bool,
}

impl PeerIdentification {
    fn record_bytes(&mut self, bytes: &[u8]) {
        let room = MAX_FIRST_LINE.saturating_sub(self.first.len());
        self.first.extend(bytes.iter().take(room));
        for &byte in bytes {
            if self.identified {
                return;
            }
            if byte == b'\n' {
                self.identified = is_identity(&self.line);
                self.foreign_lines |= !self.identified;
                self.line.clear();
            } else if self.line.len() < IDENTIFICATION_PREFIXES[1].len() {
                self.line.push(byte);
            }
        }
    }

    fn detect_protocol(&self) -> PeerProtocol {
        let begins = || {
            IDENTIFICATION_PREFIXES
                .iter()
                .any(|id| id.starts_with(&self.line) || self.line.starts_with(id))
        };
        if self.identified {
            PeerProtocol::Ssh
        } else if self.first.is_empty() {
            PeerProtocol::Nothing
        } else if self.foreign_lines || !begins() {
            PeerProtocol::Foreign
        } else {
            PeerProtocol::Partly
        }
    }
}

/// Prefixes of SSH identification lines: version 2, and the version for servers that also support
/// version 1 (RFC 4253 section 5.1).
const IDENTIFICATION_PREFIXES: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

fn is_identity(line: &[u8]) -> bool {
    IDENTIFICATION_PREFIXES.iter().any(|id| line.starts_with(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> PeerTranscript {
        let witness = PeerTranscript::default();
        for piece in pieces {
            witness.record(piece);
        }
        witness
    }

    #[test]
    fn a_peer_is_known_by_its_first_lines() {
        let cases: [(&[&[u8]], PeerProtocol, &str); 11] = [
            (&[], PeerProtocol::Nothing, ""),
            (&[b"S", b"S", b"H"], PeerProtocol::Partly, "SSH"),
            (&[b"SSH-2.0-OpenSSH_9.2"], PeerProtocol::Partly, "SSH-2.0-OpenSSH_9.2"),
            (&[b"SSH-2.0-Open", b"SSH\r\n\0\0\x05\xdc"], PeerProtocol::Ssh, "SSH-2.0-OpenSSH"),
            (&[b"SSH-1.99-Cisco\n"], PeerProtocol::Ssh, "SSH-1.99-Cisco"),
            (&[b"SSH-1.5-old\n"], PeerProtocol::Foreign, "SSH-1.5-old"),
            (&[b"hello\r\n", b"SSH-2.0-x\r\n"], PeerProtocol::Ssh, "SSH-2.0-x"),
            (&[b"220 ftp"], PeerProtocol::Foreign, "220 ftp"),
            (&[b"HTTP/1.1 400 Bad Request\r\n"], PeerProtocol::Foreign, "HTTP/1.1 400 Bad Request"),
            (&[b"\x15\x03\x01"], PeerProtocol::Foreign, "..."),
            (&[b"notice\r\n"], PeerProtocol::Foreign, "notice"),
        ];
        for (pieces, speaks, said) in cases {
            let witness = heard(pieces);
            assert_eq!(
                (witness.protocol(), witness.first_line().as_str()),
                (speaks, said),
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn only_the_first_bytes_are_kept() {
        let witness = heard(&[&[b'x'; 1000], &[b'y'; 1000]]);
        assert_eq!(witness.first_line(), "x".repeat(MAX_FIRST_LINE));
    }
}
