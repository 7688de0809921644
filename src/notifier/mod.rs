//! Layer 7. The notifier: empties the outbox towards the management node, one lane per store; and tells it
//! in an interval how all of them are.
//!
//! Promises: at least once, in order per store, for ever; stores do not wait for each other; what was
//! delivered is not sent again by this process, even when the ledger cannot be told so.
//! Never: loses or reorders, decides what a reply means (that is `delivery`'s), outlives its stop by
//! more than its last try.

mod context;
mod endpoints;
mod handle;
mod heartbeat;
mod outbox_reader;
mod status;
mod store_delivery;
mod task;

pub use context::NotifierContext;
pub use handle::NotifierHandle;
pub use heartbeat::HeartbeatTask;
pub use status::{DeliveryStatus, NotifierStatus};
pub use task::{BrokenOff, NotifierTask};
