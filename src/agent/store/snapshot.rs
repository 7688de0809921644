//! The snapshot of a store, which is replaced as a whole after each commit.

use std::sync::Arc;

use crate::agent::EndedPhases;
use crate::lifecycle::{DurableRecord, LastAttempt, StoreChecks, StoreRecord};
use crate::model::{HostIdentity, Inventory, ProcessId, SpaceForecast, Store};

/// The current state of one store.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// The definition. It is shared with the store task until the definition changes.
    pub store: Arc<Store>,
    /// The health.
    pub durable: DurableRecord,
    /// Definition and health in the form that the management node receives.
    pub inventory: Inventory,
    /// The results of each check since the daemon started.
    pub checks: StoreChecks,
    /// The newest attempt that ended since the daemon started.
    pub last_attempt: Option<LastAttempt>,
    /// The evidence of the host from the newest good login since the daemon started.
    pub host_identity: Option<HostIdentity>,
    /// The forecast of the space, or `None` before the figures and their history are known.
    pub forecast: Option<SpaceForecast>,
    /// True if an attempt is running or being prepared.
    pub has_attempt: bool,
    /// The phases of that attempt.
    pub phases: Option<EndedPhases>,
    /// The worker that cannot be killed, if any.
    pub stuck_worker: Option<ProcessId>,
}

impl StoreSnapshot {
    pub(crate) fn new(
        store: &Arc<Store>,
        record: &StoreRecord,
        forecast: Option<SpaceForecast>,
        phases: Option<EndedPhases>,
        stuck_worker: Option<ProcessId>,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            durable: record.durable.clone(),
            inventory: inventory_of(store, &record.durable),
            checks: record.checks.clone(),
            last_attempt: record.last_attempt.clone(),
            host_identity: record.host_identity.clone(),
            forecast,
            has_attempt: record.has_attempt(),
            phases: phases.filter(|_| record.has_attempt()),
            stuck_worker,
        }
    }
}

/// Returns the store in the form that the management node receives.
pub(in crate::agent) fn inventory_of(store: &Store, durable: &DurableRecord) -> Inventory {
    Inventory {
        uuid: store.uuid,
        name: store.name.clone(),
        description: store.description.clone(),
        image_dir: store.image_dir.clone(),
        capacity: durable.capacity,
        state: store.state,
        status: durable.status,
        created: store.created,
        last_op: durable.since.max(store.changed),
        zone_uuids: store.zone_uuids.clone(),
        address: store.address.clone(),
        username: store.username.clone(),
    }
}
