//! Layer 2. What a reply to a notice means, when which notice is sent, and to which receiver.
//!
//! Promises: [`classify`] and [`DeliveryState`] are functions of their arguments; a lane sends in order, never
//! gives up, and ends on the newest state.
//! Never: opens a socket, reads a clock, loses or reorders.

mod failover;
mod response;
mod state;

pub use failover::EndpointSelector;
pub use response::{DeliveryOutcome, ReceiverReply, classify, retry_after};
pub use state::{DeliveryState, LastFailure, NextAction};
