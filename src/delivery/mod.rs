//! Layer 2. Decides what a reply to a notice or to the result of a job means, when each of
//! them is sent, and to which receiver.
//!
//! # Guarantees
//!
//! - [`classify`] and [`DeliveryState`] depend only on their arguments.
//! - The notices of a store are sent in order.
//! - Retries have no end, and the receiver finally gets the newest state.
//!
//! # Never
//!
//! - Opens a socket.
//! - Reads a clock.
//! - Loses or reorders a notice.

mod failover;
mod hook;
mod response;
mod retry_after;
mod state;

pub use failover::EndpointSelector;
pub use hook::{HookStep, hook_retry_delay, next_hook_step};
pub use response::{DeliveryOutcome, ReceiverReply, classify};
pub use retry_after::retry_after;
pub use state::{DeliveryState, LastFailure, NextAction};
