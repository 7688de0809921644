//! Log lines of a store task about changes that were committed.

use tracing::{info, warn};

use crate::lifecycle::{HistoryEvent, StatusTransition};
use crate::model::{AttemptFailure, Condition, Fault};

/// Logs a change of the status.
pub(super) fn log_status_change(transition: &StatusTransition) {
    let root = transition.failure.as_ref().map(AttemptFailure::root_fault);
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

/// Logs a change of the definition by an operator.
pub(super) fn log_definition_change(event: &HistoryEvent) {
    match event {
        HistoryEvent::HostKeyAccepted { fingerprint, .. } => {
            info!(fingerprint, "host key accepted")
        }
        HistoryEvent::Updated { fields } => info!(?fields, "store updated"),
        _ => {}
    }
}

/// Logs the beginning or the end of a condition.
pub(super) fn log_condition_change(condition: Condition, holds: bool) {
    match holds {
        true => warn!(%condition, "a condition began"),
        false => info!(%condition, "a condition ended"),
    }
}
