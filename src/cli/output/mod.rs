//! Formats responses as text. Pure functions from JSON to lines.

pub(super) mod brief_list;
pub(super) mod capacity;
pub(super) mod diagnosis;
pub(super) mod events;
pub(super) mod health;
pub(super) mod list_changes;
pub(super) mod phases;
mod store_line;
pub(super) mod store_table;

use bytesize::ByteSize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::common::mask_hidden;
use crate::wire::REMEDY_MARK;

/// Returns a text of the response, safe to display. An absent text is empty.
pub(super) fn str_field(object: &Value, key: &str) -> String {
    mask_hidden(raw_str_field(object, key))
}

/// Returns a text of the response as it is, for a later request.
pub(super) fn raw_str_field<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn format_size(object: &Value, key: &str) -> String {
    let bytes = object.get(key).and_then(Value::as_u64);
    bytes.map_or_else(|| "?".to_owned(), |bytes| ByteSize(bytes).display().iec().to_string())
}

/// Formats rows with one line each. Each column is as wide as its widest cell.
fn align_columns(rows: &[impl AsRef<[String]>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        let cells = row.as_ref();
        widths.resize(cells.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths);
        let cells = cells.map(|(cell, width)| pad_to_width(cell, *width));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns the status, and that the store is disabled if it is.
fn format_status(store: &Value) -> String {
    let status = str_field(store, "status");
    match raw_str_field(store, "state") {
        "Disabled" => format!("{status}, disabled"),
        _ => status,
    }
}

/// Returns the uuids of the zones of a store.
fn format_zones(store: &Value) -> String {
    let zones = store.get("attachedZoneUuids").and_then(Value::as_array);
    let texts = zones.into_iter().flatten().filter_map(Value::as_str).map(mask_hidden);
    texts.collect::<Vec<_>>().join(" ")
}

/// Returns the text with spaces at its end, so that it takes up `width` columns of a terminal. An
/// ideograph takes up two columns, and a combining mark takes up none.
pub(super) fn pad_to_width(text: &str, width: usize) -> String {
    let padding = width.saturating_sub(text.width());
    format!("{text}{:padding$}", "")
}

/// Formats one inventory with one field per line.
pub(super) fn format_inventory(store: &Value) -> String {
    let port = store.get("sshPort").and_then(Value::as_u64).unwrap_or(0);
    let login =
        format!("{}@{} port {port}", str_field(store, "username"), str_field(store, "hostname"));
    let space = format!(
        "{} of {} available",
        format_size(store, "availableCapacity"),
        format_size(store, "totalCapacity")
    );
    let lines = [
        ("uuid", str_field(store, "uuid")),
        ("name", str_field(store, "name")),
        ("description", str_field(store, "description")),
        ("path", str_field(store, "url")),
        ("status", str_field(store, "status")),
        ("state", str_field(store, "state")),
        ("zones", format_zones(store)),
        ("space", space),
        ("login", login),
        ("created", str_field(store, "createDate")),
        ("last change", str_field(store, "lastOpDate")),
    ];
    let present = lines.iter().filter(|(_, value)| !value.is_empty());
    present.map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

/// Formats a store that was reconnected, as one line.
pub(super) fn format_reconnected(store: &Value) -> String {
    let fields = [str_field(store, "uuid"), str_field(store, "name"), format_status(store)];
    format!("{}\n", fields.join("  "))
}

/// Returns the details of an error, in one line.
pub(super) fn error_details(body: &Value) -> String {
    body.get("error").map_or_else(|| "there are no details".to_owned(), error_summary)
}

/// Formats an error: the failure, and the cause and the remedy of each failed check.
pub(super) fn format_failure(body: &Value) -> String {
    let Some(error) = body.get("error") else {
        return "the daemon rejected the request without an error message\n".to_owned();
    };
    let mut text = format!("{}: {}\n", str_field(error, "code"), error_summary(error));
    let checks = error.pointer("/opaque/checks").and_then(Value::as_array);
    match checks.filter(|checks| !checks.is_empty()) {
        Some(checks) => checks.iter().for_each(|check| write_check(check, &mut text)),
        None => {
            let mut deepest = error;
            while let Some(cause) = deepest.get("cause").filter(|cause| cause.is_object()) {
                deepest = cause;
            }
            let remedy = str_field(deepest, "elaboration");
            if !remedy.is_empty() {
                text.push_str(&format!("  remedy: {remedy}\n"));
            }
        }
    }
    text
}

/// Returns the failure without its remedy, which has a line of its own.
fn error_summary(error: &Value) -> String {
    let details = raw_str_field(error, "details");
    let without_remedy = |mark| Some(details.rsplit_once(mark)?.0);
    let marks = [REMEDY_MARK.en, REMEDY_MARK.zh];
    let details = mask_hidden(marks.into_iter().find_map(without_remedy).unwrap_or(details));
    if details.is_empty() { str_field(error, "description") } else { details }
}

fn write_check(check: &Value, text: &mut String) {
    text.push_str(&format!(
        "  {}: {}\n    remedy: {}\n",
        str_field(check, "reason"),
        str_field(check, "details"),
        str_field(check, "elaboration")
    ));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_on_a_terminal_in_any_script() {
        for (text, width) in
            [("plain", 5), ("画像", 4), ("ｶﾅ", 2), ("한국", 4), ("e\u{301}", 1), ("🎉", 2), ("", 0)]
        {
            let padded = pad_to_width(text, 8);
            assert_eq!(padded, format!("{text}{}", " ".repeat(8 - width)), "{text}");
        }
        assert_eq!(pad_to_width("画像", 3), "画像");
        let store = |name: &str| json!({"uuid": "0", "name": name, "url": "/srv"});
        let names = ["a", "镜像仓库", "e\u{301}🎉", "a long name", "\u{1b}画\n像"];
        let text = store_table::format_table(&names.map(store), &store_table::ListColumn::DEFAULT);
        let columns: Vec<usize> = text
            .lines()
            .map(|line| line.find("/srv").or(line.find("PATH")).map(|at| line[..at].width()))
            .collect::<Option<_>>()
            .unwrap();
        assert_eq!(columns.len(), 6);
        assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
    }

    #[test]
    fn every_failed_check_is_shown_with_its_remedy() {
        let check = |reason: &str| json!({"reason": reason, "details": "d", "elaboration": "do r"});
        let body = json!({"error": {"code": "BS.1500", "details": "cannot connect; remedy: do it", "opaque":
            {"checks": [check("not_mounted"), check("not_ssh")]}}});
        let text = format_failure(&body);
        for part in ["BS.1500: cannot connect", "not_mounted: d", "not_ssh: d", "remedy: do r"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn without_checks_the_remedy_of_the_deepest_cause_is_shown() {
        let body = json!({"error": {"code": "SYS.1007", "description": "bad", "cause":
            {"code": "SYS.1007", "elaboration": "write it so"}}});
        assert_eq!(format_failure(&body), "SYS.1007: bad\n  remedy: write it so\n");
        assert!(format_failure(&json!({})).contains("without an error message"));
    }
}
