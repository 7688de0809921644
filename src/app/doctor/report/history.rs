//! The newest lines of the history, from the daemon or from the copy of the ledger.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::super::daemon_view::{ask, list};
use super::super::output::Report;
use super::super::state_files::StateView;
use super::Background;
use crate::common::{ErrorChain, run_blocking};
use crate::ledger::{LEDGER_FILE, LedgerCopy};
use crate::lifecycle::EventItem;
use crate::model::EventCursor;
use crate::redaction::{Redactor, redact_event};
use crate::wire::{EventLine, GapLine};

/// The number of lines of a report.
const LINES: usize = 200;
/// Maximum number of events of an answer, see `docs/http-api.md`.
const PAGE_LINES: u64 = 1000;
/// Maximum number of answers that are read. Lines of other or removed stores lie between those that
/// are wanted.
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
    let lines = match (background.is_answered, &background.state) {
        (true, _) => timeout(HISTORY_TIMEOUT, ask_daemon(report, background))
            .await
            .map_err(|_| "the daemon does not answer".to_owned())??,
        (false, Some(state)) => read_copy(state).await?,
        (false, None) => return Err("needs service.answers".to_owned()),
    };
    let wanted: Vec<&Value> = lines.iter().filter(|line| report.concerns(line)).collect();
    let newest = wanted.iter().skip(wanted.len().saturating_sub(LINES));
    Ok(newest.map(|line| redact_event(line, redactor)).collect())
}

async fn ask_daemon(report: &Report, background: &Background) -> Result<Vec<Value>, String> {
    let path = format!("{}/events", background.prefix);
    let newest = ask(&background.daemon, &format!("{path}?since=1s&limit=1")).await;
    let newest = newest.map_err(|problem| problem.into_text())?;
    let next = newest.get("next").and_then(Value::as_str).and_then(|next| next.parse().ok());
    let next: EventCursor = next.ok_or("the daemon is of another version")?;
    let mut span = PAGE_LINES;
    let mut pages = 0;
    loop {
        let mut after = EventCursor { id: next.id.saturating_sub(span), ..next };
        let mut lines = Vec::new();
        loop {
            let page = format!("{path}?after={after}&limit={PAGE_LINES}");
            let page = ask(&background.daemon, &page).await.map_err(|it| it.into_text())?;
            lines.extend(list(&page, "events").into_iter().filter(|line| report.concerns(line)));
            lines.drain(..lines.len().saturating_sub(LINES));
            pages += 1;
            let is_last = page.get("more").and_then(Value::as_bool) != Some(true);
            let next = page.get("next").and_then(Value::as_str).and_then(|it| it.parse().ok());
            match next {
                Some(next) if !is_last && pages < MAX_PAGES => after = next,
                _ => break,
            }
        }
        if lines.len() >= LINES || span >= next.id || pages >= MAX_PAGES {
            return Ok(lines);
        }
        span = span.saturating_mul(GROWTH);
    }
}

async fn read_copy(state: &StateView) -> Result<Vec<Value>, String> {
    let Some(folder) = &state.copy else {
        let need = state.ledger_need().unwrap_or_else(|| "a ledger".to_owned());
        return Err(format!("needs {need}"));
    };
    let copy = folder.path().join(LEDGER_FILE);
    let read = move || LedgerCopy::newest_events(&copy, LINES);
    let events = run_blocking(Instant::now() + HISTORY_TIMEOUT, read).await;
    let events = events.map_err(|error| error.to_string())?;
    let events = events.map_err(|error| ErrorChain(&error).to_string())?;
    let line = |item: &EventItem| match item {
        EventItem::Event(event) => serde_json::to_value(EventLine::new(event, None)),
        EventItem::Gap(cursor, gap) => serde_json::to_value(GapLine::new(gap, *cursor)),
    };
    Ok(events.iter().filter_map(|item| line(item).ok()).collect())
}
