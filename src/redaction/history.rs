//! The redaction of a line of the history.

use serde_json::Value;

use super::fields::FieldForm::{Fingerprint, Hidden, Name, Path, Text, Time, Uuid};
use super::fields::{FieldList, listed_fields};
use super::redactor::Redactor;

/// The fields of all kinds of lines.
const LINE: FieldList = &[
    ("attempt", Text),
    ("availableCapacity", Text),
    ("availableInodes", Text),
    ("cause", Text),
    ("condition", Text),
    ("count", Text),
    ("device", Text),
    ("event", Text),
    ("fields", Text),
    ("fingerprint", Fingerprint),
    ("folder", Path),
    ("holds", Text),
    ("message", Text),
    ("mountPoint", Path),
    ("name", Name),
    ("newStatus", Text),
    ("oldStatus", Text),
    ("onRootDisk", Text),
    ("quotaFolder", Path),
    ("reason", Text),
    ("store", Uuid),
    ("systemTags", Hidden),
    ("time", Time),
    ("totalCapacity", Text),
    ("totalInodes", Text),
    ("type", Text),
    ("until", Time),
    ("userTags", Hidden),
];

/// Returns a line of the history as it may be shown.
pub fn redact_event(line: &Value, redactor: &Redactor) -> Value {
    Value::Object(listed_fields(line, LINE, redactor))
}
