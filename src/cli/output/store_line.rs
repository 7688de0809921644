//! The parts of a line about one store of the daemon's summary.

use std::time::Duration;

use serde_json::Value;

use super::{raw_str_field, str_field};
use crate::catalog::{Language, last_known_phrase, status_phrase};
use crate::common::Timestamp;
use crate::model::Status;

/// Digits of a uuid that are shown. They are enough to name the store in a command.
pub(super) const SHOWN_DIGITS: usize = 8;

/// Returns the first digits of the uuid.
pub(super) fn first_digits(store: &Value) -> String {
    str_field(store, "uuid").chars().take(SHOWN_DIGITS).collect()
}

/// Returns the status with the time for which it has lasted, or as the last one that is known.
pub(super) fn lasting_status(store: &Value, now: Timestamp, language: Language) -> String {
    let since: Option<Timestamp> = raw_str_field(store, "since").parse().ok();
    let lasted = since.map(|since| {
        Duration::from_millis(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default())
    });
    let is_last_known = store.get("lastKnown").and_then(Value::as_bool) == Some(true);
    match raw_str_field(store, "status").parse::<Status>() {
        Ok(status) if is_last_known => last_known_phrase(status, language),
        Ok(status) => status_phrase(status, lasted, language),
        Err(_) => str_field(store, "status"),
    }
}
