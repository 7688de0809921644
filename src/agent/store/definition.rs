//! Changes of the definition of a served store. They are decided here, and the store task commits
//! them and acts on them.

use super::host_key_acceptance;
use super::update::VerifiedUpdate;
use crate::agent::faults;
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::{HistoryEntry, HistoryEvent, StoreRecord};
use crate::model::{AttemptFailure, HostKey, Store};

/// A requested change of the definition.
#[derive(Debug)]
pub(crate) enum DefinitionChange {
    /// Accept a host key that an attempt rejected.
    HostKey(HostKey),
    /// Replace texts or the login.
    Update(Box<VerifiedUpdate>),
}

/// A change that was decided, but not committed.
pub(super) struct PlannedChange {
    pub(super) store: Store,
    pub(super) change: LedgerChange,
    pub(super) event: HistoryEvent,
    /// True if the change is followed by a reconnect, because it changes the login or the host key.
    pub(super) connects: bool,
}

impl DefinitionChange {
    /// Decides the change.
    ///
    /// # Errors
    /// `agent_busy` if the store has changed since the request, or an attempt with the old login is
    /// running.
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
