//! One page of events.

use axum::http::StatusCode;
use axum::response::Response;

use super::request::EventsRequest;
use super::unreadable;
use crate::agent::StoreService;
use crate::http::api::{AppState, response};
use crate::http::error::ApiError;
use crate::lifecycle::EventItem;
use crate::model::StoreUuid;
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
    let mut items = Vec::new();
    let mut reads = 0;
    let (more, next) = loop {
        let page = state.events.reader.read_page(query.clone()).await.map_err(unreadable)?;
        let events = page.items.iter().filter(|item| matches!(item, EventItem::Event(_))).count();
        query.limit = query.limit.saturating_sub(u32::try_from(events).unwrap_or(u32::MAX));
        items.extend(page.items);
        reads += 1;
        if page.is_last || query.limit == 0 || reads >= MAX_READS {
            break (!page.is_last, page.next);
        }
        query.after = Some(page.next);
    };
    let mut body = EventPageBody::new(more, next);
    for item in &items {
        match item {
            EventItem::Gap(cursor, gap) => body.push_gap(GapLine::new(gap, *cursor)),
            EventItem::Event(event) => {
                body.push_event(EventLine::new(event, store_name(state, event.store)));
            }
        }
    }
    Ok(response::json_response(StatusCode::OK, &body))
}

/// Returns the present name of a store, or `None` if the store is not served.
pub(super) fn store_name<S: StoreService>(state: &AppState<S>, store: StoreUuid) -> Option<String> {
    state.stores.snapshot(store).map(|snapshot| snapshot.store.name.clone())
}
