//! Formats the phases of an attempt. Pure functions from JSON to text.

use serde_json::Value;

use super::{pad_to_width, raw_str_field, str_field};
use crate::common::mask_hidden;
use crate::model::StoreUuid;
use crate::wire::AttemptOverLine;

/// Width of the column of the names. Longer names shift the rest of their line.
const NAME_WIDTH: usize = 12;
/// Width of the column of the phases.
const PHASE_WIDTH: usize = 9;
/// Width of the column of the milliseconds.
const TIME_WIDTH: usize = 6;

/// Returns true if the event is the end of an attempt.
pub(crate) fn is_over(event: &Value) -> bool {
    raw_str_field(event, "event") == AttemptOverLine::EVENT
}

/// Formats the end of a phase as one line, with the name of the store if there are several.
pub(crate) fn format_phase(event: &Value, store_name: Option<&str>) -> String {
    let name = store_name.map(|name| pad_to_width(&mask_hidden(name), NAME_WIDTH) + "  ");
    let phase = pad_to_width(&str_field(event, "phase"), PHASE_WIDTH);
    let time = event.get("milliseconds").and_then(Value::as_u64);
    let time = time.map_or_else(|| "?".to_owned(), |time| time.to_string());
    let failed = event.get("failed").and_then(Value::as_bool) == Some(true);
    let end = if failed { "  failed" } else { "" };
    format!("{}{phase}  {time:>TIME_WIDTH$} ms{end}\n", name.unwrap_or_default())
}

/// Returns the end of a phase with the store that it belongs to.
pub(crate) fn named_phase(mut event: Value, store: StoreUuid, name: Option<&str>) -> Value {
    if let Some(fields) = event.as_object_mut() {
        fields.insert("store".to_owned(), store.to_string().into());
        if let Some(name) = name {
            fields.insert("name".to_owned(), name.into());
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_phase_its_time_and_with_several_stores_the_name() {
        let mut event =
            json!({"event": "phase", "phase": "connect", "milliseconds": 12, "failed": false});
        assert_eq!(format_phase(&event, None), "connect        12 ms\n");
        assert_eq!(format_phase(&event, Some("镜像")), "镜像          connect        12 ms\n");
        event["failed"] = json!(true);
        assert_eq!(
            format_phase(&event, Some("\u{1b}[2J")),
            "\u{fffd}[2J          connect        12 ms  failed\n"
        );
        assert!(format_phase(&json!({}), None).ends_with("? ms\n"));
        assert!(is_over(&json!({"event": "over"})) && !is_over(&event));
        let named = named_phase(event, StoreUuid::from_u128(5), Some("images"));
        assert_eq!((&named["name"], &named["failed"]), (&json!("images"), &json!(true)));
        assert_eq!(named["store"], StoreUuid::from_u128(5).to_string());
    }
}
