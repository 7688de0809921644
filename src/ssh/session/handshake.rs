//! The handshake: from a TCP connection to a session with the right server, with identification,
//! key exchange and host key check. Nothing of the store is sent before that check.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, Config, DisconnectReason, Handle, Handler, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, Disconnect, Error};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::common::{MAX_QUOTED, sanitize_ascii};
use crate::model::{Fault, HostKey};

use super::classify;
use super::host_key::{HostKeyCheck, host_key};
use super::stream::RecordingStream;
use super::transcript::{PeerTranscript, SessionEnd};

/// Maximum duration of a disconnect. It consists of one packet into an empty socket buffer, and the
/// end of the session by the server.
pub(super) const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// An encrypted session with a server whose key was accepted. Dropping it closes the connection and
/// ends the task in which russh runs it.
pub(crate) struct SshSession {
    pub(crate) handle: Handle<ClientHandler>,
    pub(crate) witness: Arc<PeerTranscript>,
    over: bool,
    _cancel: DropGuard,
}

/// Performs the handshake. Ends by `until`.
///
/// # Errors
/// `banner_timeout`, `handshake_timeout`, `not_ssh`, `throttled`, `connection_lost`,
/// `no_common_algorithm`, `host_key_changed`, `host_key_unknown`.
pub(super) async fn perform_handshake(
    tcp: TcpStream,
    config: Arc<Config>,
    expected: HostKeyCheck,
    until: Instant,
) -> Result<SshSession, Fault> {
    let witness = Arc::new(PeerTranscript::default());
    let cancel = CancellationToken::new();
    let stream = RecordingStream::new(tcp, Arc::clone(&witness), cancel.clone());
    let cancel = cancel.drop_guard();
    let client = ClientHandler { expected, witness: Arc::clone(&witness) };
    match timeout_at(until, client::connect_stream(config, stream, client)).await {
        Ok(Ok(handle)) => Ok(SshSession { handle, witness, over: false, _cancel: cancel }),
        Ok(Err(HandshakeError::Key(fault))) => Err(*fault),
        Ok(Err(HandshakeError::Session(error))) => Err(classify::handshake_error(&error, &witness)),
        Err(_) => Err(classify::handshake_timeout(&witness)),
    }
}

impl SshSession {
    /// Returns the key that the server proved to have.
    pub(crate) fn host_key(&self) -> Option<HostKey> {
        self.witness.host_key.get().cloned()
    }

    /// Waits until a session that russh has given up has recorded its end.
    pub(crate) async fn on_session_end(&mut self) {
        if !self.over {
            // The returned value repeats the handler's record.
            let _ = Pin::new(&mut self.handle).await;
            self.over = true;
        }
    }

    /// Prevents the disconnect of a session whose server owes a reply. The server would not read a
    /// disconnect before it.
    pub(crate) fn mark_closed(&mut self) {
        self.over = true;
    }

    /// Sends a disconnect and closes the connection. The server then logs the end of a session
    /// instead of a lost connection.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub(super) async fn close_session(mut self) {
        if self.over {
            return;
        }
        let disconnect = async {
            let reason = Disconnect::ByApplication;
            if self.handle.disconnect(reason, "login checked", "en").await.is_ok() {
                let _ = Pin::new(&mut self.handle).await;
            }
        };
        // If the disconnect was not sent in time, the drop that follows closes the connection.
        let _ = timeout(DISCONNECT_TIMEOUT, disconnect).await;
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
    witness: Arc<PeerTranscript>,
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
        let _ = self.witness.host_key.set(offered);
        Ok(true)
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
        let farewell = match reason {
            DisconnectReason::ReceivedDisconnect(goodbye) => SessionEnd::Said {
                words: sanitize_ascii(goodbye.message.as_bytes(), MAX_QUOTED),
                too_many: matches!(goodbye.reason_code, Disconnect::TooManyConnections),
            },
            DisconnectReason::Error(HandshakeError::Session(Error::NoAuthMethod)) => {
                SessionEnd::NoMethodLeft
            }
            DisconnectReason::Error(HandshakeError::Session(error)) => {
                SessionEnd::Broke(classify::describe_error(&error))
            }
            DisconnectReason::Error(HandshakeError::Key(fault)) => {
                SessionEnd::Broke(fault.to_string())
            }
        };
        let _ = self.witness.farewell.set(farewell);
        Ok(())
    }
}
