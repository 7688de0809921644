//! Reader of small files on the server, over SFTP (draft-ietf-secsh-filexfer-02, version 3) on one
//! channel.
//!
//! The packets are those of russh-sftp. The client is not, because it must also return the output
//! of a program that runs instead of SFTP: a shell that rejects logins, a forced command, an
//! expired password. It never writes, keeps at most a few kilobytes of a peer, and never waits
//! beyond its caller's limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use russh_sftp::protocol::{FileAttributes, Init, Open, OpenFlags, Packet, Read, StatusCode};
use tokio::time::timeout;

use crate::common::{MAX_QUOTED, sanitize_ascii};
use crate::ssh::session::SshSession;

/// Maximum number of bytes read of a file: the maximum of a marker, and more than any boot id has.
const MAX_FILE_BYTES: usize = 4096;
/// Maximum length of a packet: the bytes of a file with their header, and a server's list of
/// extensions.
const MAX_PACKET_BYTES: usize = MAX_FILE_BYTES + 4096;
/// Maximum number of bytes kept of a program's output. A fault quotes only its start.
const MAX_HEARD_BYTES: usize = 512;
/// Maximum time to collect output after a program's input was closed or its exit status arrived.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client of one SFTP session.
pub(super) struct SftpClient {
    channel: Channel<Msg>,
    received: Vec<u8>,
    /// True if the server has answered as an SFTP server.
    known: bool,
    /// The first bytes of output, quoted if no SFTP server answers.
    heard: Vec<u8>,
    requests: u32,
}

/// Reason why no SFTP session exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SftpUnavailable {
    /// The server opens no session for the user.
    NoSession,
    /// The server does not have the SFTP subsystem.
    NoSubsystem,
    /// A program that does not speak SFTP: its output as printable text, and its exit status.
    Program { said: String, exit: Option<u32> },
    /// The connection is lost, or the SFTP session ended or broke the protocol after its start.
    Lost,
}

/// Reason why the server returns no text for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SftpReadError {
    /// No file exists at the path.
    Missing,
    /// The user may not read the file.
    Denied,
    /// Another failure, in the words of the draft. The server's own text is not used, because it is
    /// untrusted.
    Failed(String),
    /// The contents of the file are not of the expected kind.
    Unfit(&'static str),
}

impl std::fmt::Display for SftpReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("no such file"),
            Self::Denied => f.write_str("permission denied"),
            Self::Failed(told) => f.write_str(told),
            Self::Unfit(why) => f.write_str(why),
        }
    }
}

impl SftpClient {
    /// Opens the channel and starts the SFTP session. `granted` becomes true when the server has
    /// started its program for SFTP. A caller can read it after a timeout.
    ///
    /// # Cancel safety
    /// Dropping the future, or the client that it returns, closes the channel with the session.
    pub(super) async fn open_channel(
        session: &SshSession,
        granted: &AtomicBool,
    ) -> Result<Self, SftpUnavailable> {
        let opened = session.handle.channel_open_session().await;
        let mut channel = opened.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(_) => SftpUnavailable::NoSession,
            _ => SftpUnavailable::Lost,
        })?;
        channel.request_subsystem(true, "sftp").await.map_err(|_| SftpUnavailable::Lost)?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure) => return Err(SftpUnavailable::NoSubsystem),
                Some(ChannelMsg::WindowAdjusted { .. }) => {}
                // The server sends no answer and considers the session closed.
                _ => return Err(SftpUnavailable::Lost),
            }
        }
        granted.store(true, Ordering::Relaxed);
        let mut sftp =
            Self { channel, received: Vec::new(), known: false, heard: Vec::new(), requests: 0 };
        sftp.send_packet(Init::default()).await?;
        match sftp.receive_packet().await? {
            Packet::Version(_) => {
                sftp.known = true;
                Ok(sftp)
            }
            _ => Err(sftp.not_sftp().await),
        }
    }

    /// Returns the text of a file, or the reason why the server does not return it. A file longer
    /// than [`MAX_FILE_BYTES`] is rejected.
    pub(super) async fn read_file(
        &mut self,
        path: &str,
    ) -> Result<Result<String, SftpReadError>, SftpUnavailable> {
        let id = self.next_id();
        let (filename, attrs) = (path.to_owned(), FileAttributes::empty());
        self.send_packet(Open { id, filename, pflags: OpenFlags::READ, attrs }).await?;
        let handle = match self.receive_packet().await? {
            Packet::Handle(opened) if opened.id == id => opened.handle,
            Packet::Status(refused) if refused.id == id => {
                return Ok(Err(error_message(refused.status_code)));
            }
            _ => return Err(self.not_sftp().await),
        };
        // The handle is not closed explicitly. It ends with the channel.
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let (id, handle) = (self.next_id(), handle.clone());
            let (offset, len) = (u64::try_from(bytes.len()).unwrap_or(0), 4096);
            self.send_packet(Read { id, handle, offset, len }).await?;
            match self.receive_packet().await? {
                // An empty answer would otherwise be requested again without end.
                Packet::Data(data) if data.id == id && !data.data.is_empty() => {
                    bytes.extend(data.data);
                }
                Packet::Status(end) if end.id == id && end.status_code == StatusCode::Eof => break,
                Packet::Status(broke) if broke.id == id => {
                    return Ok(Err(error_message(broke.status_code)));
                }
                _ => return Err(self.not_sftp().await),
            }
            if bytes.len() > MAX_FILE_BYTES {
                return Ok(Err(SftpReadError::Unfit("too long")));
            }
        }
        Ok(String::from_utf8(bytes).map_err(|_| SftpReadError::Unfit("not a text")))
    }

    /// Closes the channel.
    pub(super) async fn end_channel(self) {
        // If this fails, the end of the session closes the channel.
        let _ = self.channel.close().await;
    }

    fn next_id(&mut self) -> u32 {
        self.requests = self.requests.wrapping_add(1);
        self.requests
    }

    async fn send_packet(&mut self, packet: impl Into<Packet>) -> Result<(), SftpUnavailable> {
        // The packets encoded here are short, so this cannot fail. If it did, the server would not
        // have received anything.
        let bytes = Bytes::try_from(packet.into()).map_err(|_| SftpUnavailable::Lost)?;
        self.channel.data_bytes(bytes).await.map_err(|_| SftpUnavailable::Lost)
    }

    /// Returns the next packet.
    async fn receive_packet(&mut self) -> Result<Packet, SftpUnavailable> {
        loop {
            match parse_packet(&mut self.received) {
                ParsedPacket::Packet(packet) => return Ok(*packet),
                ParsedPacket::Foreign => return Err(self.not_sftp().await),
                ParsedPacket::Partly => {}
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    append_bounded(&mut self.heard, &data);
                    self.received.extend(data);
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    append_bounded(&mut self.heard, &data)
                }
                // More output may follow the exit status.
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    return Err(self.on_channel_ended(Some(exit_status)).await);
                }
                Some(ChannelMsg::Close) => return Err(self.other_program(None)),
                None => return Err(SftpUnavailable::Lost),
                Some(_) => {}
            }
        }
    }

    /// Handles output that is not SFTP. Sends the end of the input and collects the output until
    /// the program ends.
    async fn not_sftp(&mut self) -> SftpUnavailable {
        if self.known {
            return SftpUnavailable::Lost;
        }
        let _ = self.channel.eof().await;
        self.on_channel_ended(None).await
    }

    async fn on_channel_ended(&mut self, mut exit: Option<u32>) -> SftpUnavailable {
        let listening = async {
            loop {
                match self.channel.wait().await {
                    Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                        append_bounded(&mut self.heard, &data);
                    }
                    Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(exit_status),
                    Some(ChannelMsg::Close) | None => return,
                    Some(_) => {}
                }
            }
        };
        let _ = timeout(EXIT_TIMEOUT, listening).await;
        self.other_program(exit)
    }

    fn other_program(&self, exit: Option<u32>) -> SftpUnavailable {
        if self.known {
            // An SFTP server had answered, so its end says nothing about the account.
            return SftpUnavailable::Lost;
        }
        SftpUnavailable::Program { said: sanitize_ascii(&self.heard, MAX_QUOTED), exit }
    }
}

/// Result of parsing the received bytes.
pub(crate) enum ParsedPacket {
    Packet(Box<Packet>),
    Partly,
    Foreign,
}

/// Removes and returns the first packet once it is complete.
pub(crate) fn parse_packet(received: &mut Vec<u8>) -> ParsedPacket {
    let Some(length) = received.first_chunk::<4>() else { return ParsedPacket::Partly };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_PACKET_BYTES {
        return ParsedPacket::Foreign;
    }
    let Some(body) = received.get(4..length.saturating_add(4)) else { return ParsedPacket::Partly };
    match Packet::try_from(&mut Bytes::copy_from_slice(body)) {
        Ok(packet) => {
            received.drain(..length.saturating_add(4));
            ParsedPacket::Packet(Box::new(packet))
        }
        Err(_) => ParsedPacket::Foreign,
    }
}

fn append_bounded(heard: &mut Vec<u8>, more: &[u8]) {
    let room = MAX_HEARD_BYTES.saturating_sub(heard.len());
    heard.extend(more.iter().take(room));
}

fn error_message(status: StatusCode) -> SftpReadError {
    match status {
        StatusCode::NoSuchFile => SftpReadError::Missing,
        StatusCode::PermissionDenied => SftpReadError::Denied,
        other => SftpReadError::Failed(other.to_string().to_lowercase()),
    }
}
