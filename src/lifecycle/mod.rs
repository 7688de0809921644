//! Layer 2. The status machine: one function decides the status of a store.
//!
//! # Guarantees
//! - [`step()`] depends only on its arguments.
//! - A status changes only together with its [`StatusTransition`].
//! - Each transition takes the next [`Position`].
//! - The result of a superseded attempt changes nothing.
//! - Every attempt is completed exactly once.
//!
//! # Never
//! - It never awaits, and never reads a clock or a random source.
//! - It never depends on the implementation of a check.
//!
//! # Diagram
//!
//! ```text
//!                  reconnect requested, retry due, recovered
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
//! # Rules
//! The three checks have separate counts: examine (the right directory, its figures), write, and
//! ssh. A probe always examines, and it writes if a write is due. A hard fault decides at once. A
//! soft fault decides after `fail_after` consecutive failures of its check. The `schedule` module
//! decides when each check is due.
//!
//! A test compares the table below with the code. An effect is an order: "publish" a transition
//! (its notice and its history line), "record" a history line, "start attempt", "cancel attempt",
//! "complete attempt" (answer every caller that waits for it), "probe", and "log in".
//!
//! | status | input | next | effects |
//! |---|---|---|---|
//! | Connecting | started | Connecting | record, start attempt |
//! | Connected | started | Connected | - |
//! | Disconnected | started | Disconnected | - |
//! | Connected | reconnect requested | Connecting | publish, start attempt |
//! | Disconnected | reconnect requested | Connecting | publish, start attempt |
//! | Connecting | reconnect requested | Connecting | - |
//! | Connecting | reconnect requested with tags | Connecting | record |
//! | Connecting | attempt succeeded | Connected | publish, complete attempt |
//! | Connecting | attempt failed | Disconnected | publish, complete attempt |
//! | Connecting | late result | Connecting | - |
//! | Connected | late result | Connected | - |
//! | Disconnected | late result | Disconnected | - |
//! | Connected | good probe | Connected | - |
//! | Connected | soft fault | Connected | - |
//! | Connected | soft faults, fail_after in a row | Disconnected | publish |
//! | Connected | hard fault | Disconnected | publish |
//! | Disconnected | soft faults, fail_after in a row | Disconnected | - |
//! | Disconnected | hard fault | Disconnected | - |
//! | Disconnected | good probe | Disconnected | - |
//! | Disconnected | good probes, recover_after in a row | Connecting | publish, start attempt |
//! | Connecting | good probe | Connecting | - |
//! | Connecting | hard fault | Connecting | - |
//! | Connected | rejected login | Disconnected | publish |
//! | Connected | lost login | Connected | - |
//! | Connected | lost logins, fail_after in a row | Disconnected | publish |
//! | Connected | good login | Connected | - |
//! | Disconnected | rejected login | Disconnected | - |
//! | Connecting | rejected login | Connecting | - |
//! | Connected | hanging write, then no worker can start | Disconnected | publish |
//! | Connected | internal error | Connected | - |
//! | Disconnected | retry due | Connecting | publish, start attempt |
//! | Connected | all due | Connected | probe, log in |
//! | Connected | all due, probe in flight | Connected | log in |
//! | Disconnected | all due | Disconnected | probe |
//! | Connecting | all due | Connecting | - |
//! | Connecting | stopping | Connecting | cancel attempt, complete attempt |
//! | Connected | stopping | Connected | - |
//! | Disconnected | stopping | Disconnected | - |

mod checks;
mod conditions;
mod history;
mod input;
mod record;
mod retry;
mod schedule;
mod stale_namespace;
mod step;
#[cfg(test)]
mod tests;

#[cfg(doc)]
use crate::model::Position;

pub use checks::{CheckState, StoreChecks};
pub use conditions::ActiveConditions;
pub use history::{HistoryEntry, HistoryEvent, StoreHistory};
pub use input::{
    AttemptOutcome, Cause, CheckPolicy, LastAttempt, LoginOutcome, MeasuredSpace, ProbeOutcome,
    RunningAttempt, SpaceThresholds, StatusTransition, StepEffect, StepInput, StepTime,
};
pub use record::{DurableRecord, StoreRecord};
pub use schedule::InFlight;
pub use step::step;
