//! Taking a host key that an attempt has refused: only the one that was recorded, and only while the
//! store is down for it.

use crate::ledger::Change;
use crate::lifecycle::{HistoryEvent, Standing};
use crate::model::{Failure, Fault, HostKey, Reason, Status, Store};
use crate::ssh::offered_key;

/// Why a host key was not accepted, or the store is not connected after it was.
#[derive(Clone, Debug)]
pub enum AcceptError {
    /// Not the key that the last failed attempt recorded, which is this one, if any: nothing changed.
    NotOffered(Option<HostKey>),
    /// Nothing could be recorded, or the key is pinned and the attempt that followed failed.
    Failed(Failure),
}

/// The recorded key, when it has this fingerprint.
pub(super) fn offered(standing: &Standing, fingerprint: &str) -> Result<HostKey, AcceptError> {
    if standing.status == Status::Connecting {
        let told = "an attempt is running: its outcome tells which key the server has";
        return Err(AcceptError::Failed(Failure::of(Fault::new(Reason::AgentBusy, told))));
    }
    match standing.failure.as_ref().and_then(offered_key) {
        Some(key) if key.fingerprint == fingerprint => Ok(key),
        other => Err(AcceptError::NotOffered(other)),
    }
}

/// The store with that key pinned, the change that makes it so, and its line of history.
///
/// # Errors
/// The store is not down for that key any more.
pub(super) fn pin(
    store: &Store,
    standing: &Standing,
    key: HostKey,
) -> Result<(Store, Change, HistoryEvent), Failure> {
    if offered(standing, &key.fingerprint).is_err() {
        let told = "the store was asked for something else meanwhile: look at it again";
        return Err(Failure::of(Fault::new(Reason::AgentBusy, told)));
    }
    let event = HistoryEvent::HostKeyAccepted {
        algorithm: key.algorithm.clone(),
        fingerprint: key.fingerprint.clone(),
    };
    let store = Store { pinned_key: Some(key), ..store.clone() };
    let change = Change::new().save_store(store.clone());
    Ok((store, change, event))
}
