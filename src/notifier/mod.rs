//! Floor 5. The notifier: empties the outbox towards the management node, one lane per store; and tells it
//! in an interval how all of them are.
//!
//! Promises: at least once, in order per store, for ever; stores do not wait for each other; what was
//! delivered is not sent again by this process, even when the ledger cannot be told so.
//! Never: loses or reorders, decides what a reply means (that is `delivery`'s), outlives its stop by
//! more than its last try.

mod board;
mod destinations;
mod handle;
mod heartbeat;
mod lane;
mod means;
mod outbox;
mod task;

pub use board::{LaneStatus, NotifierStatus};
pub use handle::NotifierHandle;
pub use heartbeat::Heartbeat;
pub use means::Means;
pub use task::{BrokenOff, Notifier};
