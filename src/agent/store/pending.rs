//! Observations of checks that the ledger does not hold yet.
//!
//! A check may observe something that belongs into the definition of the store: the first host key
//! of the server, or the mount that the directory is on. The definition in memory is always the one
//! that was committed last. The observations are kept separately until a commit with them has
//! succeeded. A commit that fails loses none of them.

use std::sync::Arc;

use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::{HistoryEntry, HistoryEvent};
use crate::model::{AttemptId, HostKey, MountLocation, ProcessId, Store};

/// The observations of one store that wait for a commit.
#[derive(Debug, Default)]
pub(super) struct PendingObservations {
    /// The first host key, if the store has none pinned.
    host_key: Option<HostKey>,
    /// The mount that the directory is on, if the store has another one.
    mount: Option<MountLocation>,
    /// True if a registry was seen, and the store never had one.
    has_registry: bool,
    /// The worker that cannot be killed, as the ledger records it.
    stuck: Option<ProcessId>,
}

impl PendingObservations {
    /// Creates a set without observations. `stuck` is the worker that the ledger records.
    pub(super) fn clean(stuck: Option<ProcessId>) -> Self {
        Self { stuck, ..Self::default() }
    }

    /// Records the host key of the server, on first use.
    pub(super) fn observe_host_key(&mut self, store: &Store, key: &HostKey) {
        if store.pinned_key.is_none() && self.host_key.is_none() {
            self.host_key = Some(key.clone());
        }
    }

    /// Records the mount of a good directory, which later tells `not_mounted` from
    /// `marker_missing`, and whether the directory has a registry.
    pub(super) fn observe_mount(
        &mut self,
        store: &Store,
        mount: &MountLocation,
        has_registry: bool,
    ) {
        self.mount = (store.mount != *mount).then(|| mount.clone());
        self.has_registry |= has_registry && !store.had_registry;
    }

    /// Returns the store with all observations applied. The checks expect this state, and the next
    /// commit saves it. Returns the same store if there are no observations.
    pub(super) fn apply_to(&self, store: &Arc<Store>) -> Arc<Store> {
        let mut store = Arc::clone(store);
        if self.host_key.is_some() && store.pinned_key.is_none() {
            Arc::make_mut(&mut store).pinned_key.clone_from(&self.host_key);
        }
        if let Some(mount) = &self.mount {
            Arc::make_mut(&mut store).mount.clone_from(mount);
        }
        if self.has_registry {
            Arc::make_mut(&mut store).had_registry = true;
        }
        store
    }

    /// Returns the change that makes the observations durable. `store` is the committed definition,
    /// and `observed` is the one with the observations. `stuck` is the worker that cannot be killed
    /// now.
    pub(super) fn to_change(
        &self,
        store: &Arc<Store>,
        observed: &Arc<Store>,
        stuck: Option<ProcessId>,
        attempt: AttemptId,
        at: Timestamp,
    ) -> LedgerChange {
        let mut change = LedgerChange::new();
        if !Arc::ptr_eq(store, observed) {
            change = change.save_store(Store::clone(observed));
        }
        if !store.mount.is_same_mount(&observed.mount) {
            let event = HistoryEvent::DirectoryMoved(observed.mount.clone());
            change = change.add_history(store.uuid, HistoryEntry { at, attempt, event });
        }
        match stuck {
            _ if stuck == self.stuck => change,
            Some(worker) => change.save_stuck_worker(store.uuid, worker),
            None => change.clear_stuck_worker(store.uuid),
        }
    }

    /// Returns true if the directory has moved to other space.
    pub(super) fn moves_space(&self, store: &Store) -> bool {
        self.mount.as_ref().is_some_and(|mount| !store.mount.continues(mount))
    }

    /// Drops all observations, because the change with them has been committed.
    pub(super) fn clear(&mut self, stuck: Option<ProcessId>) {
        *self = Self::clean(stuck);
    }

    /// Returns the worker that cannot be killed, as the ledger records it.
    pub(crate) fn stuck_worker(&self) -> Option<ProcessId> {
        self.stuck
    }
}
