//! Makes the decisions of a store durable: converts the effects of a step into one ledger change,
//! and commits it.
//!
//! # Guarantees
//!
//! - A state disk that hangs delays no caller by more than the timeout of a commit.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::snapshot::inventory_of;
use crate::agent::faults;
use crate::common::Timestamp;
use crate::ledger::{CommitError, Ledger, LedgerChange};
use crate::lifecycle::{
    DurableRecord, HistoryEntry, HistoryEvent, StatusTransition, StepEffect, StoreRecord,
};
use crate::model::{AttemptFailure, Notice, NoticeKind, Store};

/// Time after which a commit or a read counts as stalled. A commit waits for a sync of the disk,
/// which takes milliseconds, so that 10 s mean that the disk hangs.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a stop waits for a commit before the callers are notified. 1 s is short enough
/// that they get the reply while the HTTP server still drains.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Adds the durable part of a step to `change`. This is the durable record, unless only the
/// capacity changed and is not sampled, and one history entry per event. Each transition also adds
/// a notice, if there is an outbox. All of it commits in one transaction, so that no status is
/// durable without its notice.
pub(crate) fn change_for_step(
    mut change: LedgerChange,
    store: &Store,
    old: &DurableRecord,
    new: &StoreRecord,
    effects: &[StepEffect],
    has_outbox: bool,
    at: Timestamp,
) -> LedgerChange {
    let sampled = |effect: &StepEffect| {
        matches!(effect, StepEffect::RecordHistory(_, HistoryEvent::SpaceMeasured(_)))
    };
    if !new.durable.differs_only_in_capacity(old) || effects.iter().any(sampled) {
        change = change.save_record(store.uuid, new.durable.clone());
    }
    for effect in effects {
        let entry = match effect {
            StepEffect::PublishTransition(transition) => {
                if has_outbox {
                    change = change.enqueue(new_notice(store, &new.durable, transition));
                }
                history_of(transition)
            }
            StepEffect::RecordHistory(attempt, event) => {
                HistoryEntry { at, attempt: *attempt, event: event.clone() }
            }
            StepEffect::StartAttempt(attempt) => HistoryEntry {
                at,
                attempt: attempt.id,
                event: HistoryEvent::AttemptStarted {
                    cause: attempt.cause,
                    tags: attempt.tags.clone(),
                },
            },
            StepEffect::RecordCapacity(figures) => {
                change = change.add_capacity(store.uuid, *figures, store.mount.clone());
                continue;
            }
            StepEffect::PrepareAttempt
            | StepEffect::RejectRequests(_)
            | StepEffect::Probe { .. }
            | StepEffect::LogIn { .. }
            | StepEffect::CancelAttempt(_)
            | StepEffect::CompleteAttempt(..) => {
                continue;
            }
        };
        change = change.add_history(store.uuid, entry);
    }
    change
}

/// Returns the history entry of a transition.
pub(super) fn history_of(transition: &StatusTransition) -> HistoryEntry {
    HistoryEntry {
        at: transition.at,
        attempt: transition.attempt,
        event: HistoryEvent::StatusChanged {
            old: transition.old,
            new: transition.new,
            failure: transition.failure.clone(),
        },
    }
}

/// Returns the notice of a transition. Its inventory is the state after the transition.
pub(super) fn new_notice(
    store: &Store,
    durable: &DurableRecord,
    transition: &StatusTransition,
) -> Notice {
    Notice {
        store: store.uuid,
        kind: NoticeKind::Changed,
        position: transition.position,
        old_status: transition.old,
        new_status: transition.new,
        at: transition.at,
        attempt: transition.attempt,
        failure: transition.failure.clone(),
        inventory: inventory_of(store, durable),
        tags: transition.tags.clone(),
        transition_count: 1,
    }
}

/// Commits a change. If the state disk hangs or the daemon stops, `early` notifies the callers
/// once. The commit is still awaited after that. A change that was handed over may yet be made, and
/// the daemon must know its outcome.
///
/// # Errors
/// [`CommitError`] if nothing of the change was made.
///
/// # Cancel safety
/// The change may still be made if the future is dropped.
pub(crate) async fn commit_with_timeout(
    ledger: &Ledger,
    change: LedgerChange,
    stop: &CancellationToken,
    early: impl FnOnce(AttemptFailure),
) -> Result<(), CommitError> {
    let committing = ledger.commit(change);
    tokio::pin!(committing);
    let stopped = async {
        stop.cancelled().await;
        // On a healthy disk, this lets the last decisions of a store complete during the stop.
        sleep(STOP_GRACE).await;
    };
    let fault = tokio::select! {
        biased;
        outcome = &mut committing => return outcome,
        () = stopped => faults::agent_stopping(),
        () = sleep(COMMIT_TIMEOUT) => faults::state_disk_stalled(COMMIT_TIMEOUT),
    };
    early(fault.into());
    committing.await
}

/// Waits for a read of the ledger, which can safely be repeated.
///
/// # Errors
/// `state_disk_trouble` if the state disk hangs.
pub(crate) async fn read_with_timeout<T>(
    read: impl Future<Output = T>,
) -> Result<T, AttemptFailure> {
    timeout(COMMIT_TIMEOUT, read)
        .await
        .map_err(|_| faults::ledger_read_stalled(COMMIT_TIMEOUT).into())
}
