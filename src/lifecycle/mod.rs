//! Floor 1. The status machine: what a store's status becomes, decided in one function.
//!
//! Promises: [`step()`] is a function of its arguments alone; a status changes only together with the
//! [`Transition`] that tells of it; each transition takes the next [`Position`]; the result of a
//! superseded attempt changes nothing; every attempt is settled exactly once.
//! Never: awaits, reads a clock, rolls a die, knows what a check does.
//!
//! ```text
//!                    reconnect asked, retry due, recovered
//!            ┌───────────────────────────────────────────────┐
//!            ▼                                               │
//!      ┌────────────┐  attempt failed  ┌──────────────┐      │
//!      │ Connecting │ ───────────────► │ Disconnected │ ─────┤
//!      └────────────┘                  └──────────────┘      │
//!            │ attempt succeeded              ▲ fault decided│
//!            ▼                                │              │
//!      ┌────────────┐ ────────────────────────┘              │
//!      │ Connected  │ ───────────────────────────────────────┘
//!      └────────────┘
//! ```
//!
//! The table below is compared with the code by a test. "changed" stands for a transition (its notice
//! and its line of history), "settled" for the answer to all callers of the attempt.
//!
//! | status | input | next | effects |
//! |---|---|---|---|
//! | Connecting | started | Connecting | noted, begun |
//! | Connected | started | Connected | - |
//! | Disconnected | started | Disconnected | - |
//! | Connected | reconnect asked | Connecting | changed, begun |
//! | Disconnected | reconnect asked | Connecting | changed, begun |
//! | Connecting | reconnect asked | Connecting | noted |
//! | Connecting | attempt succeeded | Connected | changed, settled |
//! | Connecting | attempt failed | Disconnected | changed, settled |
//! | Connecting | late result | Connecting | - |
//! | Connected | late result | Connected | - |
//! | Disconnected | late result | Disconnected | - |
//! | Connected | good probe | Connected | - |
//! | Connected | soft fault | Connected | - |
//! | Connected | soft fault again and again | Disconnected | changed |
//! | Connected | hard fault | Disconnected | changed |
//! | Disconnected | soft fault again and again | Disconnected | - |
//! | Disconnected | hard fault | Disconnected | - |
//! | Disconnected | good probe | Disconnected | - |
//! | Disconnected | good probes again and again | Connecting | changed, begun |
//! | Connecting | good probe | Connecting | - |
//! | Connecting | hard fault | Connecting | - |
//! | Disconnected | retry due | Connecting | changed, begun |
//! | Connected | retry due | Connected | - |
//! | Connecting | retry due | Connecting | - |
//! | Connecting | stopping | Connecting | abandoned, settled |
//! | Connected | stopping | Connected | - |
//! | Disconnected | stopping | Disconnected | - |

mod record;
mod retry;
mod standing;
mod step;
mod watch;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod table;

#[cfg(doc)]
use crate::model::Position;

pub use record::{Attempt, Effect, Input, Measured, Moment, Policy, Record, Transition};
pub use standing::{Cause, HistoryEntry, HistoryEvent, Standing};
pub use step::step;
