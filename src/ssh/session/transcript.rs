//! The transcript of a peer during one check, used for a fault. It keeps only the first bytes and
//! the last message of the peer. It never keeps a secret: all of it was sent by the peer.

use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::common::{lock_unpoisoned, sanitize_ascii};
use crate::model::HostKey;

/// Maximum number of first bytes kept. They identify the protocol and are quoted in a fault.
const MAX_FIRST_BYTES: usize = 64;

/// Transcript shared between the check, the stream below russh and the handler above it.
#[derive(Debug, Default)]
pub(crate) struct PeerTranscript {
    identification: Mutex<PeerIdentification>,
    /// The key that the server proved to have.
    pub(super) host_key: OnceLock<HostKey>,
    /// The end of the session, if the server or an error ended it.
    pub(super) session_end: OnceLock<SessionEnd>,
}

/// End of a session that the daemon did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The server sent `SSH_MSG_DISCONNECT`. `too_many_connections` is true if its code is
    /// `SSH_DISCONNECT_TOO_MANY_CONNECTIONS`.
    Disconnected { message: String, too_many_connections: bool },
    /// The server rejected the last method and offers no other. This is an answer, not a lost
    /// connection.
    NoMethodLeft,
    /// The connection or the protocol failed.
    Failed(String),
}

/// Protocol that a peer identified itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerProtocol {
    /// The peer has sent no byte.
    Silent,
    /// The peer has sent less than a line, and it matches SSH so far.
    Incomplete,
    /// Another protocol.
    NotSsh,
    /// SSH.
    Ssh,
}

impl PeerTranscript {
    /// Records bytes that the peer sent.
    pub(crate) fn record(&self, bytes: &[u8]) {
        self.lock_identification().record(bytes);
    }

    pub(crate) fn protocol(&self) -> PeerProtocol {
        self.lock_identification().detect_protocol()
    }

    /// Returns the first bytes of the peer as printable text. For an SSH server this is its
    /// identification line.
    pub(crate) fn first_line(&self) -> String {
        let identification = self.lock_identification();
        let mut first_line = identification.first_bytes.as_slice();
        if identification.identified {
            // The bytes after the line are binary.
            first_line = first_line
                .split(|&byte| byte == b'\n')
                .find(|line| is_identification(line))
                .unwrap_or(&[]);
        }
        sanitize_ascii(first_line, MAX_FIRST_BYTES)
    }

    fn lock_identification(&self) -> MutexGuard<'_, PeerIdentification> {
        lock_unpoisoned(&self.identification)
    }
}

/// Parser of the bytes up to the end of the identification line (RFC 4253 section 4.2).
#[derive(Debug, Default)]
struct PeerIdentification {
    first_bytes: Vec<u8>,
    /// The start of the line that is being received.
    line_start: Vec<u8>,
    has_other_lines: bool,
    identified: bool,
}

impl PeerIdentification {
    fn record(&mut self, bytes: &[u8]) {
        let room = MAX_FIRST_BYTES.saturating_sub(self.first_bytes.len());
        self.first_bytes.extend(bytes.iter().take(room));
        for &byte in bytes {
            if self.identified {
                return;
            }
            if byte == b'\n' {
                self.identified = is_identification(&self.line_start);
                self.has_other_lines |= !self.identified;
                self.line_start.clear();
            } else if self.line_start.len() < IDENTIFICATION_PREFIXES[1].len() {
                self.line_start.push(byte);
            }
        }
    }

    fn detect_protocol(&self) -> PeerProtocol {
        let may_be_ssh = || {
            IDENTIFICATION_PREFIXES
                .iter()
                .any(|id| id.starts_with(&self.line_start) || self.line_start.starts_with(id))
        };
        if self.identified {
            PeerProtocol::Ssh
        } else if self.first_bytes.is_empty() {
            PeerProtocol::Silent
        } else if self.has_other_lines || !may_be_ssh() {
            PeerProtocol::NotSsh
        } else {
            PeerProtocol::Incomplete
        }
    }
}

/// Prefixes of SSH identification lines: version 2, and the version for servers that also support
/// version 1 (RFC 4253 section 5.1).
const IDENTIFICATION_PREFIXES: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

fn is_identification(line: &[u8]) -> bool {
    IDENTIFICATION_PREFIXES.iter().any(|id| line.starts_with(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript_of(pieces: &[&[u8]]) -> PeerTranscript {
        let transcript = PeerTranscript::default();
        for piece in pieces {
            transcript.record(piece);
        }
        transcript
    }

    #[test]
    fn the_protocol_follows_from_the_first_lines() {
        let cases: [(&[&[u8]], PeerProtocol, &str); 11] = [
            (&[], PeerProtocol::Silent, ""),
            (&[b"S", b"S", b"H"], PeerProtocol::Incomplete, "SSH"),
            (&[b"SSH-2.0-OpenSSH_9.2"], PeerProtocol::Incomplete, "SSH-2.0-OpenSSH_9.2"),
            (&[b"SSH-2.0-Open", b"SSH\r\n\0\0\x05\xdc"], PeerProtocol::Ssh, "SSH-2.0-OpenSSH"),
            (&[b"SSH-1.99-Cisco\n"], PeerProtocol::Ssh, "SSH-1.99-Cisco"),
            (&[b"SSH-1.5-old\n"], PeerProtocol::NotSsh, "SSH-1.5-old"),
            (&[b"hello\r\n", b"SSH-2.0-x\r\n"], PeerProtocol::Ssh, "SSH-2.0-x"),
            (&[b"220 ftp"], PeerProtocol::NotSsh, "220 ftp"),
            (&[b"HTTP/1.1 400 Bad Request\r\n"], PeerProtocol::NotSsh, "HTTP/1.1 400 Bad Request"),
            (&[b"\x15\x03\x01"], PeerProtocol::NotSsh, "..."),
            (&[b"notice\r\n"], PeerProtocol::NotSsh, "notice"),
        ];
        for (pieces, protocol, first_line) in cases {
            let transcript = transcript_of(pieces);
            assert_eq!(
                (transcript.protocol(), transcript.first_line().as_str()),
                (protocol, first_line),
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn only_the_first_bytes_are_kept() {
        let transcript = transcript_of(&[&[b'x'; 1000], &[b'y'; 1000]]);
        assert_eq!(transcript.first_line(), "x".repeat(MAX_FIRST_BYTES));
    }
}
