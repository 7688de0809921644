//! `events`: the history of all stores, and what happens next.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::follow::{FollowFailures, NextBlock, StreamEnd, next_block};
use super::{CommandError, CommandRunner};
use crate::cli::args::EventsArgs;
use crate::cli::client::RequestEffect;
use crate::cli::daemon_response::DaemonResponse;
use crate::cli::event_stream::EventSource;
use crate::cli::output::events::format_event;
use crate::common::{OutputReader, print_json, print_text};
use crate::model::{EventCursor, EventKind};

/// The maximum number of events of a page, that of the daemon.
const PAGE_EVENTS: u32 = 1000;
/// The age of the oldest event without `--since` and `--after`: a day.
const DEFAULT_SINCE: Duration = Duration::from_secs(24 * 60 * 60);
/// The events of a page, and the position behind it.
struct FetchedPage {
    events: Vec<Value>,
    more: bool,
    next: EventCursor,
}

impl CommandRunner {
    /// Shows the events that are there, and then those that happen.
    pub(super) async fn show_events(&self, args: &EventsArgs) -> Result<bool, CommandError> {
        let mut selection = Vec::new();
        if let Some(store) = &args.store {
            let Some(store) = self.resolve_store(store).await? else { return Ok(false) };
            selection.push(format!("store={store}"));
        }
        if !args.kinds.is_empty() {
            let kinds: Vec<&str> = args.kinds.iter().map(|kind| kind.as_str()).collect();
            selection.push(format!("kind={}", kinds.join(",")));
        }
        let Some(next) = self.show_past_events(args, &selection).await? else { return Ok(false) };
        match next {
            PastEnd::Unread => Ok(true),
            PastEnd::Position(next) if args.follow => self.follow_events(&selection, next).await,
            PastEnd::Position(_) => Ok(true),
        }
    }

    /// Shows the events that are there. Returns `None` if the daemon answered with an error, which
    /// has been shown.
    async fn show_past_events(
        &self,
        args: &EventsArgs,
        selection: &[String],
    ) -> Result<Option<PastEnd>, CommandError> {
        let only_first = args.after.is_some() && !args.follow;
        let limit = args.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut newest = VecDeque::new();
        let (mut shown, mut start) = (0_usize, start_parameter(args));
        loop {
            let rest = limit.filter(|_| only_first).map(|limit| limit.saturating_sub(shown));
            let wanted = rest.and_then(|rest| u32::try_from(rest).ok()).unwrap_or(PAGE_EVENTS);
            let wanted = format!("limit={}", wanted.min(PAGE_EVENTS));
            let query = [selection, &[start, wanted]].concat().join("&");
            let path = format!("{}/events?{query}", self.health_prefix);
            let reply = self.daemon.send_request(Method::GET, &path, None).await?;
            let Some(page) = self.parse_page(&reply)? else { return Ok(None) };
            shown = shown.saturating_add(count_events(&page.events));
            if let Some(limit) = limit.filter(|_| !only_first) {
                newest.extend(page.events);
                while count_events(&newest) > limit {
                    newest.pop_front();
                }
            } else if self.print_events(&page.events)? == OutputReader::Gone {
                return Ok(Some(PastEnd::Unread));
            }
            if !page.more || (only_first && limit.is_some_and(|limit| shown >= limit)) {
                let gone = self.print_events(newest.make_contiguous())? == OutputReader::Gone;
                return Ok(Some(if gone { PastEnd::Unread } else { PastEnd::Position(page.next) }));
            }
            start = format!("after={}", page.next);
        }
    }

    /// Returns the page of a response, or `None` if it is an error, which has been shown.
    fn parse_page(&self, reply: &DaemonResponse) -> Result<Option<FetchedPage>, CommandError> {
        if !reply.status.is_success() {
            return self.show_inventory(reply).map(|_| None);
        }
        let page = fetched_page(&reply.body).filter(|_| reply.status == StatusCode::OK);
        let unexpected = || self.daemon.unexpected_response("events", RequestEffect::None);
        Ok(Some(page.ok_or_else(unexpected)?))
    }

    /// Follows the events behind a position until the reader of the output is gone.
    async fn follow_events(
        &self,
        selection: &[String],
        position: EventCursor,
    ) -> Result<bool, CommandError> {
        let path = format!("{}/events?{}", self.health_prefix, selection.join("&"));
        let show = async |stream: &mut EventSource,
                          position: &mut Option<EventCursor>,
                          failures: &mut FollowFailures| {
            loop {
                let block = match next_block(stream).await {
                    NextBlock::Block(block) => block,
                    NextBlock::Lost => return Ok(StreamEnd::Lost),
                    NextBlock::Unread => return Ok(StreamEnd::Unread),
                };
                if stream.has_position() {
                    failures.report_end();
                }
                if let Some(event) = block.event
                    && self.print_events(&[event])? == OutputReader::Gone
                {
                    return Ok(StreamEnd::Unread);
                }
                *position = block.position.or(*position);
            }
        };
        self.follow_stream(&path, Some(position), show).await
    }

    fn print_events(&self, events: &[Value]) -> Result<OutputReader, CommandError> {
        for event in events {
            let reader = match self.as_json {
                true => print_json(event)?,
                false => print_text(&format_event(event))?,
            };
            if reader == OutputReader::Gone {
                return Ok(reader);
            }
        }
        Ok(OutputReader::Present)
    }
}

/// The end of the events that are there.
enum PastEnd {
    /// All of them were shown. The position is behind them.
    Position(EventCursor),
    /// The reader of the output is gone.
    Unread,
}

/// Returns the number of events. A gap is none, as in the limit of the daemon.
fn count_events<'a>(items: impl IntoIterator<Item = &'a Value>) -> usize {
    items.into_iter().filter(|item| item["event"] != EventKind::Gap.as_str()).count()
}

fn start_parameter(args: &EventsArgs) -> String {
    match args.after {
        Some(cursor) => format!("after={cursor}"),
        None => format!("since={}ms", args.since.unwrap_or(DEFAULT_SINCE).as_millis()),
    }
}

/// Returns the page in a body, or `None` if it is none of a daemon.
fn fetched_page(body: &Value) -> Option<FetchedPage> {
    let events = body.get("events")?.as_array()?.clone();
    events.iter().all(|event| event.get("event").is_some_and(Value::is_string)).then_some(())?;
    let next = body.get("next")?.as_str()?.parse().ok()?;
    Some(FetchedPage { events, more: body.get("more")?.as_bool()?, next })
}
