//! What a person changes of a store that is served: decided here, committed and followed up by its task.

use super::host_key_acceptance;
use super::update::VerifiedUpdate;
use crate::agent::faults;
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::{HistoryEntry, HistoryEvent, StoreRecord};
use crate::model::{AttemptFailure, HostKey, Store};

/// Asked for.
#[derive(Debug)]
pub(crate) enum DefinitionChange {
    /// A host key that an attempt has refused is the right one.
    HostKey(HostKey),
    /// Other texts, another login.
    Update(Box<VerifiedUpdate>),
}

/// Decided.
pub(super) struct PlannedChange {
    pub(super) store: Store,
    pub(super) change: LedgerChange,
    pub(super) event: HistoryEvent,
    /// Whether to connect: the login is another.
    pub(super) connects: bool,
}

impl DefinitionChange {
    /// What comes of it.
    ///
    /// # Errors
    /// `agent_busy`: the store is not any more what it was when this was asked for, or an attempt runs
    /// that knows the old login alone.
    pub(super) fn plan_change(
        self,
        store: &Store,
        record: &StoreRecord,
        pins: bool,
        at: Timestamp,
    ) -> Result<PlannedChange, AttemptFailure> {
        let (connects, (store, change, event)) = match self {
            Self::HostKey(key) => {
                (true, host_key_acceptance::pin_host_key(store, &record.standing, key)?)
            }
            Self::Update(proven) => {
                let connects = proven.changes_login();
                if connects && record.running.is_some() {
                    return Err(faults::attempt_running().into());
                }
                (connects, proven.apply_update(store, pins, at)?)
            }
        };
        let attempt = record.standing.attempt;
        let change =
            change.add_history(store.uuid, HistoryEntry { at, attempt, event: event.clone() });
        Ok(PlannedChange { store, change, event, connects })
    }
}
