//! A store's whole health.

use std::time::Duration;

use super::checks::StoreChecks;
use super::retry::RetrySchedule;
use super::schedule::CheckSchedule;
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
    /// Whether the host, too, has shown something where the marker lies.
    pub(super) marker_seen_on_host: bool,
    /// Whether a login has shown another disk out there, which the next probe is to decide upon.
    pub(super) namespace_suspect: bool,
    /// What the newest write probe met.
    pub(super) written: Option<WriteOutcome>,
    /// When the figures were last kept in the history, as uptime.
    pub(super) sampled: Option<Duration>,
    pub(super) retry: RetrySchedule,
    pub(super) agenda: CheckSchedule,
}

impl StoreRecord {
    /// A record around what the ledger holds. Feed it [`StepInput::Started`](super::Input::Started) first.
    pub fn new(standing: DurableRecord) -> Self {
        Self {
            standing,
            running: None,
            last_attempt: None,
            checks: StoreChecks::default(),
            proof: None,
            marker_seen_on_host: false,
            namespace_suspect: false,
            written: None,
            sampled: None,
            retry: RetrySchedule::default(),
            agenda: CheckSchedule::default(),
        }
    }

    /// Forgets what the server has shown: from now on it may be another one.
    pub fn reset_host_evidence(&mut self) {
        (self.marker_seen_on_host, self.namespace_suspect) = (false, false);
    }

    /// Whether a probe or an attempt has ended since the daemon started.
    pub fn is_verified(&self) -> bool {
        self.checks.examine.last.is_some()
    }
}
