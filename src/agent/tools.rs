//! What every store task works with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::tryouts::TryOuts;
use crate::ledger::Ledger;
use crate::lifecycle::{Moment, Policy};
use crate::model::{Clock, Entropy, StoreUuid};
use crate::probe::Prober;
use crate::ssh::Verifier;

/// Told after each commit that put a notice into the outbox.
pub type OutboxSignal = Arc<dyn Fn(StoreUuid) + Send + Sync>;

/// The adapters and rules that all store tasks share; cheap to clone.
#[derive(Clone)]
pub struct Tools {
    /// Where everything durable goes.
    pub ledger: Ledger,
    /// Looks at image directories.
    pub prober: Prober,
    /// Logs in.
    pub verifier: Verifier,
    /// What adds and updates have met with logins that no store has.
    pub try_outs: TryOuts,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The rules of the status machine.
    pub policy: Policy,
    /// How long one probe may take.
    pub probe_deadline: Duration,
    /// How long one attempt may take.
    pub attempt_deadline: Duration,
    /// Whether a first key is pinned; not under the `accept-any` policy.
    pub pins_host_keys: bool,
    /// Where notices go. None: transitions go to the history only.
    pub outbox: Option<OutboxSignal>,
    /// When the daemon started.
    pub started: Instant,
}

impl Tools {
    /// This moment, with a fresh random number.
    pub(super) fn moment(&self) -> Moment {
        Moment { wall: self.clock.now(), uptime: self.started.elapsed(), roll: self.entropy.roll() }
    }
}
