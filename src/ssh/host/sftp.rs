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

use crate::ssh::session::SshSession;

/// Maximum number of bytes read of a file: the maximum of a marker, and more than any boot id has.
const MAX_FILE_BYTES: usize = 4096;
/// Maximum length of a packet: the bytes of a file with their header, and a server's list of
/// extensions.
const MAX_PACKET_BYTES: usize = MAX_FILE_BYTES + 4096;
/// Maximum number of bytes kept of a program's output. A fault quotes only its start.
const MAX_OUTPUT_BYTES: usize = 512;
/// Maximum time to collect output after a program's input was closed or its exit status arrived.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client of one SFTP session.
pub(super) struct SftpClient {
    channel: Channel<Msg>,
    received: Vec<u8>,
    /// True if the server has answered as an SFTP server.
    is_sftp: bool,
    /// The first bytes of output, quoted if no SFTP server answers.
    output: Vec<u8>,
    last_request_id: u32,
}

/// Reason why no SFTP session exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SftpUnavailable {
    /// The server opens no session for the user.
    NoSession,
    /// The server does not have the SFTP subsystem.
    NoSubsystem,
    /// A program that does not speak SFTP: the start of its output, and its exit status. The output
    /// may repeat a password.
    Program { output: String, exit_status: Option<u32> },
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
    Invalid(&'static str),
}

impl std::fmt::Display for SftpReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("no such file"),
            Self::Denied => f.write_str("permission denied"),
            Self::Failed(message) => f.write_str(message),
            Self::Invalid(message) => f.write_str(message),
        }
    }
}

impl SftpClient {
    /// Opens the channel and starts the SFTP session. `subsystem_started` becomes true when the
    /// server has started its program for SFTP. A caller can read it after a timeout.
    ///
    /// # Cancel safety
    /// Dropping the future, or the client that it returns, closes the channel with the session.
    pub(super) async fn open(
        session: &SshSession,
        subsystem_started: &AtomicBool,
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
        subsystem_started.store(true, Ordering::Relaxed);
        let mut sftp = Self {
            channel,
            received: Vec::new(),
            is_sftp: false,
            output: Vec::new(),
            last_request_id: 0,
        };
        sftp.send_packet(Init::default()).await?;
        match sftp.receive_packet().await? {
            Packet::Version(_) => {
                sftp.is_sftp = true;
                Ok(sftp)
            }
            _ => Err(sftp.on_protocol_error().await),
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
            Packet::Status(failed) if failed.id == id => {
                return Ok(Err(read_error(failed.status_code)));
            }
            _ => return Err(self.on_protocol_error().await),
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
                Packet::Status(failed) if failed.id == id => {
                    return Ok(Err(read_error(failed.status_code)));
                }
                _ => return Err(self.on_protocol_error().await),
            }
            if bytes.len() > MAX_FILE_BYTES {
                return Ok(Err(SftpReadError::Invalid("the file is too long")));
            }
        }
        Ok(String::from_utf8(bytes).map_err(|_| SftpReadError::Invalid("the file is not text")))
    }

    /// Closes the channel.
    pub(super) async fn close(self) {
        // If this fails, the end of the session closes the channel.
        let _ = self.channel.close().await;
    }

    fn next_id(&mut self) -> u32 {
        self.last_request_id = self.last_request_id.wrapping_add(1);
        self.last_request_id
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
                ParsedPacket::Invalid => return Err(self.on_protocol_error().await),
                ParsedPacket::Incomplete => {}
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    append_bounded(&mut self.output, &data);
                    self.received.extend(data);
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    append_bounded(&mut self.output, &data)
                }
                // More output may follow the exit status.
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    return Err(self.collect_output(Some(exit_status)).await);
                }
                Some(ChannelMsg::Close) => return Err(self.end_reason(None)),
                None => return Err(SftpUnavailable::Lost),
                Some(_) => {}
            }
        }
    }

    /// Handles output that is not SFTP. Sends the end of the input and collects the output until
    /// the program ends.
    async fn on_protocol_error(&mut self) -> SftpUnavailable {
        if self.is_sftp {
            return SftpUnavailable::Lost;
        }
        let _ = self.channel.eof().await;
        self.collect_output(None).await
    }

    async fn collect_output(&mut self, mut exit_status: Option<u32>) -> SftpUnavailable {
        let listening = async {
            loop {
                match self.channel.wait().await {
                    Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                        append_bounded(&mut self.output, &data);
                    }
                    Some(ChannelMsg::ExitStatus { exit_status: status }) => {
                        exit_status = Some(status)
                    }
                    Some(ChannelMsg::Close) | None => return,
                    Some(_) => {}
                }
            }
        };
        let _ = timeout(EXIT_TIMEOUT, listening).await;
        self.end_reason(exit_status)
    }

    fn end_reason(&self, exit_status: Option<u32>) -> SftpUnavailable {
        if self.is_sftp {
            // An SFTP server had answered, so its end says nothing about the account.
            return SftpUnavailable::Lost;
        }
        let output = String::from_utf8_lossy(&self.output).into_owned();
        SftpUnavailable::Program { output, exit_status }
    }
}

/// Result of parsing the received bytes.
pub(crate) enum ParsedPacket {
    Packet(Box<Packet>),
    Incomplete,
    Invalid,
}

/// Removes and returns the first packet once it is complete.
pub(crate) fn parse_packet(received: &mut Vec<u8>) -> ParsedPacket {
    let Some(length) = received.first_chunk::<4>() else { return ParsedPacket::Incomplete };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_PACKET_BYTES {
        return ParsedPacket::Invalid;
    }
    let Some(body) = received.get(4..length.saturating_add(4)) else {
        return ParsedPacket::Incomplete;
    };
    match Packet::try_from(&mut Bytes::copy_from_slice(body)) {
        Ok(packet) => {
            received.drain(..length.saturating_add(4));
            ParsedPacket::Packet(Box::new(packet))
        }
        Err(_) => ParsedPacket::Invalid,
    }
}

fn append_bounded(output: &mut Vec<u8>, more: &[u8]) {
    let free_bytes = MAX_OUTPUT_BYTES.saturating_sub(output.len());
    output.extend(more.iter().take(free_bytes));
}

fn read_error(status: StatusCode) -> SftpReadError {
    match status {
        StatusCode::NoSuchFile => SftpReadError::Missing,
        StatusCode::PermissionDenied => SftpReadError::Denied,
        other => SftpReadError::Failed(other.to_string().to_lowercase()),
    }
}
