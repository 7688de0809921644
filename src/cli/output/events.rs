//! Formats events as lines. Pure functions from JSON to text.

use serde_json::Value;

use super::health::history_sentence;
use super::{pad_to_width, raw_str_field, str_field};

/// Width of the column of the names. Longer names shift the rest of their line.
const NAME_WIDTH: usize = 12;
/// Width of the column of the kinds.
const KIND_WIDTH: usize = 14;
/// Number of digits that stand for a store without a name.
const SHORT_UUID_DIGITS: usize = 8;

/// Formats an event as one line: the time, the store, the kind, and what happened.
pub(crate) fn format_event(event: &Value) -> String {
    let kind = str_field(event, "event");
    if kind == "gap" {
        return format!("events are missing: {}\n", gap_sentence(event));
    }
    let name = str_field(event, "name");
    let name = match name.is_empty() {
        true => str_field(event, "store").chars().take(SHORT_UUID_DIGITS).collect(),
        false => name,
    };
    format!(
        "{}  {}  {}  {}\n",
        str_field(event, "time"),
        pad_to_width(&name, NAME_WIDTH),
        pad_to_width(&kind, KIND_WIDTH),
        history_sentence(event)
    )
}

fn gap_sentence(gap: &Value) -> String {
    let cause = match raw_str_field(gap, "cause") {
        "pruned" => "they were removed by age or number, or with their store".to_owned(),
        "restored" => {
            "the ledger was restored from a copy, which may lack the newest ones".to_owned()
        }
        "unknown" => "the cursor is not one of this ledger".to_owned(),
        "damaged" => "they cannot be read".to_owned(),
        _ => str_field(gap, "cause"),
    };
    let count = gap.get("count").and_then(Value::as_u64);
    let count = count.map_or_else(String::new, |count| format!("{count}; "));
    let until = str_field(gap, "until");
    match until.is_empty() {
        true => format!("{count}{cause}"),
        false => format!("{count}{cause}; until {until}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_time_the_store_the_kind_and_the_reason() {
        let mut event = json!({"time": "T1", "event": "status_changed", "oldStatus": "Connecting",
            "newStatus": "Disconnected", "message": "not_mounted: not \u{1b}mounted",
            "store": "4cd9fb914f5f4a1d8d2f000000000001", "name": "images"});
        let line = format_event(&event);
        let rest = "status_changed  Connecting -> Disconnected: not_mounted: not ";
        assert!(line.starts_with(&format!("T1  images        {rest}")), "{line}");
        assert!(!line.contains('\u{1b}'));
        event.as_object_mut().unwrap().remove("name");
        assert!(format_event(&event).starts_with("T1  4cd9fb91      status"));
        assert!(format_event(&json!({})).ends_with('\n'));
    }

    #[test]
    fn a_gap_says_why_and_until_when() {
        let gap = json!({"event": "gap", "cause": "pruned", "count": null, "until": "T2"});
        let text = "events are missing: they were removed by age or number, or with their store; \
                    until T2\n";
        assert_eq!(format_event(&gap), text);
        let gap = json!({"event": "gap", "cause": "damaged", "count": 1, "until": null});
        assert_eq!(format_event(&gap), "events are missing: 1; they cannot be read\n");
    }
}
