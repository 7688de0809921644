//! What was seen of a peer during one check, for the fault that may come of it. It never keeps more
//! than the first bytes, and never a secret: all of it was sent by the peer.

use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::common::{lock_unpoisoned, sanitize_ascii};
use crate::model::HostKey;

/// Most bytes of what the peer said first.
const FIRST: usize = 64;

/// Shared between the check, the stream below russh and the handler above it.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    opening: Mutex<Opening>,
    /// The key that the server proved to have.
    pub(super) host_key: OnceLock<HostKey>,
    /// How the session ended, if it did so by itself.
    pub(super) farewell: OnceLock<Farewell>,
}

/// How a session ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The server said goodbye (`SSH_MSG_DISCONNECT`): its words, and whether its code means that it
    /// has too many connections.
    Said { words: String, too_many: bool },
    /// The server refused the last method and has none to offer: no loss, but its answer.
    NoMethodLeft,
    /// The connection or the protocol broke.
    Broke(String),
}

/// How a peer introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Not a byte.
    Nothing,
    /// Less than a line, and SSH as far as it goes.
    Partly,
    /// Something else.
    Foreign,
    /// SSH.
    Ssh,
}

impl Witness {
    /// Takes note of bytes that the peer sent.
    pub(super) fn hears(&self, bytes: &[u8]) {
        self.opening().hears(bytes);
    }

    pub(super) fn speaks(&self) -> Speaks {
        self.opening().speaks()
    }

    /// What the peer said first, printable; of an SSH server the line with its version.
    pub(super) fn said(&self) -> String {
        let opening = self.opening();
        let mut said = opening.first.as_slice();
        if opening.identified {
            // What follows the line is binary.
            said = said.split(|&byte| byte == b'\n').find(|line| is_identity(line)).unwrap_or(&[]);
        }
        sanitize_ascii(said, FIRST)
    }

    fn opening(&self) -> MutexGuard<'_, Opening> {
        lock_unpoisoned(&self.opening)
    }
}

/// The bytes up to the end of the identification line (RFC 4253 section 4.2).
#[derive(Debug, Default)]
struct Opening {
    first: Vec<u8>,
    /// The start of the line that is being received.
    line: Vec<u8>,
    foreign_lines: bool,
    identified: bool,
}

impl Opening {
    fn hears(&mut self, bytes: &[u8]) {
        let room = FIRST.saturating_sub(self.first.len());
        self.first.extend(bytes.iter().take(room));
        for &byte in bytes {
            if self.identified {
                return;
            }
            if byte == b'\n' {
                self.identified = is_identity(&self.line);
                self.foreign_lines |= !self.identified;
                self.line.clear();
            } else if self.line.len() < IDENTITIES[1].len() {
                self.line.push(byte);
            }
        }
    }

    fn speaks(&self) -> Speaks {
        let begins =
            || IDENTITIES.iter().any(|id| id.starts_with(&self.line) || self.line.starts_with(id));
        if self.identified {
            Speaks::Ssh
        } else if self.first.is_empty() {
            Speaks::Nothing
        } else if self.foreign_lines || !begins() {
            Speaks::Foreign
        } else {
            Speaks::Partly
        }
    }
}

/// Version 2, and the version that RFC 4253 section 5.1 gives to servers that also speak 1.
const IDENTITIES: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

fn is_identity(line: &[u8]) -> bool {
    IDENTITIES.iter().any(|id| line.starts_with(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> Witness {
        let witness = Witness::default();
        for piece in pieces {
            witness.hears(piece);
        }
        witness
    }

    #[test]
    fn a_peer_is_known_by_its_first_lines() {
        let cases: [(&[&[u8]], Speaks, &str); 11] = [
            (&[], Speaks::Nothing, ""),
            (&[b"S", b"S", b"H"], Speaks::Partly, "SSH"),
            (&[b"SSH-2.0-OpenSSH_9.2"], Speaks::Partly, "SSH-2.0-OpenSSH_9.2"),
            (&[b"SSH-2.0-Open", b"SSH\r\n\0\0\x05\xdc"], Speaks::Ssh, "SSH-2.0-OpenSSH"),
            (&[b"SSH-1.99-Cisco\n"], Speaks::Ssh, "SSH-1.99-Cisco"),
            (&[b"SSH-1.5-old\n"], Speaks::Foreign, "SSH-1.5-old"),
            (&[b"hello\r\n", b"SSH-2.0-x\r\n"], Speaks::Ssh, "SSH-2.0-x"),
            (&[b"220 ftp"], Speaks::Foreign, "220 ftp"),
            (&[b"HTTP/1.1 400 Bad Request\r\n"], Speaks::Foreign, "HTTP/1.1 400 Bad Request"),
            (&[b"\x15\x03\x01"], Speaks::Foreign, "..."),
            (&[b"notice\r\n"], Speaks::Foreign, "notice"),
        ];
        for (pieces, speaks, said) in cases {
            let witness = heard(pieces);
            assert_eq!((witness.speaks(), witness.said().as_str()), (speaks, said), "{pieces:?}");
        }
    }

    #[test]
    fn only_the_first_bytes_are_kept() {
        let witness = heard(&[&[b'x'; 1000], &[b'y'; 1000]]);
        assert_eq!(witness.said(), "x".repeat(FIRST));
    }
}
