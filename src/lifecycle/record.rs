//! The health record of a store, and the durable part of it.

use std::time::Duration;

use super::capacity_rollup::CapacityRollup;
use super::checks::StoreChecks;
use super::retry::RetrySchedule;
use super::schedule::CheckSchedule;
use super::stale_namespace::NamespaceEvidence;
use super::{ActiveConditions, LastAttempt, PreparingAttempt, PreviousStatus, RunningAttempt};
use crate::common::Timestamp;
use crate::model::{
    AttemptFailure, AttemptId, Capacity, Epoch, HostIdentity, InodeCounts, Position, Status,
    WriteOutcome,
};

/// The complete health of a store: the durable part, and the state since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRecord {
    /// The durable part.
    pub durable: DurableRecord,
    /// The requested attempt that is being prepared.
    pub preparing: Option<PreparingAttempt>,
    /// The running attempt.
    pub running: Option<RunningAttempt>,
    /// The newest attempt that has ended since the daemon started.
    pub last_attempt: Option<LastAttempt>,
    /// The state of each check.
    pub checks: StoreChecks,
    /// The identity of the host from the newest good login.
    pub host_identity: Option<HostIdentity>,
    /// Evidence about the mount namespace of the daemon.
    pub(super) namespace: NamespaceEvidence,
    /// The outcome of the newest write probe.
    pub(super) last_write: Option<WriteOutcome>,
    /// The time of the newest capacity sample in the history, as uptime.
    pub(super) last_sample: Option<Duration>,
    /// The figures by day that are not committed yet.
    pub(super) rollup: CapacityRollup,
    pub(super) retry: RetrySchedule,
    pub(super) schedule: CheckSchedule,
}

impl StoreRecord {
    /// Creates a record around the durable part from the ledger. Its first input must be
    /// [`StepInput::Started`](super::StepInput::Started).
    pub fn new(durable: DurableRecord) -> Self {
        Self {
            durable,
            preparing: None,
            running: None,
            last_attempt: None,
            checks: StoreChecks::default(),
            host_identity: None,
            namespace: NamespaceEvidence::default(),
            last_write: None,
            last_sample: None,
            rollup: CapacityRollup::default(),
            retry: RetrySchedule::default(),
            schedule: CheckSchedule::default(),
        }
    }

    /// Clears the evidence that logins have brought, because later logins may reach another host.
    pub fn reset_host_evidence(&mut self) {
        self.namespace = NamespaceEvidence::default();
    }

    /// Drops the figures by day that are not committed yet, because the next ones describe other
    /// space.
    pub fn restart_rollup(&mut self) {
        self.rollup = CapacityRollup::of_new_series();
    }

    /// Returns true if an attempt is running or being prepared.
    pub fn has_attempt(&self) -> bool {
        self.running.is_some() || self.preparing.is_some()
    }

    /// Returns true if a probe or an attempt has ended since the daemon started.
    pub fn is_verified(&self) -> bool {
        self.checks.examine.last.is_some()
    }
}

/// The state of a store's health that survives a restart of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableRecord {
    /// The status.
    pub status: Status,
    /// The position of the newest notice.
    pub position: Position,
    /// The newest attempt; 0 before the first one.
    pub attempt: AttemptId,
    /// The last good figures. They are kept while the store is Disconnected.
    pub capacity: Option<Capacity>,
    /// The inodes of the same sample.
    pub inodes: Option<InodeCounts>,
    /// The failure for which the store is Disconnected, or `None` otherwise.
    pub failure: Option<AttemptFailure>,
    /// The status before, if the store is Connecting. `None` for a store that had no other one.
    pub previous: Option<PreviousStatus>,
    /// The time at which the status last changed.
    pub since: Timestamp,
    /// The active conditions.
    pub conditions: ActiveConditions,
}

impl DurableRecord {
    /// Creates the record of a new store, which is Connecting until its first attempt ends.
    pub fn new_connecting(epoch: Epoch, at: Timestamp) -> Self {
        Self {
            status: Status::Connecting,
            position: Position::start_of(epoch),
            attempt: AttemptId::default().next_id(),
            capacity: None,
            inodes: None,
            failure: None,
            previous: None,
            since: at,
            conditions: ActiveConditions::new(),
        }
    }

    /// Returns true if at most the capacity and inode figures differ. They are persisted less often
    /// than each probe.
    pub fn differs_only_in_capacity(&self, other: &Self) -> bool {
        let Self {
            status,
            position,
            attempt,
            capacity: _,
            inodes: _,
            failure,
            previous,
            since,
            conditions,
        } = self;
        (status, position, attempt, since)
            == (&other.status, &other.position, &other.attempt, &other.since)
            && (failure, previous, conditions)
                == (&other.failure, &other.previous, &other.conditions)
    }
}
