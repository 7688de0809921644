//! Client for a stream of events: opens it, and reads its blocks (HTML standard, section 9.2).

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{ClientError, DaemonAddress, RequestEffect};
use super::daemon_response::DaemonResponse;
use crate::model::EventCursor;

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: &str = "last-event-id";

/// Maximum time to the head of the response. The daemon reads the first events before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Time without a byte after which the connection counts as lost: three comments of the daemon.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// Maximum size of a block, and of the response without a stream. The longest event has less than 1
/// MiB.
const MAX_BLOCK_BYTES: usize = 8 << 20;

/// The beginning of a stream.
pub(super) enum StreamStart {
    /// The stream is open.
    Open(EventSource),
    /// The daemon answered with an error.
    Refused(DaemonResponse),
}

/// A stream that is open.
pub(super) struct EventSource {
    address: String,
    body: Incoming,
    blocks: BlockReader,
    /// Drives the connection. Dropping the set aborts it.
    _driver: JoinSet<Result<(), hyper::Error>>,
}

/// One block of a stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct StreamBlock {
    /// The position behind the block.
    pub(super) position: Option<EventCursor>,
    /// The event, or `None` if the block has the position only.
    pub(super) event: Option<Value>,
}

impl DaemonAddress {
    /// Opens a stream. It begins behind `position`, if there is one.
    ///
    /// # Errors
    /// [`ClientError`] if there is no response, or one that no daemon sends.
    ///
    /// # Cancel safety
    /// The request only reads.
    pub(super) async fn open_events(
        &self,
        path: &str,
        position: Option<EventCursor>,
    ) -> Result<StreamStart, ClientError> {
        let opening = timeout(HEAD_TIMEOUT, self.send_stream_request(path, position)).await;
        opening.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { address: self.describe_address(), limit: HEAD_TIMEOUT })
        })
    }

    async fn send_stream_request(
        &self,
        path: &str,
        position: Option<EventCursor>,
    ) -> Result<StreamStart, ClientError> {
        let address = self.describe_address();
        let failed = |source| ClientError::ExchangeFailed { address: address.clone(), source };
        let mut request = self.build_request(Method::GET, path, None)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        if let Some(position) = position {
            let id = HeaderValue::from_str(&position.to_string());
            request.headers_mut().insert(LAST_EVENT_ID, id.map_err(|_| ClientError::InvalidToken)?);
        }
        let connection = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(connection).await.map_err(failed)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_stream = kind.is_some_and(|kind| kind.starts_with(EVENT_STREAM));
        if head.status == StatusCode::OK && is_stream {
            let blocks = BlockReader::default();
            return Ok(StreamStart::Open(EventSource { address, body, blocks, _driver: driver }));
        }
        if head.status.is_success() {
            return Err(self.unexpected_response("events", RequestEffect::None));
        }
        let body = Limited::new(body, MAX_BLOCK_BYTES).collect().await;
        let invalid = || ClientError::InvalidResponse { address: address.clone() };
        let bytes = body.map_err(|_| invalid())?.to_bytes();
        let refused = DaemonResponse::parse(head.status, &head.headers, &bytes);
        refused.map(StreamStart::Refused).ok_or_else(invalid)
    }
}

impl EventSource {
    /// Returns true if the stream has had a position. That of a daemon begins with one.
    pub(super) fn has_position(&self) -> bool {
        self.blocks.has_position
    }

    /// Returns the failure of a stream that has ended, or `None` if a daemon may end one so.
    pub(super) fn failure(&self) -> Option<String> {
        let problem = match &self.blocks {
            BlockReader { is_invalid: true, .. } => "has a block that cannot be read",
            BlockReader { has_position: false, .. } => "ended before it had a position",
            _ => return None,
        };
        Some(format!("the event stream of the daemon at {} {problem}", self.address))
    }

    /// Returns the next block if it has been received. An invalid block ends the stream at
    /// [`EventSource::next_block`].
    pub(super) fn received_block(&mut self) -> Option<StreamBlock> {
        self.blocks.next_block().ok().flatten()
    }

    /// Waits for the next block. Returns `None` once the stream has ended, the connection is lost,
    /// or a block is not one of a daemon.
    ///
    /// # Cancel safety
    /// No block is lost.
    pub(super) async fn next_block(&mut self) -> Option<StreamBlock> {
        loop {
            match self.blocks.next_block() {
                Ok(Some(block)) => return Some(block),
                Ok(None) => {}
                Err(InvalidBlock) => return None,
            }
            let frame = timeout(SILENCE_TIMEOUT, self.body.frame()).await.ok()??.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.blocks.add(&bytes);
            }
        }
    }
}

/// A block that no daemon sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidBlock;

/// Splits the bytes of a stream into blocks. Pure.
#[derive(Debug, Default)]
pub(super) struct BlockReader {
    bytes: Vec<u8>,
    /// The number of bytes at the beginning that are known to have no end of a block.
    searched: usize,
    has_position: bool,
    /// A block was invalid. There is no block behind it.
    is_invalid: bool,
}

impl BlockReader {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next complete block, or `None` if more bytes are needed.
    pub(super) fn next_block(&mut self) -> Result<Option<StreamBlock>, InvalidBlock> {
        if self.is_invalid {
            return Err(InvalidBlock);
        }
        let block = self.split_block();
        self.is_invalid = block.is_err();
        self.has_position |= matches!(&block, Ok(Some(block)) if block.position.is_some());
        block
    }

    fn split_block(&mut self) -> Result<Option<StreamBlock>, InvalidBlock> {
        let rest = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(at) = rest.windows(2).position(|end| end == b"\n\n") else {
            // The first line feed of the end may be here already.
            self.searched = self.bytes.len().saturating_sub(1);
            return if self.bytes.len() > MAX_BLOCK_BYTES { Err(InvalidBlock) } else { Ok(None) };
        };
        let end = self.searched.saturating_add(at);
        let block: Vec<u8> = self.bytes.drain(..end.saturating_add(2)).collect();
        self.searched = 0;
        let text = str::from_utf8(&block).map_err(|_| InvalidBlock)?;
        parse_block(text).map(Some)
    }
}

fn parse_block(text: &str) -> Result<StreamBlock, InvalidBlock> {
    let mut block = StreamBlock::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => block.position = Some(id.parse().map_err(|_| InvalidBlock)?),
            Some(("data", data)) => {
                let event: Value = serde_json::from_str(data).map_err(|_| InvalidBlock)?;
                block.event = Some(event).filter(Value::is_object);
            }
            // The event word is in the data as well.
            _ => {}
        }
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00000000000000000000000000000001-7";

    fn blocks(parts: &[&[u8]]) -> Result<Vec<StreamBlock>, InvalidBlock> {
        let (mut reader, mut found) = (BlockReader::default(), Vec::new());
        for part in parts {
            reader.add(part);
            while let Some(block) = reader.next_block()? {
                found.push(block);
            }
        }
        Ok(found)
    }

    #[test]
    fn blocks_are_found_wherever_the_bytes_are_cut() {
        let text =
            format!("retry: 2000\n\nid: {ID}\nevent: added\ndata: {{\"a\":1}}\n\n:\nid: {ID}\n\n");
        let position = Some(ID.parse().unwrap());
        let expected = [
            StreamBlock::default(),
            StreamBlock { position, event: Some(json!({ "a": 1 })) },
            StreamBlock { position, event: None },
        ];
        for cut in 0..text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            assert_eq!(blocks(&[one, two]).unwrap(), expected, "{cut}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(blocks(&bytes).unwrap(), expected);
    }

    #[test]
    fn a_block_that_no_daemon_sends_ends_the_stream() {
        for bad in [&b"id: 7\n\n"[..], b"data: {\n\n", b"data: \xff\n\n"] {
            assert_eq!(blocks(&[bad]), Err(InvalidBlock), "{bad:?}");
        }
        let endless = vec![b'x'; MAX_BLOCK_BYTES + 1];
        assert_eq!(blocks(&[&endless]), Err(InvalidBlock));
        let mut reader = BlockReader::default();
        reader.add(format!("id: 7\n\nid: {ID}\n\n").as_bytes());
        for _ in 0..2 {
            assert_eq!(reader.next_block(), Err(InvalidBlock), "there is no block behind it");
        }
        let number = blocks(&[b"data: 7\n\n"]).unwrap();
        assert_eq!(number, [StreamBlock::default()], "an event is an object");
    }
}
