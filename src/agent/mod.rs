//! Layer 6. The stores this daemon serves: one task each, and the registry that owns them.
//!
//! Promises: only a store's own task writes its record; a step's durable part is committed before any
//! of its effects leaves; overlapping reconnects share one attempt and one answer; a store that hangs
//! slows only itself.
//! Never: knows HTTP, touches an image directory (that is `probe`'s), sends a notice (that is the
//! notifier's).

mod checks;
mod commit_timeout;
mod conditions;
mod context;
mod faults;
mod login;
mod registry;
mod service;
mod store;

pub use conditions::{
    ActiveCondition, DaemonConditions, DeliveryMonitor, SharedFilesystems, TotalCapacity,
    active_conditions, total_capacity,
};
pub use context::{AgentContext, OutboxSignal};
pub use login::trial::TrialLogins;
pub use registry::Registry;
pub use registry::add::AddError;
pub use registry::task::{RegistryTask, RegistryTaskPanicked};
pub use service::{ReconnectError, StoreService};
use store::handle::StoreHandle;
pub use store::host_key_acceptance::AcceptError;
pub use store::snapshot::StoreSnapshot;
