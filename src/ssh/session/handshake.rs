//! From a TCP connection to a session with the right server: identification, key exchange, judgement
//! of the host key. It never sends anything of the store's before that judgement.

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
use super::stream::Stream;
use super::transcript::{Farewell, Witness};
use crate::ssh::host::host_key::{Expected, host_key};

/// Longest time that a disconnect may take: it is one packet into an empty socket buffer, and the end
/// of the session by the server.
pub(super) const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// An encrypted session with a server whose key has been taken. Dropping it closes the connection and
/// ends the task in which russh runs it.
pub(crate) struct Session {
    pub(crate) handle: Handle<Client>,
    pub(crate) witness: Arc<Witness>,
    over: bool,
    _cancel: DropGuard,
}

/// Shakes hands within `until`.
///
/// # Errors
/// `banner_timeout`, `handshake_timeout`, `not_ssh`, `throttled`, `connection_lost`,
/// `no_common_algorithm`, `host_key_changed`, `host_key_unknown`.
pub(super) async fn shake_hands(
    tcp: TcpStream,
    config: Arc<Config>,
    expected: Expected,
    until: Instant,
) -> Result<Session, Fault> {
    let witness = Arc::new(Witness::default());
    let cancel = CancellationToken::new();
    let stream = Stream::new(tcp, Arc::clone(&witness), cancel.clone());
    let cancel = cancel.drop_guard();
    let client = Client { expected, witness: Arc::clone(&witness) };
    match timeout_at(until, client::connect_stream(config, stream, client)).await {
        Ok(Ok(handle)) => Ok(Session { handle, witness, over: false, _cancel: cancel }),
        Ok(Err(Broken::Key(fault))) => Err(*fault),
        Ok(Err(Broken::Session(error))) => Err(classify::of_handshake(&error, &witness)),
        Err(_) => Err(classify::of_silence(&witness)),
    }
}

impl Session {
    /// The key that the server proved to have.
    pub(crate) fn host_key(&self) -> Option<HostKey> {
        self.witness.host_key.get().cloned()
    }

    /// Waits until the session, which russh has given up, has recorded why.
    pub(crate) async fn ended(&mut self) {
        if !self.over {
            // What it returns is the handler's record once more.
            let _ = Pin::new(&mut self.handle).await;
            self.over = true;
        }
    }

    /// Prevents the disconnect of a session whose server owes a reply, and would not read a disconnect
    /// before it.
    pub(crate) fn abandon(&mut self) {
        self.over = true;
    }

    /// Sends a disconnect, so that the server logs the end of a session and not a lost connection, and
    /// closes the connection.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub(super) async fn close(mut self) {
        if self.over {
            return;
        }
        let disconnect = async {
            let reason = Disconnect::ByApplication;
            if self.handle.disconnect(reason, "login checked", "en").await.is_ok() {
                let _ = Pin::new(&mut self.handle).await;
            }
        };
        // The drop that follows closes a connection on which it was not sent in time.
        let _ = timeout(DISCONNECT_TIMEOUT, disconnect).await;
    }
}

/// Why russh's session ended before the key exchange did.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The host key was not taken.
    Key(Box<Fault>),
    /// Anything else.
    Session(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

/// What russh asks and tells during a session.
pub(crate) struct Client {
    expected: Expected,
    witness: Arc<Witness>,
}

/// A server opens no channel to us: left to russh, each it asked for would be kept until the session ends.
/// The request is refused when its handle is dropped.
macro_rules! no_channels {
    ($($kind:ident($($given:ty),*);)+) => {$(
        async fn $kind(
            &mut self,
            _: Channel<Msg>,
            $(_: $given,)*
            _: ChannelOpenHandle,
            _: &mut client::Session,
        ) -> Result<(), Broken> {
            Ok(())
        }
    )+};
}

impl Handler for Client {
    type Error = Broken;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        // No certificate is asked for, so none is offered; were one, its key would be judged.
        let offered = host_key(&offered.public_key());
        self.expected.judge(&offered).map_err(|fault| Broken::Key(Box::new(fault)))?;
        // Set once: a later key exchange of a session brings no new judgement.
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

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        let farewell = match reason {
            DisconnectReason::ReceivedDisconnect(goodbye) => Farewell::Said {
                words: sanitize_ascii(goodbye.message.as_bytes(), MAX_QUOTED),
                too_many: matches!(goodbye.reason_code, Disconnect::TooManyConnections),
            },
            DisconnectReason::Error(Broken::Session(Error::NoAuthMethod)) => Farewell::NoMethodLeft,
            DisconnectReason::Error(Broken::Session(error)) => {
                Farewell::Broke(classify::broken(&error))
            }
            DisconnectReason::Error(Broken::Key(fault)) => Farewell::Broke(fault.to_string()),
        };
        let _ = self.witness.farewell.set(farewell);
        Ok(())
    }
}
