//! Floor 4. The stores this daemon serves: one task each, and the registry that owns them.
//!
//! Promises: only a store's own task writes its record; a step's durable part is committed before any
//! of its effects leaves; overlapping reconnects share one attempt and one answer; a store that hangs
//! slows only itself.
//! Never: knows HTTP, touches an image directory (that is `probe`'s), sends a notice (that is the
//! notifier's).

mod acceptance;
mod add;
mod attempt;
mod callers;
mod conditions;
mod context;
mod faults;
mod handle;
mod journal;
mod news;
mod patience;
mod pending;
mod redefinition;
mod refused;
mod registry;
mod registry_task;
mod restraint;
mod service;
mod store_task;
mod tryouts;
mod update;
mod view;
mod work;

pub use acceptance::AcceptError;
pub use add::AddError;
pub use conditions::{
    ActiveCondition, DaemonConditions, DeliveryMonitor, SharedFilesystems, TotalCapacity,
    active_conditions, total_capacity,
};
pub use context::{AgentContext, OutboxSignal};
use handle::StoreHandle;
pub use registry::Registry;
pub use registry_task::{BrokenOff, RegistryTask};
pub use service::{ReconnectError, StoreService};
pub use tryouts::TryOuts;
pub use view::StoreView;
