//! Active conditions of a store, and the total capacity of several stores.
//!
//! A condition comes from one of three sources: the checks of the store ([`StoreSnapshot`]), the
//! other stores ([`SpaceSharers`]), or the daemon ([`DaemonConditions`]).
//! [`active_conditions`] combines them for every report of conditions.
//!
//! # Never
//!
//! - Decides that a condition begins or ends; `lifecycle` and the notifier do.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::{SpaceSharers, StoreSnapshot};
use crate::catalog::{Language, forecast_phrase};
use crate::common::{Timestamp, for_each_fairly};
use crate::lifecycle::{CheckState, StoreChecks};
use crate::model::{
    Capacity, Condition, HostIdentity, RemoteMarker, SpaceId, StoreCheck, StoreUuid,
};
use crate::probe::marker_path;

/// A condition that is active now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveCondition {
    /// The condition.
    pub condition: Condition,
    /// The observation behind it, as a text for an operator.
    pub message: String,
    /// When it began, or `None` if that is not known.
    pub since: Option<Timestamp>,
}

impl ActiveCondition {
    /// Creates a condition whose beginning is not known.
    pub fn new(condition: Condition, message: impl Into<String>) -> Self {
        Self { condition, message: message.into(), since: None }
    }
}

/// Returns all active conditions of a store: first those of the store, then those of the daemon.
pub fn active_conditions(
    snapshot: &StoreSnapshot,
    sharers: &SpaceSharers,
    daemon: &DaemonConditions,
) -> Vec<ActiveCondition> {
    let unverified = snapshot.checks.examine.last.is_none().then(|| {
        ActiveCondition::new(Condition::Unverified, "not probed since the daemon started")
    });
    let of_store = snapshot.durable.conditions.iter().map(|(&condition, &since)| ActiveCondition {
        since: Some(since),
        ..ActiveCondition::new(condition, condition_message(condition, snapshot))
    });
    let shared = (!sharers.is_empty()).then(|| {
        let message = format!("on the same filesystem as {sharers}");
        ActiveCondition::new(Condition::SharedFilesystem, message)
    });
    let of_daemon = daemon.of_store(snapshot.store.uuid);
    unverified.into_iter().chain(of_store).chain(shared).chain(of_daemon).collect()
}

/// Reports the condition that the delivery of notices causes. The notifier implements this trait.
/// The agent defines it, because the agent is below the notifier and must not import it.
pub trait DeliveryMonitor: Send + Sync {
    /// Returns the condition of a store that its delivery causes, or `None` if delivery is good.
    fn delivery_condition(&self, store: StoreUuid) -> Option<ActiveCondition>;
}

/// The sources of the conditions that come from the daemon and not from a store. Cheap to clone.
#[derive(Clone)]
pub struct DaemonConditions {
    /// The time at which the daemon started.
    pub started: Timestamp,
    /// The algorithms that `ssh.legacy` enables.
    pub legacy: Vec<String>,
    /// True if `ssh.host_key_policy` accepts any key.
    pub accepts_any_host_key: bool,
    /// The delivery of notices, or `None` without a callback.
    pub delivery: Option<Arc<dyn DeliveryMonitor>>,
    /// The problem of the state disk, if it has one.
    pub state_disk: watch::Receiver<Option<String>>,
}

impl DaemonConditions {
    /// Returns the conditions of the daemon as they concern one store.
    fn of_store(&self, store: StoreUuid) -> impl Iterator<Item = ActiveCondition> {
        let configured = |condition, message: String| ActiveCondition {
            since: Some(self.started),
            ..ActiveCondition::new(condition, message)
        };
        let legacy = (!self.legacy.is_empty()).then(|| {
            let message = format!("ssh.legacy re-enables {}", self.legacy.join(", "));
            configured(Condition::LegacyAlgorithms, message)
        });
        let any_key = self.accepts_any_host_key.then(|| {
            let message = "ssh.host_key_policy is accept-any".to_owned();
            configured(Condition::AcceptsAnyHostKey, message)
        });
        let delivery =
            self.delivery.as_ref().and_then(|delivery| delivery.delivery_condition(store));
        let problem = self.state_disk.borrow().clone();
        let state_disk =
            problem.map(|problem| ActiveCondition::new(Condition::StateDiskTrouble, problem));
        [legacy, any_key, delivery, state_disk].into_iter().flatten()
    }
}

/// Returns the observation behind a condition that the checks of a store decided.
pub(super) fn condition_message(condition: Condition, snapshot: &StoreSnapshot) -> String {
    let capacity = snapshot.durable.capacity.map_or_else(String::new, |capacity| {
        format!("{} of {} bytes available", capacity.available(), capacity.total())
    });
    match condition {
        Condition::NearFull | Condition::Full => capacity,
        Condition::FillingUp => snapshot.forecast.as_ref().map_or_else(
            || "the history of its use has not been read yet".to_owned(),
            |forecast| forecast_phrase(forecast, Language::English),
        ),
        Condition::InodesFull => snapshot.durable.inodes.map_or_else(
            || "a write found no free inode".to_owned(),
            |inodes| format!("{} of {} inodes available", inodes.available, inodes.total),
        ),
        Condition::QuotaExceeded => "a write exceeded a quota (EDQUOT)".to_owned(),
        Condition::SyncUnsupported => {
            "fdatasync of a file returned EINVAL, EOPNOTSUPP or ENOSYS".to_owned()
        }
        Condition::SlowProbe => {
            format!("the last probe took {} ms", snapshot.checks.examine.took.as_millis())
        }
        Condition::ProofUnavailable => match &snapshot.host_identity {
            Some(HostIdentity::Unverified(unproven)) => unproven.details.clone(),
            _ => "no login has returned evidence since the daemon started".to_owned(),
        },
        Condition::StaleNamespace => host_evidence(snapshot),
        Condition::NotProbed => overdue_checks(&snapshot.checks),
        other => other.to_string(),
    }
}

/// Names the checks that do not end, and the obstacles.
fn overdue_checks(checks: &StoreChecks) -> String {
    let overdue = checks.all().into_iter().filter(|(_, check)| check.is_overdue());
    let texts: Vec<String> = overdue.map(|(name, check)| overdue_check(name, check)).collect();
    texts.join("; ")
}

/// Describes one check that was due and does not end.
fn overdue_check(name: StoreCheck, check: &CheckState) -> String {
    let since = match check.last {
        Some(at) => format!("the check {name} has not ended since {at}"),
        None => format!("the check {name} has not ended since the daemon started"),
    };
    match &check.obstacle {
        Some(fault) => format!("{since}: {}", fault.details()),
        None => format!("{since}: it is waiting for its turn, or running"),
    }
}

/// Describes what the host shows at the path where the daemon sees the store.
fn host_evidence(snapshot: &StoreSnapshot) -> String {
    let Some(HostIdentity::Verified { marker: Some(seen), .. }) = &snapshot.host_identity else {
        return "the newest login returned no evidence about the marker".to_owned();
    };
    let shows = match seen {
        RemoteMarker::Missing => "has no marker where the daemon sees the marker of this store",
        RemoteMarker::Different => {
            "has another marker where the daemon sees the marker of this store"
        }
        RemoteMarker::Same => "reads the marker of this store where the daemon cannot read it",
        RemoteMarker::Unreadable | RemoteMarker::TimedOut => {
            "did not return the marker at the newest login"
        }
    };
    format!("the host {shows}: {}", marker_path(&snapshot.store.image_dir))
}

/// The capacity of several stores together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalCapacity {
    /// Number of filesystems, and of folders with a quota, that are counted.
    pub filesystems: usize,
    /// Size of all of them, in bytes.
    pub total: u64,
    /// Space available in all of them, in bytes.
    pub available: u64,
}

/// Returns the total capacity of the stores. Each space counts once. If several stores share it,
/// the newest probe counts. A folder with a quota is part of its filesystem, so it does not count
/// beside a store that has the space of the whole filesystem.
pub async fn total_capacity(all: &[Arc<StoreSnapshot>]) -> TotalCapacity {
    let mut by_space: BTreeMap<SpaceId<'_>, (Option<Timestamp>, Capacity)> = BTreeMap::new();
    for_each_fairly(all, |snapshot| {
        let Some(capacity) = snapshot.durable.capacity else { return };
        let seen = (snapshot.checks.examine.last_good, capacity);
        let newest = by_space.entry(snapshot.store.mount.space()).or_insert(seen);
        if seen.0 > newest.0 {
            *newest = seen;
        }
    })
    .await;
    let is_counted_with_filesystem = |space: &SpaceId<'_>| {
        space.quota_folder.is_some()
            && by_space.contains_key(&SpaceId { quota_folder: None, ..*space })
    };
    let mut sum = TotalCapacity::default();
    for_each_fairly(&by_space, |(space, (_, capacity))| {
        if !is_counted_with_filesystem(space) {
            sum.filesystems += 1;
            sum.total = sum.total.saturating_add(capacity.total());
            sum.available = sum.available.saturating_add(capacity.available());
        }
    })
    .await;
    sum
}
