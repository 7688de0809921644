//! What others see of a store: a snapshot, replaced as a whole after each commit.

use std::sync::Arc;

use crate::lifecycle::{DurableRecord, LastAttempt, StoreChecks, StoreRecord};
use crate::model::{HostIdentity, Inventory, ProcessId, Store};

/// One store as it is now.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// Its definition: the task's own, as long as that does not change.
    pub store: Arc<Store>,
    /// Its health.
    pub standing: DurableRecord,
    /// Both, as the world is told.
    pub inventory: Inventory,
    /// Each check by itself, since the daemon started.
    pub checks: StoreChecks,
    /// The newest attempt that has ended since then.
    pub last_attempt: Option<LastAttempt>,
    /// What the newest good login since then has shown of the host.
    pub proof: Option<HostIdentity>,
    /// The worker that will not die.
    pub stuck_worker: Option<ProcessId>,
}

impl StoreSnapshot {
    pub(crate) fn new(
        store: &Arc<Store>,
        record: &StoreRecord,
        stuck_worker: Option<ProcessId>,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            standing: record.standing.clone(),
            inventory: inventory_of(store, &record.standing),
            checks: record.checks.clone(),
            last_attempt: record.last_attempt.clone(),
            proof: record.proof.clone(),
            stuck_worker,
        }
    }
}

/// The store as the management node sees it.
pub(super) fn inventory_of(store: &Store, standing: &DurableRecord) -> Inventory {
    Inventory {
        uuid: store.uuid,
        name: store.name.clone(),
        description: store.description.clone(),
        image_dir: store.image_dir.clone(),
        capacity: standing.capacity,
        state: store.state,
        status: standing.status,
        created: store.created,
        last_op: standing.since.max(store.changed),
        zone_uuids: store.zone_uuids.clone(),
        address: store.address.clone(),
        username: store.username.clone(),
    }
}
