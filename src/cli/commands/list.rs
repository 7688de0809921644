//! `list`: the stores, once or as they change.

use std::future::ready;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep_until};

use super::follow::{FollowFailures, NextBlock, StreamEnd, next_block};
use super::{CommandError, CommandRunner, inventory_list};
use crate::cli::args::ListArgs;
use crate::cli::client::RequestEffect;
use crate::cli::event_stream::EventSource;
use crate::cli::output::list_changes::{ChangeLines, ListForm, ShownList};
use crate::cli::output::store_table::{ListColumn, exact_cells};
use crate::common::{
    Clock as _, OutputReader, SystemClock, is_output_terminal, print_json, print_rows, print_text,
    redraw_text,
};
use crate::model::EventCursor;

/// Time after which a list is read once more after an event. The daemon may publish an event a
/// moment before the store.
const SECOND_READ_DELAY: Duration = Duration::from_secs(1);
/// Time after which a list is read again without an event. Some conditions and the capacity change
/// without one.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

/// A list as it was fetched.
enum FetchedList {
    Stores(Vec<Value>),
    /// The daemon may answer later. The failure was reported.
    Later {
        asked_delay: Option<Duration>,
    },
    /// The daemon answered with an error, which has been shown.
    Refused,
}

/// A list that is watched, as it is on the output.
struct WatchedList<'a> {
    args: &'a ListArgs,
    form: ListForm,
    as_json: bool,
    is_terminal: bool,
    shown: ShownList,
    lines: ChangeLines,
    /// The stores, and the text on the terminal.
    stores: Vec<Value>,
    drawn: Option<String>,
}

impl CommandRunner {
    pub(super) async fn list_stores(&self, args: &ListArgs) -> Result<bool, CommandError> {
        if args.watch {
            return tokio::select! {
                watched = self.watch_list(args) => watched,
                interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| true)?),
            };
        }
        let reply = self.daemon.send_request(Method::GET, &self.list_path(args), None).await?;
        let form = list_form(args);
        if let (ListForm::Rows(columns), true) = (&form, reply.status.is_success()) {
            let unexpected = || self.daemon.unexpected_response("list", RequestEffect::None);
            let stores = listed(args, &reply.body).ok_or_else(unexpected)?;
            let rows: Vec<_> = stores.iter().map(|store| exact_cells(store, columns)).collect();
            print_rows(&rows)?;
            return Ok(true);
        }
        let now = SystemClock.now();
        self.show_reply("list", RequestEffect::None, &reply, |body| {
            listed(args, body).map(|stores| form.format_all(stores, now))
        })
    }

    fn list_path(&self, args: &ListArgs) -> String {
        match args.brief {
            true => format!("{}/stores", self.health_prefix),
            false => self.all_stores_path(),
        }
    }

    /// Shows the list, and its changes until the reader of the output is gone.
    async fn watch_list(&self, args: &ListArgs) -> Result<bool, CommandError> {
        let mut list = WatchedList::new(args, self.as_json);
        // The stream begins with the position at which it was opened.
        let path = format!("{}/events?since=0s", self.health_prefix);
        let show = async |stream: &mut EventSource,
                          position: &mut Option<EventCursor>,
                          failures: &mut FollowFailures| {
            self.show_changes(&mut list, stream, position, failures).await
        };
        self.follow_stream(&path, None, show).await
    }

    /// Reads the list at the beginning of a stream, after each event of it, and at an interval, and
    /// shows what has changed.
    async fn show_changes(
        &self,
        list: &mut WatchedList<'_>,
        stream: &mut EventSource,
        position: &mut Option<EventCursor>,
        failures: &mut FollowFailures,
    ) -> Result<StreamEnd, CommandError> {
        let (mut reads_at, mut is_read) = (Instant::now(), false);
        loop {
            let next = tokio::select! {
                biased;
                // A timer is not ready at once, and the stream may be lost before it is.
                () = ready(()), if reads_at <= Instant::now() => None,
                () = sleep_until(reads_at) => None,
                block = next_block(stream) => Some(block),
            };
            let next_read = match next {
                None => Some(REFRESH_INTERVAL),
                Some(NextBlock::Lost) => return Ok(StreamEnd::Lost),
                Some(NextBlock::Unread) => return Ok(StreamEnd::Unread),
                Some(NextBlock::Block(block)) => {
                    *position = block.position.or(*position);
                    let mut had_event = block.event.is_some();
                    // One read of the list has what all events that are here have changed.
                    while let Some(block) = stream.received_block() {
                        *position = block.position.or(*position);
                        had_event |= block.event.is_some();
                    }
                    had_event.then_some(SECOND_READ_DELAY)
                }
            };
            let mut reader = OutputReader::Present;
            if let Some(delay) = next_read {
                reader = match self.fetch_list(list.args, failures).await? {
                    FetchedList::Stores(stores) => list.show(stores)?,
                    FetchedList::Later { asked_delay } => {
                        return Ok(StreamEnd::Failed { asked_delay });
                    }
                    FetchedList::Refused => return Ok(StreamEnd::Refused),
                };
                is_read = true;
                reads_at = Instant::now() + delay;
            }
            if is_read && stream.has_position() {
                failures.report_end();
            }
            if reader == OutputReader::Gone {
                return Ok(StreamEnd::Unread);
            }
        }
    }

    async fn fetch_list(
        &self,
        args: &ListArgs,
        failures: &mut FollowFailures,
    ) -> Result<FetchedList, CommandError> {
        let reply = match self.daemon.send_request(Method::GET, &self.list_path(args), None).await {
            Ok(reply) => reply,
            Err(error) if error.is_temporary() => {
                failures.report(error.to_string());
                return Ok(FetchedList::Later { asked_delay: None });
            }
            Err(error) => return Err(error.into()),
        };
        if reply.may_pass() {
            failures.report(self.describe_refusal(&reply));
            return Ok(FetchedList::Later { asked_delay: reply.honoured_delay() });
        }
        if !reply.status.is_success() {
            return self.show_inventory(&reply).map(|_| FetchedList::Refused);
        }
        let unexpected = || self.daemon.unexpected_response("list", RequestEffect::None);
        let stores = listed(args, &reply.body).ok_or_else(unexpected)?;
        Ok(FetchedList::Stores(stores.to_vec()))
    }
}

impl<'a> WatchedList<'a> {
    fn new(args: &'a ListArgs, as_json: bool) -> Self {
        let form = list_form(args);
        let is_terminal = is_output_terminal() && !as_json && !args.scripted;
        Self {
            args,
            as_json,
            is_terminal,
            shown: ShownList::new(match as_json && !args.brief {
                true => ListForm::Json,
                false => form.clone(),
            }),
            form,
            lines: ChangeLines::default(),
            stores: Vec::new(),
            drawn: None,
        }
    }

    /// Shows the present list: on a terminal as a whole, else the stores that have changed.
    fn show(&mut self, stores: Vec<Value>) -> std::io::Result<OutputReader> {
        if self.is_terminal {
            self.stores = stores;
            return self.draw();
        }
        let changed = self.shown.replace(&stores);
        if self.as_json {
            for store in changed {
                if print_json(&json!({ "inventory": store }))? == OutputReader::Gone {
                    return Ok(OutputReader::Gone);
                }
            }
            return Ok(OutputReader::Present);
        }
        match &self.form {
            ListForm::Rows(columns) => {
                let rows = changed.iter().map(|store| exact_cells(store, columns));
                print_rows(&rows.collect::<Vec<_>>())
            }
            form => print_text(&self.lines.format(form, &changed, SystemClock.now())),
        }
    }

    /// Draws the list on a terminal, unless it is there already.
    fn draw(&mut self) -> std::io::Result<OutputReader> {
        let text = self.form.format_all(&self.stores, SystemClock.now());
        if self.drawn.as_ref() == Some(&text) {
            return Ok(OutputReader::Present);
        }
        let reader = redraw_text(&text)?;
        self.drawn = Some(text);
        Ok(reader)
    }
}

fn list_form(args: &ListArgs) -> ListForm {
    let columns = match args.columns.is_empty() {
        true => ListColumn::DEFAULT.to_vec(),
        false => args.columns.clone(),
    };
    match (args.brief, args.scripted) {
        (true, _) => ListForm::Brief,
        (false, true) => ListForm::Rows(columns),
        (false, false) => ListForm::Table(columns),
    }
}

/// Returns the stores of a response, or `None` if it is no list of stores.
fn listed<'a>(args: &ListArgs, body: &'a Value) -> Option<&'a [Value]> {
    if !args.brief {
        return inventory_list(body);
    }
    let stores = body.get("stores")?.as_array()?;
    let is_store = |store: &Value| store.get("uuid").is_some_and(Value::is_string);
    stores.iter().all(is_store).then_some(stores)
}
