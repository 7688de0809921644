//! Changes of the definition of a served store: an update, a change of its placement, or the
//! acceptance of a host key that an attempt rejected. They are decided here, and the store task
//! commits them and acts on them.
//!
//! # Guarantees
//!
//! - A host key is accepted only if it is the key that the last failed attempt recorded, and the
//!   store is still disconnected because of it.

use super::placement::plan_placement;
use super::update::VerifiedUpdate;
use crate::agent::{ReconnectError, faults};
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::{DurableRecord, HistoryEntry, HistoryEvent, StoreRecord};
use crate::model::{AttemptFailure, HostKey, PlacementChange, Status, Store, StoreUuid};
use crate::settings::HostKeyPolicy;

/// A requested change of the definition.
#[derive(Debug)]
pub(crate) enum DefinitionChange {
    /// Accept a host key that an attempt rejected.
    HostKey(HostKey),
    /// Replace texts or the login.
    Update(Box<VerifiedUpdate>),
    /// Enable or disable the store, or change its zones.
    Placement(PlacementChange),
}

/// A change that was decided, but not committed.
pub(super) struct PlannedChange {
    pub(super) store: Store,
    pub(super) change: LedgerChange,
    pub(super) event: HistoryEvent,
    /// True if the change is followed by a reconnect, because it changes the login or the host key.
    pub(super) reconnects: bool,
}

impl DefinitionChange {
    /// Decides the change. Returns `None` if the definition is already as requested.
    ///
    /// # Errors
    /// `agent_busy` if the store has changed since the request, or an attempt with the old login is
    /// running; `zone_attached`, `zone_not_attached` or `too_many_zones`.
    pub(super) fn plan_change(
        self,
        store: &Store,
        record: &StoreRecord,
        policy: HostKeyPolicy,
        at: Timestamp,
    ) -> Result<Option<PlannedChange>, AttemptFailure> {
        let (reconnects, (store, change, event)) = match self {
            // The attempt expects the present key.
            Self::HostKey(_) if record.preparing.is_some() => {
                return Err(faults::host_key_pending().into());
            }
            Self::HostKey(key) => (true, pin_host_key(store, &record.durable, key)?),
            Self::Update(verified) => {
                let reconnects = verified.changes_login();
                if reconnects && record.has_attempt() {
                    return Err(faults::attempt_running().into());
                }
                let (store, mut change, event) = verified.apply_update(store, policy, at)?;
                if reconnects {
                    // The rejections were those of the former login.
                    change = change.save_rejections(store.uuid, None);
                }
                (reconnects, (store, change, event))
            }
            Self::Placement(placement) => match plan_placement(store, placement, at)? {
                Some(planned) => (false, planned),
                None => return Ok(None),
            },
        };
        let attempt = record.durable.attempt;
        let change =
            change.add_history(store.uuid, HistoryEntry { at, attempt, event: event.clone() });
        Ok(Some(PlannedChange { store, change, event, reconnects }))
    }
}

/// The reason why a host key was not accepted, or why the store is not connected after it was.
#[derive(Clone, Debug)]
pub enum AcceptError {
    /// No such store is served, or it was removed while the request was waiting.
    UnknownStore(StoreUuid),
    /// The key is not the one that the last failed attempt recorded, which is the value, if any.
    /// Nothing changed.
    NotOffered(Option<HostKey>),
    /// The change could not be recorded, or the key is pinned and the attempt that followed failed.
    Failed(AttemptFailure),
}

impl From<ReconnectError> for AcceptError {
    fn from(error: ReconnectError) -> Self {
        match error {
            ReconnectError::UnknownStore(uuid) => Self::UnknownStore(uuid),
            ReconnectError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Returns the recorded key if it has this fingerprint.
///
/// # Errors
/// [`AcceptError::NotOffered`] if it has another one or there is none. [`AcceptError::Failed`] with
/// `agent_busy` while an attempt is running.
pub(crate) fn offered_key_matching(
    durable: &DurableRecord,
    fingerprint: &str,
) -> Result<HostKey, AcceptError> {
    if durable.status == Status::Connecting {
        return Err(AcceptError::Failed(faults::host_key_pending().into()));
    }
    match durable.failure.as_ref().and_then(AttemptFailure::offered_host_key) {
        Some(key) if key.fingerprint == fingerprint => Ok(key.clone()),
        recorded => Err(AcceptError::NotOffered(recorded.cloned())),
    }
}

/// Returns the store with this key pinned, the change for the ledger, and its history event.
///
/// # Errors
/// `agent_busy` if the store is no longer disconnected because of that key.
pub(super) fn pin_host_key(
    store: &Store,
    durable: &DurableRecord,
    key: HostKey,
) -> Result<(Store, LedgerChange, HistoryEvent), AttemptFailure> {
    if offered_key_matching(durable, &key.fingerprint).is_err() {
        return Err(faults::host_key_outdated().into());
    }
    let event = HistoryEvent::HostKeyAccepted {
        algorithm: key.algorithm.clone(),
        fingerprint: key.fingerprint.clone(),
    };
    let store = Store { pinned_key: Some(key), ..store.clone() };
    let change = LedgerChange::new().save_store(store.clone());
    Ok((store, change, event))
}
