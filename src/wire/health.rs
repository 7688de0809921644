//! The health view: what an operator looks at when a store is not well.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::{ErrorCode, InventoryBody};
use crate::common::Timestamp;
use crate::lifecycle::{
    CheckState, DurableRecord, HistoryEntry, HistoryEvent, LastAttempt, MeasuredSpace, StoreChecks,
};
use crate::model::{
    Capacity, Fault, HostIdentity, HostKey, InodeCounts, Inventory, MountLocation, RemoteMarker,
    UnverifiedHost,
};

/// A condition, in the shape that Kubernetes made common: `status` is `True`, `False` or `Unknown`.
///
/// The three checks (`examine`, `write`, `ssh`) are always there and `True` is good; the others are
/// there only while they hold.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionBody {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    last_probe_time: Option<String>,
    last_transition_time: Option<String>,
    /// Of the checks alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_good_time: Option<String>,
}

impl ConditionBody {
    /// The three checks.
    pub fn check_conditions(checks: &StoreChecks) -> Vec<Self> {
        let named = [("examine", &checks.examine), ("write", &checks.write), ("ssh", &checks.ssh)];
        named.into_iter().map(|(kind, check)| Self::check_condition(kind, check)).collect()
    }

    fn check_condition(kind: &'static str, check: &CheckState) -> Self {
        let (status, reason, message) = match (&check.fault, check.last) {
            (_, None) => ("Unknown", "unverified", "not run since the daemon started".to_owned()),
            (None, Some(_)) => ("True", "good", format!("took {} ms", check.took.as_millis())),
            (Some(fault), Some(_)) => {
                ("False", fault.reason().as_str(), fault.details().to_owned())
            }
        };
        Self {
            kind,
            status,
            reason,
            message,
            remedy: check.fault.as_ref().map(|fault| fault.remedy().to_owned()),
            last_probe_time: check.last.map(fact_text),
            last_transition_time: check.since.map(fact_text),
            last_good_time: check.last_good.map(fact_text),
        }
    }

    /// A condition that holds.
    pub fn new_active(
        kind: &'static str,
        message: String,
        remedy: &str,
        probed: Option<Timestamp>,
        since: Option<Timestamp>,
    ) -> Self {
        Self {
            kind,
            status: "True",
            reason: kind,
            message,
            remedy: Some(remedy.to_owned()),
            last_probe_time: probed.map(fact_text),
            last_transition_time: since.map(fact_text),
            last_good_time: None,
        }
    }

    /// Its word.
    pub fn condition_type(&self) -> &'static str {
        self.kind
    }

    /// Whether it tells of something that is not well.
    pub fn is_bad(&self) -> bool {
        self.status == "False" || self.reason == self.kind
    }
}

/// Bytes, and inodes where the filesystem counts them. Both absent before the first measurement.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityBody {
    total_capacity: Option<u64>,
    available_capacity: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_inodes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_inodes: Option<u64>,
}

impl CapacityBody {
    /// The figures of one measurement.
    pub fn from_capacity(capacity: Option<Capacity>, inodes: Option<InodeCounts>) -> Self {
        Self {
            total_capacity: capacity.map(Capacity::total),
            available_capacity: capacity.map(Capacity::available),
            total_inodes: inodes.map(|inodes| inodes.total),
            available_inodes: inodes.map(|inodes| inodes.available),
        }
    }
}

/// One store's health.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthBody<'a> {
    /// The store as the documented API shows it.
    pub inventory: InventoryBody<'a>,
    /// When the status last changed, RFC 3339.
    pub since: String,
    /// Why it is not Connected.
    pub reason: Option<ErrorCode>,
    /// The checks first, then what holds.
    pub conditions: Vec<ConditionBody>,
    /// The last good figures.
    pub capacity: CapacityBody,
    /// Where the directory was when last good.
    pub filesystem: Value,
    /// The server's key that is pinned.
    pub host_key: Option<Value>,
    /// The key for which it is not Connected, and which a person may accept.
    pub offered_host_key: Option<Value>,
    /// Whether the server was shown to be this node, by the newest good login since the daemon started.
    pub host_proof: Option<Value>,
    /// The newest attempt since the daemon started, with what each check took.
    pub last_attempt: Option<Value>,
    /// A probe's process that cannot be killed.
    pub stuck_worker: Option<Value>,
    /// What waits for the management node; null without a callback.
    pub delivery: Option<Value>,
    /// The newest lines of the history, newest first; null when the state disk did not give them.
    pub history: Option<Vec<Value>>,
    /// How many lines before the oldest that is kept are gone; null as above.
    pub history_gone: Option<u64>,
}

impl<'a> HealthBody<'a> {
    /// What follows from the store alone; the rest is for the caller to add.
    pub fn new(inventory: &'a Inventory, standing: &DurableRecord, place: &MountLocation) -> Self {
        Self {
            inventory: InventoryBody::from_store(inventory),
            since: fact_text(standing.since),
            reason: standing.failure.as_ref().map(ErrorCode::not_connected),
            conditions: Vec::new(),
            capacity: CapacityBody::from_capacity(standing.capacity, standing.inodes),
            filesystem: filesystem_body(place),
            host_key: None,
            offered_host_key: None,
            host_proof: None,
            last_attempt: None,
            stuck_worker: None,
            delivery: None,
            history: None,
            history_gone: None,
        }
    }
}

/// A server's key.
pub fn host_key(key: &HostKey) -> Value {
    json!({ "type": key.algorithm, "fingerprint": key.fingerprint })
}

/// What a login has shown of the host; none when it was not asked.
pub fn host_proof(proof: &HostIdentity) -> Option<Value> {
    match proof {
        HostIdentity::NotAsked => None,
        HostIdentity::Shown { by, marker } => Some(json!({
            "evidence": by.as_str(),
            "marker": marker.map(RemoteMarker::as_str),
        })),
        HostIdentity::Unavailable(UnverifiedHost { obstacle, details }) => {
            Some(json!({ "obstacle": obstacle.as_str(), "message": details }))
        }
    }
}

/// An attempt that has ended, each check with its milliseconds.
pub fn last_attempt(last: &LastAttempt) -> Value {
    let check = |name: &str, took: Duration, fault: Option<&Fault>| {
        json!({
            "check": name,
            "milliseconds": whole_millis(took),
            "reason": fault.map(|fault| fault.reason().as_str()),
        })
    };
    let checks = match &last.outcome {
        Ok(outcome) => {
            let probe = &outcome.probe;
            let mut checks = vec![check("examine", probe.took, probe.examined.as_ref().err())];
            checks.extend(probe.written.as_ref().map(|written| match written {
                Ok(written) => check("write", written.duration(), None),
                Err(fault) => check("write", probe.took, Some(fault)),
            }));
            let login = &outcome.login;
            checks.push(check("ssh", login.took, login.outcome.as_ref().err()));
            checks
        }
        Err(fault) => vec![json!({ "reason": fault.reason().as_str() })],
    };
    json!({
        "attempt": last.id.0,
        "cause": last.cause.as_str(),
        "endTime": fact_text(last.at),
        "checks": checks,
    })
}

/// One line of the history.
pub fn history_line(entry: &HistoryEntry) -> Value {
    let (event, facts) = match &entry.event {
        HistoryEvent::AttemptBegan { cause, tags } => (
            "attempt_began",
            json!({ "cause": cause.as_str(), "systemTags": tags.system_tags(), "userTags": tags.user_tags() }),
        ),
        HistoryEvent::Joined { tags } => {
            ("joined", json!({ "systemTags": tags.system_tags(), "userTags": tags.user_tags() }))
        }
        HistoryEvent::InterruptedByRestart => ("interrupted_by_restart", json!({})),
        HistoryEvent::Changed { old, new, failure } => (
            "status_changed",
            json!({
                "oldStatus": old.as_str(),
                "newStatus": new.as_str(),
                "reason": failure.as_ref().map(|failure| failure.root_fault().reason().as_str()),
                "message": failure.as_ref().map(ToString::to_string),
            }),
        ),
        HistoryEvent::Turned { condition, holds } => {
            ("condition", json!({ "condition": condition.as_str(), "holds": holds }))
        }
        HistoryEvent::Measured(MeasuredSpace { capacity, inodes }) => {
            ("measured", json!(CapacityBody::from_capacity(Some(*capacity), *inodes)))
        }
        HistoryEvent::Moved(place) => ("moved", filesystem_body(place)),
        HistoryEvent::Updated { fields } => ("updated", json!({ "fields": fields })),
        HistoryEvent::HostKeyAccepted { algorithm, fingerprint } => {
            ("host_key_accepted", json!({ "type": algorithm, "fingerprint": fingerprint }))
        }
    };
    let mut line =
        json!({ "time": fact_text(entry.at), "attempt": entry.attempt.0, "event": event });
    if let (Some(line), Value::Object(facts)) = (line.as_object_mut(), facts) {
        line.extend(facts);
    }
    line
}

fn filesystem_body(place: &MountLocation) -> Value {
    json!({
        "mountPoint": place.mount_point,
        "type": place.fs_type,
        "device": place.device,
        "onRootDisk": place.on_root_disk,
    })
}

fn whole_millis(took: Duration) -> f64 {
    // Probes take single milliseconds: their tenths matter.
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn fact_text(at: Timestamp) -> String {
    at.to_string()
}
