//! One page of events.

use axum::http::StatusCode;
use axum::response::Response;

use super::request::EventsRequest;
use super::unreadable;
use crate::agent::StoreService;
use crate::http::api::{AppState, response};
use crate::http::error::ApiError;
use crate::lifecycle::EventPage;
use crate::model::{EventCursor, StoreUuid};
use crate::wire::{EventLine, EventPageBody, GapLine};

/// Maximum number of reads for a page. A page of few kinds may search many events. Then it ends
/// early, and `more` is true.
const MAX_READS: usize = 64;

/// Reads a page with at most `limit` events.
pub(super) async fn read_response<S: StoreService>(
    state: &AppState<S>,
    request: EventsRequest,
    limit: u32,
) -> Result<Response, ApiError> {
    let mut query = state.events.to_query(request, limit).await?;
    let mut pages = Vec::new();
    let (more, next) = loop {
        let page = state.events.reader.read_page(query.clone()).await.map_err(unreadable)?;
        let (is_last, next) = (page.is_last, page.next);
        let found = u32::try_from(page.events.len()).unwrap_or(u32::MAX);
        query.limit = query.limit.saturating_sub(found);
        pages.push(page);
        if is_last || query.limit == 0 || pages.len() >= MAX_READS {
            break (!is_last, next.cursor);
        }
        query.after = Some(next);
    };
    let mut body = EventPageBody::new(more, next);
    for page in &pages {
        if let Some(gap) = &page.gap {
            body.push_gap(GapLine::new(gap, gap_cursor(page)));
        }
        for event in &page.events {
            body.push_event(EventLine::new(event, store_name(state, event.store)));
        }
    }
    Ok(response::json_response(StatusCode::OK, &body))
}

/// Returns the present name of a store, or `None` if the store is not served.
pub(super) fn store_name<S: StoreService>(state: &AppState<S>, store: StoreUuid) -> Option<String> {
    state.stores.snapshot(store).map(|snapshot| snapshot.store.name.clone())
}

/// Returns the position behind the gap of a page and before its events.
pub(super) fn gap_cursor(page: &EventPage) -> EventCursor {
    page.events.first().map_or(page.next.cursor, |first| EventCursor {
        id: first.cursor.id.saturating_sub(1),
        ..first.cursor
    })
}
