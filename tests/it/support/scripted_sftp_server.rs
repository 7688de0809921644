//! An SSH server in this process that accepts every login and whose SFTP packets are scripted, for
//! answers that no sftp-server gives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::keys::decode_secret_key;
use russh::server::{Auth, Config, Handler, Msg, Session};
use russh::{Channel, ChannelId, Disconnect, Error};
use russh_sftp::protocol::{Data, Handle, Packet, Status, StatusCode, Version};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::scripted_ssh_server::serve;
use super::sshd::KeyPair;

/// The reaction to a packet of the client.
pub(crate) enum Action {
    Sends(Packet),
    /// Sends bytes that need not be a packet.
    SendsRaw(Vec<u8>),
    ClosesChannel,
    Disconnects,
    /// Disconnects with this message.
    DisconnectsWith(String),
}

/// Answers each packet of the client.
pub(crate) type PacketScript = fn(&Packet) -> Vec<Action>;

/// Further unusual behaviour of the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerQuirks {
    /// True if the client may not send a byte on the channel.
    pub(crate) no_window: bool,
    /// Number of channels that the server opens after the login.
    pub(crate) opens: u32,
}

/// A scripted server on a free port of 127.0.0.1. It stops when dropped.
#[derive(Debug)]
pub(crate) struct ScriptedSftpServer {
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl ScriptedSftpServer {
    pub(crate) async fn start(role: PacketScript, quirks: ServerQuirks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = KeyPair::generate("ed25519", "").private;
        let mut config = Config {
            keys: vec![decode_secret_key(&key, None).unwrap()],
            auth_rejection_time: Duration::ZERO,
            ..Config::default()
        };
        if quirks.no_window {
            config.window_size = 0;
        }
        let mut server = JoinSet::new();
        let serving = SftpHandler { role, quirks, received: Vec::new() };
        server.spawn(serve(listener, Arc::new(config), serving));
        Self { address, _server: server }
    }
}

/// Answers as a normal server whose every file has this content.
pub(crate) fn one_file(packet: &Packet, text: &[u8]) -> Vec<Action> {
    vec![Action::Sends(match packet {
        Packet::Init(_) => Version::new().into(),
        Packet::Open(open) => Handle { id: open.id, handle: "h".into() }.into(),
        Packet::Read(read) => {
            let rest = text.get(usize::try_from(read.offset).unwrap()..).unwrap_or_default();
            let most = usize::try_from(read.len).unwrap();
            match rest.get(..most.min(rest.len())).unwrap() {
                [] => end(read.id),
                data => Data { id: read.id, data: data.to_vec() }.into(),
            }
        }
        other => end(other.get_request_id()),
    })]
}

pub(crate) fn end(id: u32) -> Packet {
    let (error_message, language_tag) = (String::new(), String::new());
    Status { id, status_code: StatusCode::Eof, error_message, language_tag }.into()
}

#[derive(Clone)]
struct SftpHandler {
    role: PacketScript,
    quirks: ServerQuirks,
    received: Vec<u8>,
}

impl SftpHandler {
    /// Returns the next complete packet.
    fn packet(&mut self) -> Option<Packet> {
        let length = usize::try_from(u32::from_be_bytes(*self.received.first_chunk()?)).unwrap();
        let body = self.received.get(4..length + 4)?;
        let packet = Packet::try_from(&mut Bytes::copy_from_slice(body)).unwrap();
        self.received.drain(..length + 4);
        Some(packet)
    }
}

impl Handler for SftpHandler {
    type Error = Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Error> {
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        for _ in 0..self.quirks.opens {
            session.channel_open_session()?;
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.received.extend(data);
        while let Some(packet) = self.packet() {
            for doing in (self.role)(&packet) {
                match doing {
                    Action::Sends(packet) => {
                        session.data(channel, Bytes::try_from(packet).unwrap())?
                    }
                    Action::SendsRaw(bytes) => session.data(channel, bytes)?,
                    Action::ClosesChannel => session.close(channel)?,
                    Action::DisconnectsWith(message) => {
                        session.disconnect(Disconnect::ByApplication, &message, "")?
                    }
                    Action::Disconnects => return Err(Error::Disconnect),
                }
            }
        }
        Ok(())
    }
}
