//! What checks have shown of a store, to be committed along with the next decision.

use super::attempt::Proven;
use super::store_task::StoreTask;
use crate::ledger::{Change, StuckWorker};
use crate::probe::Examined;

impl StoreTask {
    /// Keeps what a successful attempt has shown: the server's key on first use, and the place.
    pub(super) fn learn(&mut self, proven: &Proven) {
        if self.tools.pins_host_keys && self.store.pinned_key.is_none() {
            self.store.pinned_key = Some(proven.verified.host_key.clone());
            self.unsaved = true;
        }
        self.learn_place(&proven.examined);
    }

    /// Keeps where the directory was when last good, which later tells `not_mounted` from
    /// `marker_missing`.
    pub(super) fn learn_place(&mut self, examined: &Examined) {
        let had_registry = self.store.had_registry || examined.has_registry;
        if self.store.place != examined.place || self.store.had_registry != had_registry {
            self.store.place = examined.place.clone();
            self.store.had_registry = had_registry;
            self.unsaved = true;
        }
    }

    /// The worker that would not die, if any; as before while a check uses the slot.
    pub(super) fn stuck(&self) -> Option<StuckWorker> {
        match self.slot.try_lock() {
            Ok(slot) => slot.stuck().map(|(pid, start_time)| StuckWorker { pid, start_time }),
            Err(_) => self.saved_stuck,
        }
    }

    /// What is known and not yet in the ledger, to be committed along with the next decision.
    pub(super) fn learned(&self, stuck: Option<StuckWorker>) -> Change {
        let mut change = Change::new();
        if self.unsaved {
            change = change.save_store(self.store.clone());
        }
        match stuck {
            _ if stuck == self.saved_stuck => change,
            Some(worker) => change.leave_worker(self.store.uuid, worker),
            None => change.forget_worker(self.store.uuid),
        }
    }
}
