//! Formats the health view of a store as text. Pure functions from JSON to lines.

use serde_json::Value;

use super::{format_inventory, format_size, pad_to_width, raw_str_field, str_field};
use crate::common::mask_hidden;

/// Formats the health view of one store.
pub(crate) fn format_health(body: &Value) -> String {
    let mut text = body.get("inventory").map(format_inventory).unwrap_or_default();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<12} {value}\n"));
        }
    };
    line("since", str_field(body, "since"));
    line("disk", body.get("filesystem").map(format_disk).unwrap_or_default());
    line("inodes", body.get("capacity").map(format_inodes).unwrap_or_default());
    line("forecast", body.get("forecast").map(|it| str_field(it, "sentence")).unwrap_or_default());
    line("host key", body.get("hostKey").map(format_host_key).unwrap_or_default());
    line("offered key", body.get("offeredHostKey").map(format_host_key).unwrap_or_default());
    line("host proof", body.get("hostProof").map(format_host_proof).unwrap_or_default());
    line("delivery", body.get("delivery").map(format_delivery).unwrap_or_default());
    line("attempt", body.get("lastAttempt").map(format_attempt).unwrap_or_default());
    line("stuck", body.get("stuckWorker").map(format_stuck_worker).unwrap_or_default());
    for condition in str_list(body, "conditions") {
        text.push_str(&format_condition(condition));
    }
    let history = str_list(body, "history");
    if !history.is_empty() {
        let pruned = body["historyGone"].as_u64().filter(|count| *count > 0);
        let pruned =
            pruned.map_or_else(String::new, |count| format!("; {count} older lines were deleted"));
        text.push_str(&format!("history (newest first{pruned})\n"));
        history.iter().for_each(|line| text.push_str(&format_history(line)));
    }
    text
}

/// The host keys that an operator compares before accepting one.
pub(crate) struct RejectedHostKeys {
    /// Both keys, one per line.
    pub(crate) text: String,
    /// The fingerprint of the offered key.
    pub(crate) offered: String,
}

/// Returns the host keys of a store whose offered key was rejected. Returns `None` for any other
/// store.
pub(crate) fn rejected_host_keys(body: &Value) -> Option<RejectedHostKeys> {
    let offered = body.get("offeredHostKey").filter(|key| key.is_object())?;
    let pinned = body.get("hostKey").map(format_host_key).filter(|key| !key.is_empty());
    let pinned = pinned.unwrap_or_else(|| "none".to_owned());
    let text = format!("pinned   {pinned}\noffered  {}\n", format_host_key(offered));
    Some(RejectedHostKeys { text, offered: raw_str_field(offered, "fingerprint").to_owned() })
}

fn str_list<'a>(body: &'a Value, key: &str) -> &'a [Value] {
    body.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn format_disk(disk: &Value) -> String {
    format!(
        "{} at {} ({})",
        str_field(disk, "type"),
        str_field(disk, "mountPoint"),
        str_field(disk, "device")
    )
}

fn format_host_proof(proof: &Value) -> String {
    let evidence = str_field(proof, "evidence");
    if evidence.is_empty() { str_field(proof, "obstacle") } else { evidence }
}

fn format_inodes(capacity: &Value) -> String {
    let number = |key| capacity.get(key).and_then(Value::as_u64);
    match (number("availableInodes"), number("totalInodes")) {
        (Some(available), Some(total)) => format!("{available} of {total} available"),
        _ => String::new(),
    }
}

fn format_host_key(key: &Value) -> String {
    format!("{} {}", str_field(key, "type"), str_field(key, "fingerprint")).trim().to_owned()
}

pub(crate) fn format_delivery(delivery: &Value) -> String {
    let Some(pending) = delivery.get("pending").and_then(Value::as_u64) else {
        return String::new();
    };
    let mut text = format!("{pending} waiting");
    for (key, before) in [("lastReply", "; last reply: "), ("nextTry", "; next try ")] {
        let value = str_field(delivery, key);
        if !value.is_empty() {
            text += before;
            text += &value;
        }
    }
    text
}

fn format_attempt(attempt: &Value) -> String {
    if attempt.is_null() {
        return String::new();
    }
    let checks = str_list(attempt, "checks").iter().map(|check| {
        let duration = check.get("milliseconds").and_then(Value::as_f64);
        let duration = duration.map_or_else(String::new, |ms| format!(" {ms} ms"));
        let reason = str_field(check, "reason");
        let reason = if reason.is_empty() { String::new() } else { format!(" {reason}") };
        format!("{}{duration}{reason}", str_field(check, "check"))
    });
    let number = attempt.get("attempt").and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{number} by {}: {}",
        str_field(attempt, "cause"),
        checks.collect::<Vec<_>>().join(", ")
    )
}

fn format_stuck_worker(worker: &Value) -> String {
    let pid = worker.get("pid").and_then(Value::as_i64);
    pid.map_or_else(String::new, |pid| format!("process {pid} hangs in the kernel"))
}

/// Formats a condition as one line, followed by its remedy if it has one.
fn format_condition(condition: &Value) -> String {
    let (kind, reason) = (str_field(condition, "type"), str_field(condition, "reason"));
    let state = if reason == kind { "holds" } else { reason.as_str() };
    let kind = pad_to_width(&kind, 12);
    let mut text = format!("{kind} {state}: {}", str_field(condition, "message"));
    for (key, before) in [("lastTransitionTime", "; since "), ("lastGoodTime", "; last good ")] {
        let at = str_field(condition, key);
        if !at.is_empty() {
            text += before;
            text += &at;
        }
    }
    text.push('\n');
    let remedy = str_field(condition, "remedy");
    if !remedy.is_empty() {
        text.push_str(&format!("  remedy: {remedy}\n"));
    }
    text
}

fn format_history(line: &Value) -> String {
    format!("  {}  {}\n", str_field(line, "time"), history_sentence(line))
}

/// Returns what happened, in words.
pub(crate) fn history_sentence(line: &Value) -> String {
    match raw_str_field(line, "event") {
        "status_changed" => {
            let change =
                format!("{} -> {}", str_field(line, "oldStatus"), str_field(line, "newStatus"));
            let message = str_field(line, "message");
            if message.is_empty() { change } else { format!("{change}: {message}") }
        }
        "condition" => {
            let holds = line.get("holds").and_then(Value::as_bool).unwrap_or(false);
            let change = if holds { "raised" } else { "cleared" };
            format!("{} {change}", str_field(line, "condition"))
        }
        "measured" => format!(
            "{} of {} available",
            format_size(line, "availableCapacity"),
            format_size(line, "totalCapacity")
        ),
        "updated" => {
            let fields = str_list(line, "fields").iter().filter_map(Value::as_str);
            let fields = fields.map(mask_hidden);
            format!("updated: {}", fields.collect::<Vec<_>>().join(", "))
        }
        "host_key_accepted" => format!("host key accepted: {}", format_host_key(line)),
        "moved" => format!("moved to {}", format_disk(line)),
        kind @ ("added" | "removed") => format!("{kind} {}", str_field(line, "name")),
        "attempt_began" => format!("attempt began, cause: {}", str_field(line, "cause")),
        other => mask_hidden(&other.replace('_', " ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_and_conditions_have_reason_evidence_time_and_remedy() {
        let body = json!({
            "inventory": { "uuid": "0123", "status": "Disconnected", "name": "images" },
            "since": "2026-01-01T00:00:00.000Z",
            "filesystem": { "type": "xfs", "mountPoint": "/srv", "device": "8:1" },
            "capacity": { "totalInodes": 10, "availableInodes": 4 },
            "hostKey": null,
            "delivery": { "pending": 3, "lastReply": "status 503", "nextTry": null },
            "lastAttempt": { "attempt": 7, "cause": "person", "checks": [
                { "check": "examine", "milliseconds": 2.5, "reason": null },
                { "check": "ssh", "milliseconds": 3300.0, "reason": "credentials_refused" },
            ] },
            "stuckWorker": { "pid": 42 },
            "conditions": [
                { "type": "ssh", "status": "False", "reason": "credentials_refused",
                  "message": "refused", "remedy": "correct the password",
                  "lastTransitionTime": "T1", "lastGoodTime": "T0" },
                { "type": "near_full", "status": "True", "reason": "near_full", "message": "little",
                  "remedy": "remove \u{1b}[31mimages", "lastTransitionTime": "T2" },
            ],
            "history": [
                { "time": "T3", "event": "status_changed", "oldStatus": "Connecting",
                  "newStatus": "Disconnected", "message": "credentials_refused: refused" },
                { "time": "T2", "event": "condition", "condition": "near_full", "holds": true },
            ],
        });
        let text = format_health(&body);
        for part in [
            "status       Disconnected\n",
            "disk         xfs at /srv (8:1)\n",
            "inodes       4 of 10 available\n",
            "delivery     3 waiting; last reply: status 503\n",
            "attempt      7 by person: examine 2.5 ms, ssh 3300 ms credentials_refused\n",
            "stuck        process 42 hangs in the kernel\n",
            "ssh          credentials_refused: refused; since T1; last good T0\n  remedy: correct",
            "near_full    holds: little; since T2\n  remedy: remove",
            "  T3  Connecting -> Disconnected: credentials_refused: refused\n",
            "  T2  near_full raised\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("host key") && !text.contains('\u{1b}'));
    }

    #[test]
    fn every_field_may_be_absent() {
        assert_eq!(format_health(&json!({})), "");
        assert_eq!(
            format_health(&json!({ "lastAttempt": null, "delivery": null, "history": null })),
            ""
        );
    }
}
