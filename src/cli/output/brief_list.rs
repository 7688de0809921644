//! Formats the summary of all stores: one line each.

use serde_json::Value;

use super::store_line::{first_digits, lasting_status};
use super::{align_columns, str_field};
use crate::catalog::Language;
use crate::common::{Timestamp, mask_hidden};

/// Formats the stores of the summary.
pub(crate) fn format_brief_list(stores: &[Value], now: Timestamp) -> String {
    let rows: Vec<[String; 4]> = stores.iter().map(|store| brief_cells(store, now)).collect();
    align_columns(&rows)
}

/// Returns the cells of the line of a store.
pub(super) fn brief_cells(store: &Value, now: Timestamp) -> [String; 4] {
    [
        str_field(store, "name"),
        first_digits(store),
        lasting_status(store, now, Language::English),
        problems(store),
    ]
}

/// Returns the reason why the store is not Connected, and its other problems.
fn problems(store: &Value) -> String {
    let reason = str_field(store, "reason");
    let conditions = store.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let conditions = conditions.filter_map(Value::as_str).map(mask_hidden);
    let all = Some(reason).filter(|reason| !reason.is_empty()).into_iter().chain(conditions);
    all.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_store_has_a_line_with_its_status_and_its_problems() {
        let store = |name: &str, status: &str, reason: Value, conditions: &[&str]| {
            json!({"name": name, "uuid": "4cd9fb91a8cc", "status": status, "reason": reason,
                   "since": "2016-12-22T17:00:00Z", "conditions": conditions})
        };
        let stores = [
            store("images", "Disconnected", json!("not_mounted"), &["examine", "write"]),
            store("镜像", "Connected", json!(null), &[]),
            store("\u{1b}[2J", "Connected", json!(null), &["\u{1b}"]),
        ];
        let text = format_brief_list(&stores, "2016-12-22T17:12:30Z".parse().unwrap());
        let expected = "\
images  4cd9fb91  Disconnected for 12 min  not_mounted, examine, write
镜像    4cd9fb91  Connected for 12 min
\u{fffd}[2J    4cd9fb91  Connected for 12 min     \u{fffd}
";
        assert_eq!(text, expected);
        assert_eq!(format_brief_list(&[], Timestamp(0)), "");
    }
}
