//! What the notifier is given by whoever builds it.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Clock, Random};
use crate::ledger::Ledger;
use crate::management::CallbackClient;
use crate::model::NodeId;
use crate::wire::EventFormat;

/// What the notifier works with.
pub struct NotifierContext {
    /// Holds the outbox.
    pub ledger: Ledger,
    /// The way to the receiver.
    pub client: CallbackClient,
    /// This node, as the source of events.
    pub node: NodeId,
    /// The shape the receiver understands.
    pub format: EventFormat,
    /// Notices kept for a store before they fold into one.
    pub max_pending: u32,
    /// First tries of what waits at the start are spread over this time.
    pub start_spread: Duration,
    /// How long requests may go on after the stop.
    pub last_try: Duration,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}
