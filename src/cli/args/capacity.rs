//! Arguments of `capacity`.

use std::time::Duration;

use super::connection::CommonArgs;
use crate::cli::store_reference::StoreReference;
use crate::model::DAY_SECONDS;
use crate::query::parse_span;

/// The longest history that the daemon keeps, in days.
const MAX_DAYS: u64 = 400;

/// `capacity`
#[derive(Debug, clap::Args)]
pub struct CapacityArgs {
    /// The store: its name, its uuid, or the first digits of its uuid, at least 6.
    pub store: StoreReference,
    /// Show the days since this time ago, 1d to 400d.
    #[arg(long, value_name = "DURATION", value_parser = parse_days, default_value = "90d")]
    pub since: u64,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Reads a duration as a number of days, rounded up.
fn parse_days(text: &str) -> Result<u64, String> {
    let span = parse_span(text).as_ref().map(Duration::as_secs);
    let days = span.map(|seconds| seconds.div_ceil(u64::from(DAY_SECONDS)));
    days.filter(|days| (1..=MAX_DAYS).contains(days))
        .ok_or_else(|| "not a duration of 1d to 400d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_of_days_within_the_history() {
        for (text, days) in [("1d", 1), ("36h", 2), ("400d", 400)] {
            assert_eq!(parse_days(text), Ok(days), "{text}");
        }
        for text in ["", "0s", "401d", "x", "-1d"] {
            assert!(parse_days(text).is_err(), "{text}");
        }
    }
}
