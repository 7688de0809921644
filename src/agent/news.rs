//! What a store's task says in the log of what came about, once it is on the disk.

use tracing::{info, warn};

use crate::lifecycle::Transition;
use crate::model::{Condition, Failure, Fault, Store};

/// A status changed.
pub(super) fn changed(transition: &Transition) {
    let root = transition.failure.as_ref().map(Failure::root);
    info!(
        old = %transition.old,
        new = %transition.new,
        attempt = transition.attempt.0,
        epoch = transition.position.epoch.0,
        seq = transition.position.seq.0,
        fault.code = root.map(|fault| fault.reason().as_str()),
        fault.details = root.map(Fault::details),
        "status changed"
    );
}

/// A person has pinned the server's key.
pub(super) fn accepted(store: &Store) {
    let fingerprint = store.pinned_key.as_ref().map(|key| key.fingerprint.as_str());
    info!(fingerprint, "host key accepted");
}

/// A condition began to hold, or ceased to.
pub(super) fn turned(condition: Condition, holds: bool) {
    match holds {
        true => warn!(%condition, "a condition began"),
        false => info!(%condition, "a condition ended"),
    }
}
