//! Layer 7. The notifier: it delivers the outbox to the management node, one task per store, and
//! sends heartbeats.
//!
//! # Guarantees
//!
//! - Each notice is delivered at least once, in order per store, with retries that have no end.
//! - Stores do not wait for each other.
//! - This process does not send a delivered notice again, even if the acknowledgement cannot be
//!   committed.
//!
//! # Never
//!
//! - Loses or reorders a notice.
//! - Decides what a reply means; `delivery` does.
//! - Runs longer than [`NotifierContext::last_try`] after its stop.

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
