//! Arguments of `events` and `wait`.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::connection::CommonArgs;
use super::connection::ConnectionArgs;
use crate::cli::store_reference::StoreReference;
use crate::model::{EventCursor, EventKind};
use crate::query::parse_span;

/// Maximum timeout: a year. The clock cannot represent the end of every duration.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `events`
#[derive(Debug, clap::Args)]
#[command(mut_arg("json", |json| json.help("Print each event as a line of JSON, errors included")))]
pub struct EventsArgs {
    /// Only the events of this store: its name, its uuid, or the first digits of its uuid, at least
    /// 6. A removed store is named by its uuid.
    pub store: Option<StoreReference>,
    /// Go on with the events as they happen. The command connects again after a restart of the
    /// daemon, and misses and repeats nothing.
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with the events that are at most this old, such as 90s, 2h or 7d [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "after")]
    pub since: Option<Duration>,
    /// Begin behind the event with this cursor, which --json shows.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<EventCursor>,
    /// Only events of these kinds, with commas. A gap is always shown.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = kind_parser())]
    pub kinds: Vec<EventKind>,
    /// At most this many events: the newest ones, or with --after and without --follow the oldest
    /// ones. With --follow, later events do not count.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: Option<u32>,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// The state that `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AwaitedState {
    /// The store is Connected.
    Connected,
    /// The store is Disconnected.
    Disconnected,
    /// The management node has acknowledged every notice of the store.
    Delivered,
}

/// `wait`
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// The store: its name, its uuid, or the first digits of its uuid, at least 6.
    pub store: StoreReference,
    /// State to wait for.
    #[arg(long = "for", value_name = "STATE")]
    pub awaited: AwaitedState,
    /// Maximum time to wait, such as 90s or 10m, at most 365d. After it the command ends with 1.
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, default_value = "60s")]
    pub timeout: Duration,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "not a duration such as 90s, 2h or 7d".to_owned())
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    if timeout > MAX_TIMEOUT { Err("longer than 365d".to_owned()) } else { Ok(timeout) }
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(EventKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|text| text.parse::<EventKind>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_at_most_a_year() {
        assert_eq!(parse_timeout("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_timeout("365d"), Ok(MAX_TIMEOUT));
        for wrong in ["366d", "99999999999d", "5", ""] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }
}
