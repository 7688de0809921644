//! The health view: what an operator looks at when a store is not well.

use std::time::Duration;

use serde::Serialize;

use super::{ErrorCode, HistoryLine, InventoryBody};
use crate::common::Timestamp;
use crate::lifecycle::{CheckState, LastAttempt, StoreChecks};
use crate::model::{
    Capacity, Fault, HostIdentity, HostKey, InodeCounts, MountLocation, Reason, RemoteMarker,
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

    /// Returns its `type`.
    pub(super) fn condition_type(&self) -> &'static str {
        self.kind
    }

    /// Returns true if it reports a problem.
    pub(super) fn is_bad(&self) -> bool {
        self.status == "False" || self.reason == self.kind
    }
}

/// Bytes, and inodes where the filesystem counts them. Both absent before the first measurement.
#[derive(Clone, Copy, Debug, Serialize)]
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
    /// The filesystem of the directory at the last good probe.
    pub filesystem: FilesystemBody<'a>,
    /// The server's key that is pinned.
    pub host_key: Option<HostKeyBody<'a>>,
    /// The key for which the store is not Connected, and which an operator may accept.
    pub offered_host_key: Option<HostKeyBody<'a>>,
    /// The evidence that the server is this node, from the newest good login since the daemon started.
    pub host_proof: Option<HostProofBody<'a>>,
    /// The newest attempt since the daemon started, with the duration of each check.
    pub last_attempt: Option<LastAttemptBody>,
    /// The process of a probe that cannot be killed.
    pub stuck_worker: Option<StuckWorkerBody>,
    /// The delivery of notices to the management node; null without a callback.
    pub delivery: Option<DeliveryBody>,
    /// The newest lines of the history, newest first; null if the state disk did not return them.
    pub history: Option<Vec<HistoryLine<'a>>>,
    /// Number of lines that are gone before the oldest that is kept; null as above.
    pub history_gone: Option<u64>,
}

/// A filesystem.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemBody<'a> {
    device: &'a str,
    mount_point: &'a str,
    on_root_disk: bool,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl<'a> From<&'a MountLocation> for FilesystemBody<'a> {
    fn from(place: &'a MountLocation) -> Self {
        Self {
            device: &place.device,
            mount_point: &place.mount_point,
            on_root_disk: place.on_root_disk,
            kind: &place.fs_type,
        }
    }
}

/// The key of an SSH server.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HostKeyBody<'a> {
    pub(super) fingerprint: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
}

impl<'a> From<&'a HostKey> for HostKeyBody<'a> {
    fn from(key: &'a HostKey) -> Self {
        Self { fingerprint: &key.fingerprint, kind: &key.algorithm }
    }
}

/// The evidence of a login that the server is this node, or the obstacle to it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum HostProofBody<'a> {
    /// The server is this node.
    Shown {
        /// What proves it.
        evidence: &'static str,
        /// The store's marker, as the server shows it.
        marker: Option<&'static str>,
    },
    /// It could not be proved.
    Unavailable {
        /// What the daemon saw.
        message: &'a str,
        /// The kind of the obstacle.
        obstacle: &'static str,
    },
}

impl<'a> HostProofBody<'a> {
    /// Creates the body of a proof. Returns `None` if the login was not asked for one.
    pub fn new(proof: &'a HostIdentity) -> Option<Self> {
        match proof {
            HostIdentity::NotAsked => None,
            HostIdentity::Shown { by, marker } => Some(Self::Shown {
                evidence: by.as_str(),
                marker: marker.map(RemoteMarker::as_str),
            }),
            HostIdentity::Unavailable(UnverifiedHost { obstacle, details }) => {
                Some(Self::Unavailable { message: details, obstacle: obstacle.as_str() })
            }
        }
    }
}

/// An attempt that has ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastAttemptBody {
    attempt: u64,
    cause: &'static str,
    checks: Vec<FinishedCheck>,
    end_time: String,
}

/// A check of an attempt; an attempt that broke off has one entry with a reason alone.
#[derive(Clone, Copy, Debug, Serialize)]
struct FinishedCheck {
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    reason: Option<&'static str>,
}

impl FinishedCheck {
    fn new(check: &'static str, took: Duration, fault: Option<&Fault>) -> Self {
        let reason = fault.map(Fault::reason).map(Reason::as_str);
        Self { check: Some(check), milliseconds: Some(whole_millis(took)), reason }
    }
}

impl From<&LastAttempt> for LastAttemptBody {
    fn from(last: &LastAttempt) -> Self {
        let checks = match &last.outcome {
            Ok(outcome) => {
                let (probe, login) = (&outcome.probe, &outcome.login);
                let examine =
                    FinishedCheck::new("examine", probe.took, probe.examined.as_ref().err());
                let write = probe.written.as_ref().map(|written| match written {
                    Ok(written) => FinishedCheck::new("write", written.duration(), None),
                    Err(fault) => FinishedCheck::new("write", probe.took, Some(fault)),
                });
                let ssh = FinishedCheck::new("ssh", login.took, login.outcome.as_ref().err());
                [Some(examine), write, Some(ssh)].into_iter().flatten().collect()
            }
            Err(fault) => {
                let reason = Some(fault.reason().as_str());
                vec![FinishedCheck { check: None, milliseconds: None, reason }]
            }
        };
        Self {
            attempt: last.id.0,
            cause: last.cause.as_str(),
            checks,
            end_time: fact_text(last.at),
        }
    }
}

/// A process of a probe that cannot be killed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StuckWorkerBody {
    /// Its process id.
    pub pid: i32,
}

/// The delivery of notices of one store.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryBody {
    /// Host and port of the receiver in use.
    pub destination: Option<String>,
    /// The reply to the newest request, if it was not accepted.
    pub last_reply: Option<String>,
    /// When the next request is made, RFC 3339.
    pub next_try: Option<String>,
    /// Number of notices that wait.
    pub pending: u64,
}

fn whole_millis(took: Duration) -> f64 {
    // Probes take single milliseconds: their tenths matter.
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn fact_text(at: Timestamp) -> String {
    at.to_string()
}
