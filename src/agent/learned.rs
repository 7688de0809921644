//! What checks have shown of a store, to be committed along with the next decision.

use std::sync::Arc;

use crate::ledger::{Change, StuckWorker};
use crate::lifecycle::{HistoryEntry, HistoryEvent};
use crate::model::{AttemptId, Store, Timestamp};
use crate::probe::Examined;
use crate::ssh::Verified;

/// What is known and not in the ledger yet.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Whether the definition has changed.
    store: bool,
    /// Whether the directory lies elsewhere than the ledger says.
    moved: bool,
    /// The worker that would not die, as the ledger knows it.
    stuck: Option<StuckWorker>,
}

impl Learned {
    /// Nothing but what the ledger holds.
    pub(super) fn nothing(stuck: Option<StuckWorker>) -> Self {
        Self { store: false, moved: false, stuck }
    }

    /// The server's key, on first use.
    pub(super) fn key(&mut self, store: &mut Arc<Store>, verified: &Verified) {
        if store.pinned_key.is_none() {
            Arc::make_mut(store).pinned_key = Some(verified.host_key.clone());
            self.store = true;
        }
    }

    /// Where the directory was when last good, which later tells `not_mounted` from
    /// `marker_missing`; and whether it has ever had a registry.
    pub(super) fn place(&mut self, store: &mut Arc<Store>, examined: &Examined) {
        let moved = store.place != examined.place;
        let first_registry = examined.has_registry && !store.had_registry;
        if moved || first_registry {
            let store = Arc::make_mut(store);
            store.place.clone_from(&examined.place);
            store.had_registry |= examined.has_registry;
        }
        self.moved |= moved;
        self.store |= moved || first_registry;
    }

    /// All of it as one change; `stuck` is the worker that will not die now.
    pub(super) fn change(
        &self,
        store: &Store,
        stuck: Option<StuckWorker>,
        attempt: AttemptId,
        at: Timestamp,
    ) -> Change {
        let mut change = Change::new();
        if self.store {
            change = change.save_store(store.clone());
        }
        if self.moved {
            let event = HistoryEvent::Moved(store.place.clone());
            change = change.note(store.uuid, HistoryEntry { at, attempt, event });
        }
        match stuck {
            _ if stuck == self.stuck => change,
            Some(worker) => change.leave_worker(store.uuid, worker),
            None => change.forget_worker(store.uuid),
        }
    }

    /// The change has been committed.
    pub(super) fn committed(&mut self, stuck: Option<StuckWorker>) {
        *self = Self::nothing(stuck);
    }

    /// The worker that would not die, as the ledger knows it.
    pub(super) fn stuck(&self) -> Option<StuckWorker> {
        self.stuck
    }
}
