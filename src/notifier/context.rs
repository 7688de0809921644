//! The adapters and settings that the notifier uses.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Clock, Random};
use crate::ledger::Ledger;
use crate::management::CallbackClient;
use crate::model::NodeId;
use crate::wire::EventFormat;

/// Everything that the notifier needs. Built once by `app`.
pub struct NotifierContext {
    /// Holds the outbox.
    pub ledger: Ledger,
    /// Posts events to the receivers.
    pub client: CallbackClient,
    /// The id of this node, which is the source of events.
    pub node: NodeId,
    /// The format of events.
    pub format: EventFormat,
    /// Maximum number of pending notices of a store. More of them are coalesced into one.
    pub max_pending: u32,
    /// The period over which the first requests of the backlog are spread.
    pub start_spread: Duration,
    /// Maximum time for which requests continue after the stop.
    pub last_try: Duration,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}
