//! A stream of events: server-sent events (HTML standard, section 9.2).

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::body::{EventStreamBody, EventStreamMark, PartSource};
use super::page::store_name;
use super::request::{EVENT_STREAM, EventsRequest};
use super::unreadable;
use crate::agent::StoreService;
use crate::common::write_safe_json;
use crate::http::api::AppState;
use crate::http::error::ApiError;
use crate::lifecycle::{EventItem, EventPage, EventQuery};
use crate::model::{EventCursor, EventKind};
use crate::wire::{EventLine, GapLine};

/// Number of events in one part of a stream: some 10 KB.
const PART_EVENTS: u32 = 32;
/// Minimum time between two reads of a stream that has every event. A burst of commits then costs
/// few reads, and an operator hardly notices it.
const MIN_READ_INTERVAL: Duration = Duration::from_millis(100);
/// Time after which a browser resumes a stream that has ended, in milliseconds.
const RETRY_MS: u32 = 2000;

/// A stream that is open.
struct EventStream<S> {
    state: Arc<AppState<S>>,
    query: EventQuery,
    added: watch::Receiver<u64>,
    /// True if the last read found the end of the history.
    has_all: bool,
    /// The time from which the stream may read again after it found the end.
    next_read: Instant,
    ends_at: Instant,
    /// The first part, which the begin of the stream has read.
    first: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

/// Begins a stream.
pub(super) async fn begin_stream<S: StoreService>(
    state: Arc<AppState<S>>,
    request: EventsRequest,
) -> Result<Response, ApiError> {
    let events = &state.events;
    let permit = events.acquire_stream()?;
    let max_duration = events.max_duration;
    let query = events.to_query(request, PART_EVENTS).await?;
    let (added, now) = (events.reader.subscribe_events(), Instant::now());
    let mut stream = EventStream {
        state,
        query,
        added,
        has_all: false,
        next_read: now,
        ends_at: now + max_duration,
        first: None,
        _permit: permit,
    };
    // An error of the first read has a status. The first part has the position even if there is
    // no event, so that a client can resume from it.
    let page = stream.read_page().await.map_err(unreadable)?;
    let mut part = format!("retry: {RETRY_MS}\n\n").into_bytes();
    stream.write_events(&page, &mut part);
    write_position(page.next, &mut part);
    stream.first = Some(part.into());
    Ok(stream_response(stream))
}

/// Creates the response with a stream.
pub(super) fn stream_response(source: impl PartSource) -> Response {
    let mut response = Response::new(Body::new(EventStreamBody::new(source)));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(EventStreamMark);
    response
}

impl<S: StoreService> EventStream<S> {
    async fn read_page(&mut self) -> Result<EventPage, crate::model::Fault> {
        // Events that are added from here on cause another read.
        self.added.mark_unchanged();
        let page = self.state.events.reader.read_page(self.query.clone()).await?;
        self.query.after = Some(page.next);
        self.has_all = page.is_last;
        self.next_read = Instant::now() + MIN_READ_INTERVAL;
        Ok(page)
    }

    fn write_events(&self, page: &EventPage, part: &mut Vec<u8>) {
        for item in &page.items {
            match item {
                EventItem::Gap(cursor, gap) => {
                    write_event(EventKind::Gap, *cursor, &GapLine::new(gap, *cursor), part);
                }
                EventItem::Event(event) => {
                    let line = EventLine::new(event, store_name(&self.state, event.store));
                    write_event(event.entry.event.kind(), event.cursor, &line, part);
                }
            }
        }
    }

    /// Returns the next part: events, or a comment if there is none for some time.
    async fn read_part(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let comment_at = Instant::now() + self.state.events.comment_interval;
        loop {
            // A client that reads slowly is never at the end of the history.
            if Instant::now() >= self.ends_at {
                return None;
            }
            if self.has_all {
                match timeout_at(comment_at.min(self.ends_at), self.added.changed()).await {
                    Ok(added) => added.ok()?,
                    Err(_) if Instant::now() >= self.ends_at => return None,
                    Err(_) => return Some(self.comment()),
                }
                sleep_until(self.next_read).await;
            }
            let page = self.read_page().await;
            let page = page.inspect_err(|fault| debug!(%fault, "event stream ended")).ok()?;
            let mut part = Vec::new();
            self.write_events(&page, &mut part);
            if !part.is_empty() {
                return Some(part.into());
            }
            if Instant::now() >= comment_at {
                return Some(self.comment());
            }
        }
    }

    /// Returns a comment with the position. A client that selects few events advances with it.
    fn comment(&self) -> Bytes {
        let mut part = b":\n".to_vec();
        if let Some(position) = self.query.after {
            write_position(position, &mut part);
        }
        part.into()
    }
}

impl<S: StoreService> PartSource for EventStream<S> {
    async fn next_part(mut self) -> Option<(Bytes, Self)> {
        let stop = self.state.stop.clone();
        let part = stop.run_until_cancelled(self.read_part()).await??;
        Some((part, self))
    }
}

/// Writes the position alone. Clients take it over without an event.
fn write_position(cursor: EventCursor, part: &mut Vec<u8>) {
    part.extend_from_slice(format!("id: {cursor}\n\n").as_bytes());
}

fn write_event(kind: EventKind, cursor: EventCursor, line: &impl Serialize, part: &mut Vec<u8>) {
    part.extend_from_slice(format!("id: {cursor}\n").as_bytes());
    write_block(kind.as_str(), line, part);
}

/// Writes an event without a position.
pub(super) fn write_block(event: &str, line: &impl Serialize, part: &mut Vec<u8>) {
    part.extend_from_slice(format!("event: {event}\ndata: ").as_bytes());
    // Only a map whose keys are not strings can fail here, and no line has one.
    if let Err(error) = write_safe_json(line, part) {
        tracing::error!(%error, "event serialization failed");
    }
    part.extend_from_slice(b"\n\n");
}
