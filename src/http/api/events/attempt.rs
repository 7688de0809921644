//! The phases of the attempts of a store as they end: `{prefix}/stores/{uuid}/attempt`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::body::PartSource;
use super::request::selects_stream;
use super::stream::{stream_response, write_block};
use crate::agent::{AttemptNews, AttemptWatch, StoreService};
use crate::http::api::query_string::QueryParameters;
use crate::http::api::{AppState, StoreIdPath, response};
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::query::InvalidParameter;
use crate::wire::{AttemptBody, AttemptOverLine, PhaseLine};

/// Returns the phases of the running attempt, or follows those of this and later attempts.
pub(in crate::http::api) async fn get_attempt<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    parameters: QueryParameters,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let store = store.ok_or(ApiError::InvalidUuid)?;
    if let Some((name, _)) = parameters.pairs().next() {
        let refused = InvalidParameter::new(name, "an attempt has no such parameter");
        return Err(ApiError::InvalidParameter(refused));
    }
    let attempts = state.stores.watch_attempts(store).ok_or(ApiError::UnknownStore(store))?;
    if !selects_stream(&headers) {
        let body = AttemptBody::new(attempts.running_phases());
        return Ok(response::json_response(StatusCode::OK, &body));
    }
    let stream = AttemptStream {
        attempts,
        stop: state.stop.clone(),
        comment_interval: state.events.comment_interval,
        ends_at: Instant::now() + state.events.max_duration,
        // The client then knows that it misses no phase of an attempt that it starts.
        first: Some(Bytes::from_static(b":\n\n")),
        _permit: state.events.acquire_stream()?,
    };
    Ok(stream_response(stream))
}

/// A stream that is open.
struct AttemptStream {
    attempts: AttemptWatch,
    stop: CancellationToken,
    comment_interval: Duration,
    ends_at: Instant,
    first: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl AttemptStream {
    /// Returns the next part: news, or a comment if there is none for some time.
    async fn read_part(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let now = Instant::now();
        if now >= self.ends_at {
            return None;
        }
        let until = self.ends_at.min(now + self.comment_interval);
        let Ok(news) = timeout_at(until, self.attempts.next_news()).await else {
            return Some(Bytes::from_static(b":\n\n"));
        };
        let mut part = Vec::new();
        match news? {
            AttemptNews::Phase(end) => write_block("phase", &PhaseLine::from(end), &mut part),
            AttemptNews::Over => {
                write_block(AttemptOverLine::EVENT, &AttemptOverLine::default(), &mut part);
            }
        }
        Some(part.into())
    }
}

impl PartSource for AttemptStream {
    async fn next_part(mut self) -> Option<(Bytes, Self)> {
        let stop = self.stop.clone();
        let part = stop.run_until_cancelled(self.read_part()).await??;
        Some((part, self))
    }
}
