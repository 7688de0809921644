//! The newest lines of the history, from the daemon or from the copy of the ledger.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::super::daemon_view::{ask, list};
use super::super::output::Report;
use super::super::state_files::StateView;
use super::background::Background;
use crate::common::{ErrorChain, run_blocking};
use crate::ledger::{LEDGER_FILE, LedgerCopy};
use crate::lifecycle::EventItem;
use crate::model::{EventCursor, StoreUuid};
use crate::redaction::{Redactor, redact_event};
use crate::wire::{EventLine, GapLine};

/// The number of lines of a report.
const LINES: usize = 200;
/// Maximum number of events of an answer, see `docs/http-api.md`.
const PAGE_LINES: u64 = 1000;
/// Maximum number of answers for one store, or for all of them together.
const MAX_PAGES: u32 = 40;
/// The factor by which the number of searched lines grows until enough are found.
const GROWTH: u64 = 8;
/// Maximum time for all questions.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the newest lines of the stores of the report, oldest first.
///
/// # Errors
/// Returns the need of the history.
pub(super) async fn newest_lines(report: &Report, redactor: &Redactor) -> Result<Value, String> {
    let background = report.background.as_ref().ok_or("needs service.answers")?;
    let stores = match report.choice() {
        Some(chosen) => chosen.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let lines = match (background.is_answered, &background.state) {
        (true, _) => timeout(HISTORY_TIMEOUT, ask_daemon(background, &stores))
            .await
            .map_err(|_| "the daemon does not answer".to_owned())??,
        (false, Some(state)) => read_copy(state, stores).await?,
        (false, None) => return Err("needs service.answers".to_owned()),
    };
    Ok(merge(lines).iter().map(|line| redact_event(line, redactor)).collect())
}

/// Returns the newest of the lines of all stores, oldest first.
fn merge(mut lines: Vec<Value>) -> Vec<Value> {
    lines.sort_by_key(|line| cursor(line, "cursor").map(|cursor| cursor.id));
    // The gap of a copied ledger is one of each store.
    lines.dedup();
    lines.split_off(lines.len().saturating_sub(LINES))
}

fn cursor(body: &Value, field: &str) -> Option<EventCursor> {
    body.get(field)?.as_str()?.parse().ok()
}

/// One answer of the daemon.
struct Page {
    lines: Vec<Value>,
    /// The position of the next page, or `None` if this is the last one.
    next: Option<EventCursor>,
}

async fn ask_daemon(
    background: &Background,
    stores: &[Option<StoreUuid>],
) -> Result<Vec<Value>, String> {
    let mut lines = Vec::new();
    for store in stores {
        let filter = store.map(|uuid| format!("&store={uuid}")).unwrap_or_default();
        let path = format!("{}/events", background.prefix);
        let events = async |query: String| {
            let page = ask(&background.daemon, &format!("{path}?{query}{filter}")).await;
            page.map_err(|problem| problem.into_text())
        };
        let newest = events("since=1s&limit=1".to_owned()).await?;
        let newest = cursor(&newest, "next").ok_or("the daemon is of another version")?;
        let page = async |after: EventCursor| {
            let page = events(format!("after={after}&limit={PAGE_LINES}")).await?;
            let has_more = page.get("more").and_then(Value::as_bool) == Some(true);
            let next = cursor(&page, "next").filter(|_| has_more);
            Ok(Page { lines: list(&page, "events"), next })
        };
        lines.extend(search_newest(newest, page).await?);
    }
    Ok(lines)
}

/// Returns the newest lines up to the position `newest`, from pages that begin at a position. The
/// search begins near the newest line, and goes farther back until it has enough lines. If the
/// pages for that are too many, it ends with the lines that it has.
async fn search_newest(
    newest: EventCursor,
    page: impl AsyncFn(EventCursor) -> Result<Page, String>,
) -> Result<Vec<Value>, String> {
    let (mut span, mut pages, mut found) = (PAGE_LINES, 0, Vec::new());
    loop {
        let mut after = Some(EventCursor { id: newest.id.saturating_sub(span), ..newest });
        let mut lines = Vec::new();
        while let Some(from) = after {
            if pages == MAX_PAGES {
                // The lines so far are older than those of the shorter search.
                return Ok(found);
            }
            pages += 1;
            let page = page(from).await?;
            lines.extend(page.lines);
            lines.drain(..lines.len().saturating_sub(LINES));
            after = page.next;
        }
        found = lines;
        if found.len() >= LINES || span >= newest.id {
            return Ok(found);
        }
        span = span.saturating_mul(GROWTH);
    }
}

async fn read_copy(
    state: &StateView,
    stores: Vec<Option<StoreUuid>>,
) -> Result<Vec<Value>, String> {
    if let Some(problem) = state.problem() {
        return Err(problem.to_owned());
    }
    let Some(folder) = &state.copy else {
        let need = state.ledger_need().unwrap_or_else(|| "a ledger".to_owned());
        return Err(format!("needs {need}"));
    };
    let copy = folder.path().join(LEDGER_FILE);
    let read = move || {
        let events = stores.iter().map(|store| LedgerCopy::newest_events(&copy, *store, LINES));
        events.collect::<Result<Vec<_>, _>>()
    };
    let events = run_blocking(Instant::now() + HISTORY_TIMEOUT, read).await;
    let events = events.map_err(|error| error.to_string())?;
    let events = events.map_err(|error| ErrorChain(&error).to_string())?;
    let line = |item: &EventItem| match item {
        EventItem::Event(event) => serde_json::to_value(EventLine::new(event, None)),
        EventItem::Gap(cursor, gap) => serde_json::to_value(GapLine::new(gap, *cursor)),
    };
    Ok(events.iter().flatten().filter_map(|item| line(item).ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    fn at(id: u64) -> EventCursor {
        format!("{}-{id}", "0".repeat(32)).parse().unwrap()
    }

    fn line(id: u64) -> Value {
        json!({"cursor": at(id).to_string(), "id": id})
    }

    /// Searches a history with a line in each `distance` positions, whose pages end after `step`
    /// positions. Returns the positions of the lines, and the number of pages.
    async fn search(newest: u64, distance: u64, step: u64) -> (Vec<u64>, u32) {
        let pages = Cell::new(0);
        let page = async |after: EventCursor| {
            pages.set(pages.get() + 1);
            let end = newest.min(after.id + step);
            let lines = (after.id + 1..=end).filter(|id| id % distance == 0).map(line);
            Ok(Page { lines: lines.collect(), next: (end < newest).then(|| at(end)) })
        };
        let lines = search_newest(at(newest), page).await.unwrap();
        (lines.iter().map(|line| line["id"].as_u64().unwrap()).collect(), pages.get())
    }

    #[tokio::test]
    async fn a_search_that_ends_early_has_the_newest_lines() {
        let lines = |from: u64, newest: u64, distance: usize| -> Vec<u64> {
            (from..=newest).step_by(distance).collect()
        };
        assert_eq!(search(0, 1, 1000).await, (vec![], 1));
        assert_eq!(search(50_000, 1, 1000).await, (lines(49_801, 50_000, 1), 1));
        assert_eq!(search(50_000, 40, 10_000).await, (lines(42_040, 50_000, 40), 2));
        assert_eq!(search(3000, 1000, 1000).await, (vec![1000, 2000, 3000], 4));
        // The third search would need 128 pages: it breaks off among old lines.
        assert_eq!(search(100_000, 100, 500).await, (lines(92_100, 100_000, 100), MAX_PAGES));
    }

    #[test]
    fn the_lines_of_several_stores_are_in_one_order() {
        let all = [5, 300, 7, 7].map(line).into_iter().chain((10..220).map(line));
        let merged = merge(all.collect());
        let ids: Vec<u64> = merged.iter().map(|line| line["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (21..220).chain([300]).collect::<Vec<u64>>());
    }
}
