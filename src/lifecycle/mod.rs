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
//!            reconnect requested, retry due, recovered; then prepared
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
//! An attempt first acquires what it needs of the daemon (permits, a process, a thread). The status
//! changes only after that. If the daemon fails later, the store returns to its previous status.
//!
//! A check that was due and has not ended for `fail_after` of its intervals raises `not_probed`. A
//! forecast raises or ends `filling_up`. Neither changes the status.
//!
//! A test compares the table below with the code. An effect is an order: "publish" a transition
//! (its notice and its history line), "record" a history line, "prepare attempt", "start attempt",
//! "cancel attempt", "complete attempt" (answer every caller that waits for it), "reject requests"
//! (answer every caller that waits for an attempt that does not start), "probe", and "log in".
//!
//! | status | input | next | effects |
//! |---|---|---|---|
//! | Connecting | started | Connecting | record, prepare attempt |
//! | Connected | started | Connected | - |
//! | Disconnected | started | Disconnected | - |
//! | Connected | reconnect requested | Connected | prepare attempt |
//! | Disconnected | reconnect requested | Disconnected | prepare attempt |
//! | Connecting | reconnect requested | Connecting | - |
//! | Connecting | reconnect requested with tags | Connecting | record |
//! | Connected | reconnect requested twice | Connected | - |
//! | Connected | reconnect requested, prepared | Connecting | publish, start attempt |
//! | Disconnected | reconnect requested, prepared | Connecting | publish, start attempt |
//! | Connected | reconnect, tags joined, prepared | Connecting | publish, start attempt, record |
//! | Connected | reconnect requested, not prepared | Connected | reject requests |
//! | Disconnected | reconnect requested, not prepared | Disconnected | reject requests |
//! | Connected | hard fault while prepared | Disconnected | publish |
//! | Connecting | started, prepared | Connecting | start attempt |
//! | Connecting | started, not prepared | Disconnected | publish, reject requests |
//! | Connecting | late preparation | Connecting | - |
//! | Connected | late preparation | Connected | - |
//! | Disconnected | late preparation | Disconnected | - |
//! | Connecting | attempt succeeded | Connected | publish, complete attempt |
//! | Connecting | attempt failed | Disconnected | publish, complete attempt |
//! | Connected | attempt started, internal error | Connected | publish, complete attempt |
//! | Disconnected | attempt started, internal error | Disconnected | publish, complete attempt |
//! | Connected | internal error beside a fault | Disconnected | publish, complete attempt |
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
//! | Disconnected | good probes, recover_after in a row | Disconnected | prepare attempt |
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
//! | Disconnected | retry due | Disconnected | prepare attempt |
//! | Connected | all due | Connected | probe, log in |
//! | Connected | all due, probe in flight | Connected | log in |
//! | Connected | all due while prepared | Connected | probe |
//! | Disconnected | all due | Disconnected | probe |
//! | Connecting | all due | Connecting | - |
//! | Connected | probe requested | Connected | probe |
//! | Disconnected | probe requested | Disconnected | probe |
//! | Connecting | probe requested | Connecting | - |
//! | Connected | login requested | Connected | log in |
//! | Disconnected | login requested | Disconnected | log in |
//! | Connecting | login requested | Connecting | - |
//! | Connected | login requested while prepared | Connected | - |
//! | Connecting | stopping | Connecting | cancel attempt, complete attempt |
//! | Connected | stopping | Connected | - |
//! | Disconnected | stopping | Disconnected | - |

mod attempt;
mod capacity_rollup;
mod checks;
mod conditions;
mod filling;
mod history;
mod input;
mod overdue;
mod record;
mod requested;
mod retry;
mod schedule;
mod stale_namespace;
mod step;
#[cfg(test)]
mod tests;

#[cfg(doc)]
use crate::model::Position;

pub use checks::{CheckState, StoreChecks};
pub use conditions::{ActiveConditions, examined_conditions, is_probe_condition};
pub use filling::FillEvidence;
pub use history::{
    EventItem, EventPage, EventQuery, HistoryEntry, HistoryEvent, RecordedEvent, StoreHistory,
};
pub use input::{
    AttemptOutcome, Cause, CheckPolicy, LastAttempt, LoginOutcome, MeasuredSpace, PreparingAttempt,
    PreviousStatus, ProbeOutcome, RunningAttempt, SpaceThresholds, StatusTransition, StepEffect,
    StepInput, StepTime,
};
pub use record::{DurableRecord, StoreRecord};
pub use requested::{RequestDecision, RequestedCheck};
pub use schedule::InFlight;
pub use step::step;
