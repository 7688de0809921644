//! The transcript of a peer during one check, used for a fault. It keeps only the first bytes, the
//! last banners and the last message of the peer. A peer may repeat a password that it received,
//! also in an earlier login, so its texts are shown only without it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use russh::Disconnect;
use tokio::sync::Notify;

use crate::common::lock_unpoisoned;
use crate::model::{HostKey, Secret};
use crate::ssh::mask::{mask_line, quote_unverified};

/// Maximum number of first bytes kept. They identify the protocol and are quoted in a fault.
const MAX_FIRST_BYTES: usize = 64;

/// Maximum number of bytes kept of the key exchange. They contain the algorithms of the server and
/// the start of its reply with the largest supported key. 16 KiB are four times as much as OpenSSH
/// sends, and they are freed with the login.
const MAX_HANDSHAKE_BYTES: usize = 16 << 10;

/// Transcript shared between the check, the stream below russh and the handler above it.
#[derive(Debug, Default)]
pub(crate) struct PeerTranscript {
    identification: Mutex<PeerIdentification>,
    /// The password of the login, which no text of the peer may show.
    password: Option<Secret>,
    /// The key that the server proved to have.
    pub(super) host_key: OnceLock<HostKey>,
    /// The end of the session, if the server or an error ended it.
    session_end: OnceLock<SessionEnd>,
    /// The last texts of `SSH_MSG_USERAUTH_BANNER`. sshd sends its `Banner` first, and the message
    /// of PAM last.
    banners: Mutex<VecDeque<String>>,
    /// Wakes those that wait for a banner or for the end of the session.
    changed: Notify,
    login_writes: AtomicU32,
    received_since_write: AtomicU64,
}

/// Maximum number of characters kept of a banner or of a message. A fault quotes less.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Maximum number of banners kept. A legal notice and a message of some parts are fewer.
const MAX_BANNERS: usize = 8;

/// Number of writes up to the first credential: the request for the service `ssh-userauth`, and the
/// request for the login.
const WRITES_WITH_CREDENTIAL: u32 = 2;

/// End of a session that the daemon did not end.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The server sent `SSH_MSG_DISCONNECT`.
    Disconnected { code: Disconnect, message: String },
    /// The server closed the connection without a message.
    Closed,
    /// The server rejected the last method and offers no other. This is an answer, not a lost
    /// connection.
    NoMethodLeft,
    /// The server sent a text that is not UTF-8. russh reads no other text.
    TextNotUtf8,
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
    /// Creates the transcript of a login with this password.
    pub(super) fn with_password(password: Option<Secret>) -> Self {
        Self { password, ..Self::default() }
    }

    /// Returns a text of the peer as one line that is safe to display.
    pub(super) fn quote(&self, text: &str) -> String {
        quote_unverified(text, self.password.as_ref())
    }

    /// Returns bytes of the peer as one line that is safe to display.
    pub(super) fn quote_line(&self, bytes: &[u8], max_chars: usize) -> String {
        mask_line(bytes, max_chars, self.password.as_ref())
    }

    /// Records bytes that the peer sent.
    pub(crate) fn record(&self, bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.received_since_write.fetch_add(count, Ordering::Relaxed);
        if self.host_key.get().is_none() {
            self.lock_identification().record(bytes);
        }
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
        self.quote_line(first_line, MAX_FIRST_BYTES)
    }

    /// Starts to count the writes of a login.
    pub(crate) fn begin_login(&self) {
        self.login_writes.store(0, Ordering::Relaxed);
    }

    /// Records that a packet was sent to the peer.
    pub(super) fn record_write(&self) {
        self.login_writes.fetch_add(1, Ordering::Relaxed);
        self.received_since_write.store(0, Ordering::Relaxed);
    }

    /// Returns true if the login has sent a credential, or a request for one.
    pub(crate) fn is_credential_sent(&self) -> bool {
        self.login_writes.load(Ordering::Relaxed) >= WRITES_WITH_CREDENTIAL
    }

    /// Returns true if the peer sent something after the last credential. russh reports a decision,
    /// a prompt and a banner, and discards any other message.
    pub(crate) fn has_answered_credential(&self) -> bool {
        self.is_credential_sent() && self.received_since_write.load(Ordering::Relaxed) > 0
    }

    /// Records a banner. It is no answer to a credential: sshd sends its own after the first
    /// request, and decides later. russh handles a packet before it reads the next one, so no byte
    /// after the banner has been counted yet.
    pub(super) fn record_banner(&self, text: &str) {
        self.received_since_write.store(0, Ordering::Relaxed);
        if !text.trim().is_empty() {
            let mut banners = lock_unpoisoned(&self.banners);
            banners.push_back(bounded_message(text));
            while banners.len() > MAX_BANNERS {
                banners.pop_front();
            }
        }
        self.changed.notify_waiters();
    }

    /// Returns the last banners as the peer sent them, in order.
    pub(crate) fn banners(&self) -> Vec<String> {
        lock_unpoisoned(&self.banners).iter().cloned().collect()
    }

    /// Returns the last banners and forgets them.
    pub(crate) fn take_banners(&self) -> Vec<String> {
        std::mem::take(&mut *lock_unpoisoned(&self.banners)).into()
    }

    /// Waits for the next banner, or for the end of the session.
    pub(crate) async fn wait_banner_or_end(&self) {
        let changed = self.changed.notified();
        if self.session_end().is_none() {
            changed.await;
        }
    }

    /// Waits for the end of the session.
    pub(crate) async fn wait_end(&self) {
        loop {
            let changed = self.changed.notified();
            if self.session_end().is_some() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn record_session_end(&self, end: SessionEnd) {
        let _ = self.session_end.set(end);
        self.changed.notify_waiters();
    }

    pub(super) fn session_end(&self) -> Option<&SessionEnd> {
        self.session_end.get()
    }

    /// Returns the text of the disconnect that ended the session, as the peer sent it.
    pub(crate) fn disconnect_message(&self) -> Option<&str> {
        match self.session_end()? {
            SessionEnd::Disconnected { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Returns the packets of the key exchange, as far as they were kept.
    pub(super) fn handshake_packets(&self) -> Vec<u8> {
        self.lock_identification().handshake_packets.clone()
    }

    fn lock_identification(&self) -> MutexGuard<'_, PeerIdentification> {
        lock_unpoisoned(&self.identification)
    }
}

/// Returns the start of a peer's message.
pub(super) fn bounded_message(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Parser of the bytes up to the end of the identification line (RFC 4253 section 4.2).
#[derive(Debug, Default)]
struct PeerIdentification {
    first_bytes: Vec<u8>,
    /// The start of the line that is being received.
    line_start: Vec<u8>,
    has_other_lines: bool,
    identified: bool,
    handshake_packets: Vec<u8>,
}

impl PeerIdentification {
    fn record(&mut self, bytes: &[u8]) {
        let room = MAX_FIRST_BYTES.saturating_sub(self.first_bytes.len());
        self.first_bytes.extend(bytes.iter().take(room));
        for (position, &byte) in bytes.iter().enumerate() {
            if self.identified {
                let room = MAX_HANDSHAKE_BYTES.saturating_sub(self.handshake_packets.len());
                self.handshake_packets.extend(bytes.iter().skip(position).take(room));
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
