//! The redaction of a diagnosis.

use serde_json::{Map, Value};

use super::fields::FieldForm::{Fingerprint, Hidden, Name, Path, Reply, Text, Time, Uuid};
use super::fields::{FieldForm, FieldList, listed_fields, split_reply};
use super::redactor::Redactor;

/// The fields of the document.
const DOCUMENT: FieldList = &[("outputVersion", Text), ("worst", Text)];
/// The fields of a finding, without those that are objects.
const FINDING: FieldList = &[
    ("id", Text),
    ("group", Text),
    ("verdict", Text),
    ("impact", Text),
    ("since", Time),
    ("lastGood", Time),
    ("tookMs", Text),
    ("reason", Text),
    ("also", Text),
    ("see", Text),
];
/// The fields of the store of a finding.
const STORE: FieldList = &[("uuid", Uuid), ("name", Name)];
/// The fields of a remedy.
const REMEDY: FieldList = &[("text", Text), ("commands", Text)];
/// The fields of the delivery of notices.
const REPORTED: FieldList =
    &[("destination", Text), ("lastReply", Reply), ("nextTry", Time), ("pending", Text)];
/// The fields of a requested check.
const REQUESTED: FieldList = &[
    ("check", Text),
    ("made", Text),
    ("problem", Text),
    ("reason", Text),
    ("retryAfterSeconds", Text),
    ("loginsLeft", Text),
];
/// The fields of a store in the summary of the daemon.
const SUMMARY: FieldList = &[
    ("uuid", Uuid),
    ("name", Name),
    ("url", Path),
    ("status", Text),
    ("since", Time),
    ("reason", Text),
    ("conditions", Text),
    ("lastKnown", Text),
];

/// The evidence of a finding. What a server, a disk or an operator wrote is left out.
const EVIDENCE: FieldList = &[
    ("activeState", Text),
    ("address", Text),
    ("addresses", Text),
    ("allowed", Text),
    ("asked", Hidden),
    ("attribute", Text),
    ("attributePath", Path),
    ("availableBytes", Text),
    ("availableCapacity", Text),
    ("availableInodes", Text),
    ("barred", Text),
    ("bits", Text),
    ("blocks", Text),
    ("blocksAvailable", Text),
    ("connections", Text),
    ("daysLeft", Text),
    ("destination", Text),
    ("device", Text),
    ("disconnectCode", Text),
    ("disconnectReason", Text),
    ("errno", Text),
    ("evidence", Text),
    ("expectedFingerprint", Fingerprint),
    ("expectedFingerprints", Fingerprint),
    ("expectedFsType", Text),
    ("expectedKeyType", Text),
    ("expectedMarker", Hidden),
    ("expectedMountPoint", Path),
    ("file", Path),
    ("folder", Path),
    ("fragmentSize", Text),
    ("fsType", Text),
    ("givenFor", Hidden),
    ("givenMilliseconds", Text),
    ("group", Text),
    ("host", Text),
    ("jumpMs", Text),
    ("kind", Text),
    ("lastFailure", Hidden),
    ("lastRefusal", Time),
    ("lastReplies", Hidden),
    ("limit", Text),
    ("marker", Hidden),
    ("maxBits", Text),
    ("methods", Hidden),
    ("methodsOffered", Text),
    ("methodsTried", Text),
    ("milliseconds", Text),
    ("mode", Text),
    ("mountPoint", Path),
    ("newestRecord", Time),
    ("nodeId", Hidden),
    ("notAfter", Time),
    ("notBefore", Time),
    ("now", Time),
    ("obstacle", Text),
    ("offeredFingerprint", Fingerprint),
    ("offeredFingerprints", Fingerprint),
    ("offeredKey", Hidden),
    ("offeredKeyType", Text),
    ("ours", Text),
    ("owner", Text),
    ("path", Path),
    ("pending", Text),
    ("phase", Text),
    ("pid", Text),
    ("port", Text),
    ("readWritePaths", Path),
    ("reason", Text),
    ("receivers", Text),
    ("receiversDown", Text),
    ("refusedCalls", Text),
    ("refusedLogins", Text),
    ("remembered", Text),
    ("restarts", Text),
    ("result", Text),
    ("retryAfterSeconds", Text),
    ("roots", Path),
    ("rounds", Text),
    ("running", Text),
    ("said", Hidden),
    ("sha256", Hidden),
    ("status", Text),
    ("step", Text),
    ("storesBehind", Text),
    ("storeUuid", Uuid),
    ("subState", Text),
    ("superblock", Text),
    ("target", Path),
    ("theirs", Hidden),
    ("told", Hidden),
    ("totalBytes", Text),
    ("totalCapacity", Text),
    ("totalInodes", Text),
    ("tried", Text),
    ("uid", Text),
    ("uuid", Uuid),
    ("waitedMilliseconds", Text),
    ("waiting", Text),
    ("zone", Uuid),
    ("zones", Text),
];

/// Returns the document of a diagnosis as it may be shown.
pub fn redact_diagnosis(document: &Value, redactor: &Redactor) -> Value {
    let mut shown = listed_fields(document, DOCUMENT, redactor);
    let items = |name| document.get(name).and_then(Value::as_array);
    let checks = items("checks").into_iter().flatten();
    shown.insert("checks".into(), checks.map(|check| redact_finding(check, redactor)).collect());
    if let Some(requested) = items("requested") {
        let requested = requested.iter().map(|item| {
            let mut outcome = listed_fields(item, REQUESTED, redactor);
            outcome.insert("store".into(), nested(item, "store", STORE, redactor));
            Value::Object(outcome)
        });
        shown.insert("requested".into(), requested.collect());
    }
    Value::Object(shown)
}

/// Returns a store of the summary as it may be shown.
pub fn redact_store(store: &Value, redactor: &Redactor) -> Value {
    Value::Object(listed_fields(store, SUMMARY, redactor))
}

fn redact_finding(finding: &Value, redactor: &Redactor) -> Value {
    let mut shown = listed_fields(finding, FINDING, redactor);
    for (name, list) in [("store", STORE), ("remedy", REMEDY), ("reported", REPORTED)] {
        if finding.get(name).is_some() {
            shown.insert(name.to_owned(), nested(finding, name, list, redactor));
        }
    }
    let evidence = finding.get("evidence").and_then(Value::as_object);
    let facts: Map<String, Value> = evidence
        .into_iter()
        .flatten()
        .map(|(name, fact)| (redactor.text(name), redact_fact(name, fact, redactor)))
        .collect();
    shown.insert("evidence".to_owned(), facts.into());
    let summary = finding.get("summary").and_then(Value::as_str).unwrap_or_default();
    shown.insert("summary".to_owned(), redact_summary(finding, summary, redactor).into());
    Value::Object(shown)
}

/// Returns the form of a piece of evidence, or `None` if it is not on the list.
pub(super) fn form_of(fact: &str) -> Option<FieldForm> {
    EVIDENCE.iter().find(|(name, _)| *name == fact).map(|(_, form)| *form)
}

fn redact_fact(name: &str, fact: &Value, redactor: &Redactor) -> Value {
    match (form_of(name), fact) {
        (Some(form), _) => form.redact(fact, redactor),
        (None, Value::Bool(_) | Value::Number(_)) => redactor.hide(&fact.to_string()).into(),
        (None, Value::Array(items)) => {
            items.iter().map(|item| redact_fact(name, item, redactor)).collect()
        }
        // As in a field that is on the list, so that equal texts have equal hashes.
        (None, _) => Hidden.redact(fact, redactor),
    }
}

/// Returns the summary without what a peer wrote.
fn redact_summary(finding: &Value, summary: &str, redactor: &Redactor) -> String {
    // The faults of the settings are texts of this program, each with a quoted value.
    if finding.get("id").and_then(Value::as_str) == Some("settings.valid") {
        let faults = summary.split("; ").map(|fault| redactor.text(fault));
        return faults.collect::<Vec<_>>().join("; ");
    }
    let evidence = finding.get("evidence").and_then(Value::as_object);
    let facts = evidence.into_iter().flatten();
    let peers =
        facts.filter(|(name, _)| form_of(name).is_none_or(|it| it == Hidden)).map(|(_, fact)| fact);
    let reply = finding.pointer("/reported/lastReply").and_then(Value::as_str);
    let body = reply.and_then(split_reply).map(|(_, body)| body);
    let peers = peers.flat_map(texts_in).chain(body);
    redactor.text_without(summary, peers)
}

/// Returns the texts of a fact, which may be a list.
fn texts_in(fact: &Value) -> impl Iterator<Item = &str> {
    let items = fact.as_array().into_iter().flatten().filter_map(Value::as_str);
    fact.as_str().into_iter().chain(items)
}

fn nested(object: &Value, name: &str, list: FieldList, redactor: &Redactor) -> Value {
    match object.get(name).filter(|it| it.is_object()) {
        Some(inner) => Value::Object(listed_fields(inner, list, redactor)),
        None => Value::Null,
    }
}
