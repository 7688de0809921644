//! Taking a host key that an attempt has refused: only the one that was recorded, and only while the
//! store is down for it.

use crate::agent::{ReconnectError, faults};
use crate::ledger::LedgerChange;
use crate::lifecycle::{DurableRecord, HistoryEvent};
use crate::model::{AttemptFailure, HostKey, Status, Store, StoreUuid};

/// Why a host key was not accepted, or the store is not connected after it was.
#[derive(Clone, Debug)]
pub enum AcceptError {
    /// No such store is served, or it was removed while the request was waiting.
    UnknownStore(StoreUuid),
    /// Not the key that the last failed attempt recorded, which is this one, if any: nothing changed.
    NotOffered(Option<HostKey>),
    /// Nothing could be recorded, or the key is pinned and the attempt that followed failed.
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

/// The recorded key, when it has this fingerprint.
pub(crate) fn offered_key_matching(
    standing: &DurableRecord,
    fingerprint: &str,
) -> Result<HostKey, AcceptError> {
    if standing.status == Status::Connecting {
        return Err(AcceptError::Failed(faults::host_key_pending().into()));
    }
    match standing.failure.as_ref().and_then(AttemptFailure::offered_host_key) {
        Some(key) if key.fingerprint == fingerprint => Ok(key.clone()),
        other => Err(AcceptError::NotOffered(other.cloned())),
    }
}

/// The store with that key pinned, the change that makes it so, and its line of history.
///
/// # Errors
/// The store is not down for that key any more.
pub(super) fn pin_host_key(
    store: &Store,
    standing: &DurableRecord,
    key: HostKey,
) -> Result<(Store, LedgerChange, HistoryEvent), AttemptFailure> {
    if offered_key_matching(standing, &key.fingerprint).is_err() {
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
