//! The dependencies that `app` builds once: those that the agent and the notifier share, and those
//! of the agent alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::login::trial::TrialLogins;
use super::{AgentStats, SpaceIndex};
use crate::common::{Clock, Random};
use crate::ledger::Ledger;
use crate::lifecycle::{CheckPolicy, StepTime};
use crate::model::{NodeId, StoreUuid};
use crate::probe::Prober;
use crate::settings::HostKeyPolicy;
use crate::ssh::Verifier;

/// The receiver of the signals about the notices in the outbox. Its methods never wait.
pub trait OutboxSignal: Send + Sync {
    /// Counts a committed notice of a store as pending. Call it before the change that the notice
    /// is about becomes visible, so that no view shows the change as delivered.
    fn mark_pending(&self, store: StoreUuid);

    /// Signals that the committed notices of a store can be sent. Call it once the change is
    /// visible, so that a receiver that asks for the store finds it.
    fn notify_changed(&self, store: StoreUuid);
}

/// The identity of the daemon, its durable state, and its sources of time and randomness. The
/// agent, the notifier and the heartbeat share one value. It is in this module because the agent is
/// the lowest layer that uses all of it.
pub struct DaemonContext {
    /// The id of this node, which is the source of events.
    pub node: NodeId,
    /// Holds all durable state.
    pub ledger: Ledger,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// The dependencies that the registry and all store tasks share.
pub struct AgentContext {
    /// The dependencies that the notifier has as well.
    pub daemon: Arc<DaemonContext>,
    /// Probes image directories.
    pub prober: Prober,
    /// Verifies logins.
    pub verifier: Verifier,
    /// Remembers the logins of adds and updates that the servers rejected.
    pub trial_logins: TrialLogins,
    /// The rules of the status machine.
    pub policy: CheckPolicy,
    /// Maximum duration of one probe.
    pub probe_timeout: Duration,
    /// Maximum duration of one attempt.
    pub attempt_timeout: Duration,
    /// The host keys that a login accepts.
    pub host_key_policy: HostKeyPolicy,
    /// The stores of each space.
    pub spaces: SpaceIndex,
    /// Called for a store after its notice was committed. If it is `None`, there is no outbox, and
    /// transitions are recorded in the history only.
    pub outbox_signal: Option<Arc<dyn OutboxSignal>>,
    /// Counts attempts, transitions and checks, for metrics.
    pub stats: Arc<AgentStats>,
    /// The time at which the daemon started.
    pub started: Instant,
}

impl AgentContext {
    /// Returns true if the first host key of a server is pinned.
    pub(super) fn pins_host_keys(&self) -> bool {
        self.host_key_policy != HostKeyPolicy::AcceptAny
    }

    /// Returns the current time, with a new random number.
    pub(super) fn step_time(&self) -> StepTime {
        StepTime {
            wall: self.daemon.clock.now(),
            uptime: self.started.elapsed(),
            random: self.daemon.random.next_u64(),
        }
    }
}
