//! Checks of a response to a failed attempt, and of the files that it leaves on a disk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use imagestore_agent::catalog::{Language, fault_action};
use imagestore_agent::cli::DaemonResponse;
use imagestore_agent::model::Fault;
use serde_json::Value;

/// Returns the English action of a fault.
pub(crate) fn english_action(fault: &Fault) -> Cow<'_, str> {
    fault_action(fault, Language::English)
}

/// Returns the deepest error of a response.
pub(crate) fn root_cause(reply: &DaemonResponse) -> &Value {
    let mut error = &reply.body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    error
}

/// Checks the response to an attempt that failed for these reasons, the root cause first, with
/// these facts. Returns the facts of the root cause.
pub(crate) fn expect_failure<'a>(
    reply: &'a DaemonResponse,
    reasons: &[&str],
    facts: &Value,
) -> &'a Value {
    assert_eq!(reply.status, 503, "{}", reply.body);
    let root = root_cause(reply);
    let opaque = &root["opaque"];
    assert_eq!(opaque["reason"], reasons[0], "{root:#}");
    assert!(is_text(&root["details"]) && is_text(&root["elaboration"]), "{root:#}");
    for (name, fact) in facts.as_object().unwrap() {
        assert_eq!(&opaque[name], fact, "{name} in {root:#}");
    }
    let top = &reply.body["error"];
    let checks = top["opaque"]["checks"].as_array().unwrap();
    let reported: Vec<&str> =
        checks.iter().map(|check| check["reason"].as_str().unwrap()).collect();
    assert_eq!(reported, reasons, "{top:#}");
    for check in checks {
        assert!(is_text(&check["details"]) && is_text(&check["elaboration"]), "{check:#}");
    }
    opaque
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// Returns everything at or below a directory, with the contents of files and the targets of links.
pub(crate) fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut seen = BTreeMap::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(path) = ahead.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let content = if kind.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        seen.insert(path, content);
    }
    seen
}

/// Returns the error of an answer as an event has it. An event has the remedy in `elaboration`
/// alone, and an answer also at the end of its details.
pub(crate) fn error_of_event(answer: &DaemonResponse) -> Value {
    let mut error = answer.body["error"].clone();
    let details = error["details"].as_str().unwrap().split("; remedy: ").next().unwrap();
    error["details"] = details.into();
    error
}
