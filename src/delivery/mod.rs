//! Floor 2. What a reply to a notice means, when which notice is sent, and to which receiver.
//!
//! Promises: [`judge`] and [`Lane`] are functions of their arguments; a lane sends in order, never
//! gives up, and ends on the newest state.
//! Never: opens a socket, reads a clock, loses or reorders.

mod lane;
mod reply;
mod route;

pub use lane::{Lane, Step, Trouble};
pub use reply::{Reply, Verdict, judge, retry_after};
pub use route::Route;
