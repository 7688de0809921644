//! The events of all stores: `{prefix}/events`, as a page or as a stream; and the phases of the
//! attempts of one store.

pub(in crate::http::api) mod attempt;
pub(in crate::http) mod body;
mod page;
mod request;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AppState;
use super::query_string::QueryParameters;
use crate::agent::{EventReader, StoreService};
use crate::common::{Clock, Timestamp};
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::http::limits::ServerLimits;
use crate::lifecycle::EventQuery;
use crate::model::{AttemptFailure, Fault, Reason, Remedy};
use request::{EventForm, EventStart, EventsRequest};

/// The dependencies of the requests for events.
pub(in crate::http) struct EventAccess {
    pub(in crate::http) reader: EventReader,
    /// The clock that `since` is counted from.
    pub(in crate::http) clock: Arc<dyn Clock>,
    /// The permits of the streams.
    streams: Arc<Semaphore>,
    max_streams: usize,
    comment_interval: Duration,
    max_duration: Duration,
}

impl EventAccess {
    pub(in crate::http) fn new(
        reader: EventReader,
        clock: Arc<dyn Clock>,
        limits: &ServerLimits,
    ) -> Self {
        Self {
            reader,
            clock,
            streams: Arc::new(Semaphore::new(limits.max_event_streams)),
            max_streams: limits.max_event_streams,
            comment_interval: limits.event_comment_interval,
            max_duration: limits.event_stream_duration,
        }
    }

    /// Returns the number of open streams.
    pub(in crate::http::api) fn open_streams(&self) -> usize {
        self.max_streams.saturating_sub(self.streams.available_permits())
    }

    /// Returns the permit of a stream.
    fn acquire_stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| too_many_streams(self.max_streams))
    }

    /// Returns the query of a request for at most `limit` events.
    async fn to_query(&self, request: EventsRequest, limit: u32) -> Result<EventQuery, ApiError> {
        let after = match request.start {
            EventStart::Oldest => None,
            EventStart::After(cursor) => Some(cursor),
            EventStart::Since(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let since = Timestamp(self.clock.now().0.saturating_sub(age));
                Some(self.reader.position_before(since).await.map_err(unreadable)?)
            }
        };
        Ok(EventQuery { after, store: request.store, kinds: request.kinds, limit })
    }
}

/// Returns a page of events, or begins a stream.
pub(super) async fn get_events<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    parameters: QueryParameters,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let request = EventsRequest::parse(&parameters, &headers)?;
    match request.form {
        EventForm::Page(limit) => page::read_response(&state, request, limit).await,
        EventForm::Stream => stream::begin_stream(state, request).await,
    }
}

/// Creates the error for events that cannot be read.
fn unreadable(fault: Fault) -> ApiError {
    ApiError::ConnectFailed(fault.into())
}

/// Creates the error for a stream beyond the limit.
fn too_many_streams(limit: usize) -> ApiError {
    let fault = Fault::new(Reason::AgentBusy, "too many streams of events are open")
        .with_detail("connections", limit)
        .with_remedy(Remedy::CloseStream);
    ApiError::ConnectFailed(AttemptFailure::from_fault(fault))
}
