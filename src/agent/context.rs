//! The adapters, settings and shared state that all parts of the agent use.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::login::trial::TrialLogins;
use crate::common::{Clock, Random};
use crate::ledger::Ledger;
use crate::lifecycle::{CheckPolicy, StepTime};
use crate::model::StoreUuid;
use crate::probe::Prober;
use crate::ssh::Verifier;

/// Called after each commit that put a notice into the outbox.
pub type OutboxSignal = Arc<dyn Fn(StoreUuid) + Send + Sync>;

/// Everything that the registry and all store tasks share. Built once by `app`, then shared in an
/// [`Arc`].
pub struct AgentContext {
    /// Holds all durable state.
    pub ledger: Ledger,
    /// Probes image directories.
    pub prober: Prober,
    /// Verifies logins.
    pub verifier: Verifier,
    /// Remembers the logins of adds and updates that the servers rejected.
    pub try_outs: TrialLogins,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The rules of the status machine.
    pub policy: CheckPolicy,
    /// Maximum duration of one probe.
    pub probe_deadline: Duration,
    /// Maximum duration of one attempt.
    pub attempt_deadline: Duration,
    /// True if the first host key of a server is pinned; false under the `accept-any` policy.
    pub pins_host_keys: bool,
    /// Receives notices. If it is `None`, transitions are recorded in the history only.
    pub outbox: Option<OutboxSignal>,
    /// The time at which the daemon started.
    pub started: Instant,
}

impl AgentContext {
    /// Returns the current time, with a new random number.
    pub(super) fn step_time(&self) -> StepTime {
        StepTime {
            wall: self.clock.now(),
            uptime: self.started.elapsed(),
            random: self.random.next_u64(),
        }
    }
}
