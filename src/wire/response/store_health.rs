//! The health view: the detailed state of one store, for troubleshooting.

use std::time::Duration;

use serde::Serialize;

use super::{ErrorCode, ForecastBody, HistoryLine, InventoryBody};
use crate::catalog::{
    Guidance, Language, Observation, annotated_phrase, condition_guidance, fault_action,
    reason_guidance,
};
use crate::common::Timestamp;
use crate::lifecycle::{CheckState, LastAttempt, StoreChecks};
use crate::model::{
    Capacity, Condition, Fault, HostIdentity, HostKey, InodeCounts, MountLocation, MountedPart,
    Reason, RemoteMarker, StoreCheck, UnverifiedHost,
};

/// A condition in the style of Kubernetes: `status` is `True`, `False` or `Unknown`.
///
/// The three checks (`examine`, `write`, `ssh`) are always present, and `True` means good. The
/// other conditions are present only while they are active.
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
    /// The time of the last success. Only checks have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_good_time: Option<String>,
}

impl ConditionBody {
    /// Returns the conditions of the three checks.
    pub fn check_conditions(checks: &StoreChecks, language: Language) -> Vec<Self> {
        let condition = |(kind, check)| Self::check_condition(kind, check, language);
        Vec::from(checks.all().map(condition))
    }

    fn check_condition(kind: StoreCheck, check: &CheckState, language: Language) -> Self {
        let of_fault = |fault: &Fault| {
            let meaning = reason_guidance(fault.reason()).meaning;
            annotated_phrase(meaning, fault.details(), language).into_owned()
        };
        let (status, reason, message) = match (&check.fault, check.last) {
            _ if check.is_overdue() => {
                let message = match &check.obstacle {
                    Some(obstacle) => of_fault(obstacle),
                    None => Observation::CheckWaits.phrase(language),
                };
                ("Unknown", "not_probed", message)
            }
            (_, None) => ("Unknown", "unverified", Observation::CheckNotRun.phrase(language)),
            (None, Some(_)) => {
                let milliseconds = check.took.as_millis().to_string();
                ("True", "good", Observation::CheckTook { milliseconds }.phrase(language))
            }
            (Some(fault), Some(_)) => ("False", fault.reason().as_str(), of_fault(fault)),
        };
        Self {
            kind: kind.as_str(),
            status,
            reason,
            message,
            remedy: check.fault.as_ref().map(|fault| fault_action(fault, language).into_owned()),
            last_probe_time: check.last.map(rfc3339_text),
            last_transition_time: check.since.map(rfc3339_text),
            last_good_time: check.last_good.map(rfc3339_text),
        }
    }

    /// Creates an active condition.
    pub fn new_active(
        condition: Condition,
        message: String,
        language: Language,
        probed: Option<Timestamp>,
        since: Option<Timestamp>,
    ) -> Self {
        let kind = condition.as_str();
        let Guidance { meaning, action, .. } = condition_guidance(condition);
        Self {
            kind,
            status: "True",
            reason: kind,
            message: annotated_phrase(meaning, &message, language).into_owned(),
            remedy: Some(action.plain(language).into_owned()),
            last_probe_time: probed.map(rfc3339_text),
            last_transition_time: since.map(rfc3339_text),
            last_good_time: None,
        }
    }

    /// Returns the `type` of the condition.
    pub(super) fn condition_type(&self) -> &'static str {
        self.kind
    }

    /// Returns true if the condition reports a problem.
    pub(super) fn is_problem(&self) -> bool {
        self.status == "False" || self.reason == self.kind
    }
}

/// Capacity in bytes, and inodes if the filesystem counts them. The byte figures are null, and the
/// inodes absent, before the first measurement.
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
    /// Creates the body of one measurement.
    pub fn new(capacity: Option<Capacity>, inodes: Option<InodeCounts>) -> Self {
        Self {
            total_capacity: capacity.map(Capacity::total),
            available_capacity: capacity.map(Capacity::available),
            total_inodes: inodes.map(|inodes| inodes.total),
            available_inodes: inodes.map(|inodes| inodes.available),
        }
    }
}

/// The body of the health view of one store.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthBody<'a> {
    /// The store as the documented API shows it.
    pub inventory: InventoryBody<'a>,
    /// The time of the last status change, in RFC 3339 format.
    pub since: String,
    /// The reason why the store is not Connected.
    pub reason: Option<ErrorCode>,
    /// The three checks, followed by the active conditions.
    pub conditions: Vec<ConditionBody>,
    /// The capacity at the last successful probe.
    pub capacity: CapacityBody,
    /// The forecast of the space, or null before its history is known.
    pub forecast: Option<ForecastBody>,
    /// The filesystem of the image directory at the last successful probe.
    pub filesystem: FilesystemBody<'a>,
    /// The pinned host key of the server.
    pub host_key: Option<HostKeyBody<'a>>,
    /// The host key that was rejected. It keeps the store from being Connected, and an operator may
    /// accept it.
    pub offered_host_key: Option<HostKeyBody<'a>>,
    /// The evidence that the server is this node, from the newest successful login since the daemon
    /// started.
    pub host_proof: Option<HostProofBody<'a>>,
    /// The newest finished attempt since the daemon started, with the duration of each check.
    pub last_attempt: Option<LastAttemptBody>,
    /// The number of logins that the server may still reject before logins are suspended. It is
    /// null if the store was removed in the meantime.
    pub logins_left: Option<usize>,
    /// The probe process that cannot be killed.
    pub stuck_worker: Option<StuckWorkerBody>,
    /// The delivery of notices to the management node. It is null without a callback.
    pub delivery: Option<DeliveryBody>,
    /// The newest lines of the history, newest first. It is null if the history could not be read
    /// from the state disk.
    pub history: Option<Vec<HistoryLine<'a>>>,
    /// The number of lines that are older than the oldest kept line and were deleted. It is null if
    /// `history` is null.
    pub history_gone: Option<u64>,
}

/// A filesystem and its mount point.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemBody<'a> {
    device: &'a str,
    /// The folder of the filesystem that the mount shows, if it is a bind mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a str>,
    mount_point: &'a str,
    on_root_disk: bool,
    /// The folder of the filesystem whose quota limits the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_folder: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl<'a> From<&'a MountLocation> for FilesystemBody<'a> {
    fn from(mount: &'a MountLocation) -> Self {
        Self {
            device: &mount.device,
            folder: match &mount.part {
                Some(MountedPart::Folder(folder)) => Some(folder),
                Some(MountedPart::Whole) | None => None,
            },
            mount_point: &mount.mount_point,
            on_root_disk: mount.on_root_disk,
            quota_folder: mount.quota_folder.as_deref(),
            kind: &mount.fs_type,
        }
    }
}

/// The host key of an SSH server.
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

/// The result of proving by a login that the server is this node.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum HostProofBody<'a> {
    /// The server is proved to be this node.
    Proven {
        /// The kind of evidence.
        evidence: &'static str,
        /// The marker of the store as the server shows it.
        marker: Option<&'static str>,
    },
    /// The proof failed.
    Unproven {
        /// The observation of the daemon.
        message: &'a str,
        /// The kind of the obstacle.
        obstacle: &'static str,
    },
}

impl<'a> HostProofBody<'a> {
    /// Creates the body of a proof. Returns `None` if the login did not request a proof.
    pub fn new(proof: &'a HostIdentity) -> Option<Self> {
        match proof {
            HostIdentity::NotChecked => None,
            HostIdentity::Verified { evidence, marker } => Some(Self::Proven {
                evidence: evidence.as_str(),
                marker: marker.map(RemoteMarker::as_str),
            }),
            HostIdentity::Unverified(UnverifiedHost { obstacle, details }) => {
                Some(Self::Unproven { message: details, obstacle: obstacle.as_str() })
            }
        }
    }
}

/// A finished attempt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastAttemptBody {
    attempt: u64,
    cause: &'static str,
    checks: Vec<FinishedCheck>,
    end_time: String,
}

/// A finished check of an attempt. An attempt that was aborted has one entry, with a reason only.
#[derive(Clone, Copy, Debug, Serialize)]
struct FinishedCheck {
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    reason: Option<&'static str>,
}

impl FinishedCheck {
    fn new(check: StoreCheck, took: Duration, fault: Option<&Fault>) -> Self {
        let reason = fault.map(Fault::reason).map(Reason::as_str);
        Self { check: Some(check.as_str()), milliseconds: Some(rounded_millis(took)), reason }
    }
}

impl From<&LastAttempt> for LastAttemptBody {
    fn from(last: &LastAttempt) -> Self {
        let checks = match &last.outcome {
            Ok(outcome) => {
                let (probe, login) = (&outcome.probe, &outcome.login);
                let examine = FinishedCheck::new(
                    StoreCheck::Examine,
                    probe.took,
                    probe.examined.as_ref().err(),
                );
                let write = probe.written.as_ref().map(|written| match written {
                    Ok(written) => FinishedCheck::new(StoreCheck::Write, written.duration(), None),
                    Err(fault) => FinishedCheck::new(StoreCheck::Write, probe.took, Some(fault)),
                });
                let ssh =
                    FinishedCheck::new(StoreCheck::Ssh, login.took, login.outcome.as_ref().err());
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
            end_time: rfc3339_text(last.at),
        }
    }
}

/// A probe process that cannot be killed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StuckWorkerBody {
    /// The process id.
    pub pid: i32,
}

/// The state of the notice delivery of one store.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryBody {
    /// The host and port of the receiver in use.
    pub destination: Option<String>,
    /// The reply to the newest request, if the receiver did not accept it.
    pub last_reply: Option<String>,
    /// The time of the next request, in RFC 3339 format.
    pub next_try: Option<String>,
    /// The number of pending notices.
    pub pending: u64,
}

pub(super) fn rounded_millis(took: Duration) -> f64 {
    // Probes take a few milliseconds, so tenths of a millisecond matter.
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn rfc3339_text(at: Timestamp) -> String {
    at.to_string()
}
