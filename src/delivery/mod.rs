//! Floor 2. What a reply to a notice means, when which notice is sent, and to which receiver.
//!
//! Promises: [`judge`] and [`Lane`] are functions of their arguments; a lane sends in order, never
//! gives up, and ends on the newest state.
//! Never: opens a socket, reads a clock, loses or reorders.

mod failover;
mod response;
mod state;

pub use failover::Route;
pub use response::{Reply, Verdict, judge, retry_after};
pub use state::{Lane, Step, Trouble};
