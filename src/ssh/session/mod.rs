//! One connection to an SSH server: from a TCP connection to a session with the right server, with
//! identification, key exchange and host key check.
//!
//! A server with several host keys shows one of them, of the first requested type. The key of a
//! given fingerprint may be of another type.
//!
//! # Never
//! - It never sends anything of the store, and starts no login, before a host key was accepted.
//! - It never requests a type of host key twice.

pub(super) mod algorithms;
pub(super) mod classify;
pub(super) mod dial;
pub(super) mod disconnect;
pub(super) mod host_key;
pub(super) mod kex_sizes;
pub(super) mod login_end;
pub(super) mod resolve;
mod stream;
pub(super) mod transcript;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, Config, DisconnectReason, Handle, Handler, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, Error};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::model::{Fault, HostKey, Reason, Secret};

use algorithms::SshAlgorithms;
use host_key::{HostKeyCheck, host_key};
use stream::RecordingStream;
use transcript::{PeerTranscript, SessionEnd, bounded_message};

/// Maximum time to wait for the end of a session after a channel of it was lost. russh closes the
/// channels of a lost connection just before it reports the end.
const END_TIMEOUT: Duration = Duration::from_millis(50);

/// An encrypted session with a server whose key was accepted. Dropping it closes the connection and
/// ends the task in which russh runs it.
pub(crate) struct SshSession {
    pub(crate) handle: Handle<ClientHandler>,
    pub(crate) transcript: Arc<PeerTranscript>,
    closed: bool,
    _cancel: DropGuard,
}

/// Performs handshakes until a key is accepted or the server has no other key. Ends by `until`. The
/// first handshake uses `tcp`. Each further one uses a new connection to the same address and
/// excludes the types seen before. No fault shows `password`, which an earlier login may have sent.
///
/// # Errors
/// Returns the errors of [`perform_handshake`]. If no key was accepted, returns the fault of the
/// first one, with all fingerprints in `offeredFingerprints`. If a further connection or handshake
/// fails, returns its own fault, because the right key may not have been seen.
pub(crate) async fn connect_with_expected_key(
    tcp: TcpStream,
    peer: SocketAddr,
    algorithms: &SshAlgorithms,
    expected: &HostKeyCheck,
    password: Option<&Secret>,
    (connect_timeout, until): (Duration, Instant),
) -> Result<SshSession, Fault> {
    let pinned = expected.pinned.as_ref().map(|key| key.algorithm.as_str());
    let config = algorithms.config_preferring(pinned);
    let outcome = perform_handshake(tcp, config, expected.clone(), password, until).await;
    let Err(first) = outcome else { return outcome };
    let Some(key) = expected.other_key_may_match(&first) else { return Err(first) };
    let mut key_types = vec![key.algorithm.clone()];
    let mut fingerprints = vec![key.fingerprint.clone()];
    while let Some(config) = algorithms.config_without_key_types(&key_types) {
        let (tcp, _) = dial::dial(&[peer], connect_timeout, until).await?;
        let fault = match perform_handshake(tcp, config, expected.clone(), password, until).await {
            Err(fault) => fault,
            outcome => return outcome,
        };
        match expected.other_key_may_match(&fault) {
            Some(key) => {
                key_types.push(key.algorithm.clone());
                fingerprints.push(key.fingerprint.clone());
            }
            // All other algorithms were common a moment ago, so the server has no other key.
            None if fault.reason() == Reason::NoCommonAlgorithm => break,
            None => return Err(fault),
        }
    }
    Err(first.with_detail("offeredFingerprints", fingerprints))
}

/// Performs the handshake. Ends by `until`.
///
/// # Errors
/// `banner_timeout`, `handshake_timeout`, `not_ssh`, `throttled`, `connection_lost`,
/// `no_common_algorithm`, `host_key_changed`, `host_key_unknown`.
async fn perform_handshake(
    tcp: TcpStream,
    config: Arc<Config>,
    expected: HostKeyCheck,
    password: Option<&Secret>,
    until: Instant,
) -> Result<SshSession, Fault> {
    let transcript = Arc::new(PeerTranscript::with_password(password.cloned()));
    let cancel = CancellationToken::new();
    let stream = RecordingStream::new(tcp, Arc::clone(&transcript), cancel.clone());
    let cancel = cancel.drop_guard();
    let client = ClientHandler { expected, transcript: Arc::clone(&transcript) };
    match timeout_at(until, client::connect_stream(config, stream, client)).await {
        Ok(Ok(handle)) => Ok(SshSession { handle, transcript, closed: false, _cancel: cancel }),
        Ok(Err(HandshakeError::Key(fault))) => Err(*fault),
        Ok(Err(HandshakeError::Session(error))) => {
            Err(classify::handshake_error(&error, &transcript))
        }
        Err(_) => Err(classify::handshake_timeout(&transcript)),
    }
}

impl SshSession {
    /// Returns the key that the server proved to have.
    pub(crate) fn host_key(&self) -> Option<HostKey> {
        self.transcript.host_key.get().cloned()
    }

    /// Waits until a session that russh has given up has recorded its end.
    pub(crate) async fn wait_closed(&mut self) {
        if !self.closed {
            // The returned value repeats the handler's record.
            let _ = Pin::new(&mut self.handle).await;
            self.closed = true;
        }
    }

    /// Returns the description of the end of the session in the words of the server, or `None` if
    /// it does not end within [`END_TIMEOUT`]. `quote` makes these words safe to display.
    pub(crate) async fn describe_end(&self, quote: impl Fn(&str) -> String) -> Option<String> {
        let _ = timeout(END_TIMEOUT, self.transcript.wait_end()).await;
        self.transcript.session_end().map(|end| classify::describe_end(end, quote))
    }

    /// Prevents the disconnect of a session whose server has not replied yet. The server would not
    /// read a disconnect before its reply.
    pub(crate) fn skip_disconnect(&mut self) {
        self.closed = true;
    }
}

/// Error that ended russh's session before the key exchange was complete.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The host key was rejected.
    Key(Box<Fault>),
    /// Any other error.
    Session(Error),
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

/// Callbacks of russh for one session.
pub(crate) struct ClientHandler {
    expected: HostKeyCheck,
    transcript: Arc<PeerTranscript>,
}

/// Rejects every channel that the server opens. russh would keep each one until the session ends.
/// Dropping the handle rejects the request.
macro_rules! no_channels {
    ($($kind:ident($($given:ty),*);)+) => {$(
        async fn $kind(
            &mut self,
            _: Channel<Msg>,
            $(_: $given,)*
            _: ChannelOpenHandle,
            _: &mut client::Session,
        ) -> Result<(), HandshakeError> {
            Ok(())
        }
    )+};
}

impl Handler for ClientHandler {
    type Error = HandshakeError;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, HandshakeError> {
        // No certificate is requested, so none is offered. If one were, its key would be checked.
        let offered = host_key(&offered.public_key());
        self.expected.check_key(&offered).map_err(|fault| HandshakeError::Key(Box::new(fault)))?;
        // Only the first key is stored. A later key exchange of the session does not replace it.
        let _ = self.transcript.host_key.set(offered);
        Ok(true)
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _: &mut client::Session,
    ) -> Result<(), HandshakeError> {
        self.transcript.record_banner(banner);
        Ok(())
    }

    no_channels! {
        server_channel_open_session();
        server_channel_open_x11(&str, u32);
        server_channel_open_agent_forward();
        server_channel_open_direct_tcpip(&str, u32, &str, u32);
        server_channel_open_direct_streamlocal(&str);
        server_channel_open_forwarded_tcpip(&str, u32, &str, u32);
        server_channel_open_forwarded_streamlocal(&str);
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<HandshakeError>,
    ) -> Result<(), HandshakeError> {
        let session_end = match reason {
            DisconnectReason::ReceivedDisconnect(disconnected) => SessionEnd::Disconnected {
                code: disconnected.reason_code,
                message: bounded_message(&disconnected.message),
            },
            DisconnectReason::Error(HandshakeError::Session(Error::NoAuthMethod)) => {
                SessionEnd::NoMethodLeft
            }
            DisconnectReason::Error(HandshakeError::Session(error))
                if classify::is_closed_by_server(&error) =>
            {
                SessionEnd::Closed
            }
            DisconnectReason::Error(HandshakeError::Session(error))
                if classify::is_text_not_utf8(&error) =>
            {
                SessionEnd::TextNotUtf8
            }
            DisconnectReason::Error(HandshakeError::Session(error)) => {
                SessionEnd::Failed(classify::describe_error(&error))
            }
            DisconnectReason::Error(HandshakeError::Key(fault)) => {
                SessionEnd::Failed(fault.to_string())
            }
        };
        self.transcript.record_session_end(session_end);
        Ok(())
    }
}
