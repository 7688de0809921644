//! A store's whole health.

use std::time::Duration;

use super::checks::StoreChecks;
use super::retry::RetrySchedule;
use super::schedule::CheckSchedule;
use super::stale_namespace::NamespaceEvidence;
use super::{DurableRecord, LastAttempt, RunningAttempt};
use crate::model::{HostIdentity, WriteOutcome};

/// A store's whole health: the durable standing and what is known since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRecord {
    /// The durable part.
    pub standing: DurableRecord,
    /// The running attempt.
    pub running: Option<RunningAttempt>,
    /// The newest attempt that has ended since the daemon started.
    pub last_attempt: Option<LastAttempt>,
    /// Each check by itself.
    pub checks: StoreChecks,
    /// What the newest good login has shown of the host.
    pub proof: Option<HostIdentity>,
    /// Evidence about the mount namespace of the daemon.
    pub(super) namespace: NamespaceEvidence,
    /// What the newest write probe met.
    pub(super) written: Option<WriteOutcome>,
    /// When the figures were last kept in the history, as uptime.
    pub(super) sampled: Option<Duration>,
    pub(super) retry: RetrySchedule,
    pub(super) agenda: CheckSchedule,
}

impl StoreRecord {
    /// A record around what the ledger holds. Feed it [`StepInput::Started`](super::StepInput::Started) first.
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

    /// Discards the evidence that logins have brought: from now on they may lead to another host.
    pub fn reset_host_evidence(&mut self) {
        self.namespace = NamespaceEvidence::default();
    }

    /// Whether a probe or an attempt has ended since the daemon started.
    pub fn is_verified(&self) -> bool {
        self.checks.examine.last.is_some()
    }
}
