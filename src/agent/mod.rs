//! Layer 6. The stores that this daemon serves: one task per store, and the registry that owns the
//! tasks.
//!
//! # Guarantees
//!
//! - Only the task of a store writes its record.
//! - The durable part of a step is committed before any of its effects becomes visible.
//! - Overlapping reconnects share one attempt and one result.
//! - A store that hangs delays only itself.
//!
//! # Never
//!
//! - Knows HTTP.
//! - Touches an image directory; `probe` does.
//! - Sends a notice; the notifier does.

mod capacity;
mod checks;
mod conditions;
mod context;
mod event_reader;
mod faults;
mod login;
mod outcome;
mod progress;
mod registry;
mod service;
mod spaces;
mod stats;
mod store;

pub use capacity::CapacityHistory;
pub use conditions::{
    ActiveCondition, DaemonConditions, DeliveryMonitor, TotalCapacity, active_conditions,
    total_capacity,
};
pub use context::{AgentContext, DaemonContext, OutboxSignal};
pub use event_reader::EventReader;
pub use login::trial::TrialLogins;
pub use outcome::{OperationOutcome, OutcomeRecorder};
pub use progress::{AttemptNews, AttemptWatch, EndedPhases};
pub use registry::Registry;
pub use registry::add::AddError;
pub use registry::task::{RegistryTask, RegistryTaskPanicked};
pub use service::{CheckError, ReconnectError, StoreService, UpdateError};
pub use spaces::{SpaceIndex, SpaceSharers};
pub use stats::{AgentStats, AttemptEnd, LoginPhaseStats};
use store::StoreHandle;
pub use store::definition::AcceptError;
pub use store::login_change::UpdateRefusal;
pub use store::snapshot::StoreSnapshot;
