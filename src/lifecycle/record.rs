//! The complete health record of a store.

use std::time::Duration;

use super::checks::StoreChecks;
use super::retry::RetrySchedule;
use super::schedule::CheckSchedule;
use super::stale_namespace::NamespaceEvidence;
use super::{DurableRecord, LastAttempt, RunningAttempt};
use crate::model::{HostIdentity, WriteOutcome};

/// The complete health of a store: the durable standing, and the state since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRecord {
    /// The durable part.
    pub standing: DurableRecord,
    /// The running attempt.
    pub running: Option<RunningAttempt>,
    /// The newest attempt that has ended since the daemon started.
    pub last_attempt: Option<LastAttempt>,
    /// The state of each check.
    pub checks: StoreChecks,
    /// The identity of the host from the newest good login.
    pub proof: Option<HostIdentity>,
    /// Evidence about the mount namespace of the daemon.
    pub(super) namespace: NamespaceEvidence,
    /// The outcome of the newest write probe.
    pub(super) written: Option<WriteOutcome>,
    /// The time of the newest capacity sample in the history, as uptime.
    pub(super) sampled: Option<Duration>,
    pub(super) retry: RetrySchedule,
    pub(super) agenda: CheckSchedule,
}

impl StoreRecord {
    /// Creates a record around the standing from the ledger. Its first input must be
    /// [`StepInput::Started`](super::StepInput::Started).
    pub fn new(standing: DurableRecord) -> Self {
        Self {
            standing,
            running: None,
            last_attempt: None,
            checks: StoreChecks::default(),
            proof: None,
            namespace: NamespaceEvidence::default(),
            written: None,
            sampled: None,
            retry: RetrySchedule::default(),
            agenda: CheckSchedule::default(),
        }
    }

    /// Clears the evidence that logins have brought, because they may lead to another host from now
    /// on.
    pub fn reset_host_evidence(&mut self) {
        self.namespace = NamespaceEvidence::default();
    }

    /// Returns true if a probe or an attempt has ended since the daemon started.
    pub fn is_verified(&self) -> bool {
        self.checks.examine.last.is_some()
    }
}
