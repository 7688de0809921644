//! Layer 3. The diagnosis: verdicts about the stores and the daemon, from facts that others
//! collect.
//!
//! # Guarantees
//!
//! - Every check of [`DoctorCheck`](crate::catalog::DoctorCheck) that concerns a store has exactly
//!   one finding for each store, and a check that could not run says what it needs.
//! - A fault or a condition of a store is in exactly one finding.
//! - A thing that is wrong is an error, a thing that will become wrong is a warning, and a thing
//!   that could only be better is neither.
//!
//! # Never
//!
//! - It never collects a fact: no I/O, no clock.
//! - It never changes a status; `lifecycle` decides that.

mod agent_calls;
mod callback;
mod certificate;
mod clock;
mod daemon;
mod finding;
mod reason_check;
mod sandbox;
mod state_dir;
mod store;
mod store_facts;
mod store_result;
mod summary;
#[cfg(test)]
mod tests;

pub use agent_calls::{AgentCallFacts, RECENT_CALL_MS, RefusedCaller, diagnose_agent_calls};
pub use callback::{
    LAST_REPLIES, RECEIVERS, RECEIVERS_DOWN, ReceiverFact, ReceiverProblem, diagnose_callback,
};
pub use certificate::{
    CertificateFact, CertificateFacts, NOT_AFTER, NOT_BEFORE, SHA256, diagnose_certificate,
};
pub use clock::{ClockFacts, diagnose_clock};
pub use daemon::{DaemonFacts, DeliveryFact, destination_or_setting, diagnose_daemon};
pub use finding::{Finding, FindingEvidence, ProblemWord, Verdict};
pub use reason_check::{check_of_condition, check_of_reason};
pub use sandbox::{SandboxFacts, diagnose_sandbox};
pub use state_dir::{KeyFact, StateDirFacts, StateDirProblem, StateDiskFact, diagnose_state_dir};
pub use store::diagnose_store;
pub use store_facts::{ConditionFact, ReportFact, StoreFacts, StoreObserver, StoreTitle};
pub use summary::Summary;
