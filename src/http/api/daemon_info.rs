//! The part of the health view that belongs to the daemon and not to one store.

use std::sync::Arc;

use crate::agent::DaemonConditions;
use crate::model::{NodeId, StoreUuid};
use crate::notifier::NotifierHandle;
use crate::wire::DeliveryBody;

/// The resources that the process of the daemon uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessStats {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time since the start, in milliseconds.
    pub cpu_milliseconds: u64,
}

/// Reads the figures. Called for each request that shows them.
pub type ProcessStatsFn = Arc<dyn Fn() -> ProcessStats + Send + Sync>;

/// The daemon, as the health view shows it.
#[derive(Clone)]
pub struct DaemonInfo {
    /// This installation.
    pub node: NodeId,
    /// The conditions that come from the daemon.
    pub conditions: DaemonConditions,
    /// The delivery of notices, or `None` without a callback.
    pub notifier: Option<NotifierHandle>,
    /// The resources that the process uses.
    pub process: ProcessStatsFn,
}

impl DaemonInfo {
    /// Returns the status of delivery for one store, or `None` without a callback.
    pub(super) fn delivery_status(&self, store: StoreUuid) -> Option<DeliveryBody> {
        let notifier = self.notifier.as_ref()?;
        let status = notifier.delivery_status(store).unwrap_or_default();
        Some(DeliveryBody {
            destination: notifier.active_endpoint(),
            last_reply: status.trouble.map(|trouble| trouble.reply.to_string()),
            next_try: status.next_try.map(|at| at.to_string()),
            pending: status.waiting,
        })
    }
}
