//! From a step's effects to the one ledger change that makes them durable.

use super::snapshot::inventory_of;
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::{
    DurableRecord, HistoryEntry, HistoryEvent, StatusTransition, StepEffect, StoreRecord,
};
use crate::model::{Notice, NoticeKind, Store};

/// Adds what a step decided to a change: the standing when it differs by more than figures that are
/// not to be kept, and for each transition its
/// notice (when there is an outbox) and its line of history. One transaction holds them all, so that
/// no status is durable without its notice.
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
        matches!(effect, StepEffect::RecordHistory(_, HistoryEvent::Measured(_)))
    };
    if !new.standing.differs_only_in_capacity(old) || effects.iter().any(sampled) {
        change = change.save_standing(store.uuid, new.standing.clone());
    }
    for effect in effects {
        let entry = match effect {
            StepEffect::PublishTransition(transition) => {
                if has_outbox {
                    change = change.enqueue(new_notice(store, &new.standing, transition));
                }
                history_of(transition)
            }
            StepEffect::RecordHistory(attempt, event) => {
                HistoryEntry { at, attempt: *attempt, event: event.clone() }
            }
            StepEffect::StartAttempt(attempt) => HistoryEntry {
                at,
                attempt: attempt.id,
                event: HistoryEvent::AttemptBegan {
                    cause: attempt.cause,
                    tags: attempt.tags.clone(),
                },
            },
            StepEffect::Probe { .. }
            | StepEffect::LogIn
            | StepEffect::CancelAttempt(_)
            | StepEffect::CompleteAttempt(..) => {
                continue;
            }
        };
        change = change.add_history(store.uuid, entry);
    }
    change
}

/// The line of history of a transition.
pub(super) fn history_of(transition: &StatusTransition) -> HistoryEntry {
    HistoryEntry {
        at: transition.at,
        attempt: transition.attempt,
        event: HistoryEvent::Changed {
            old: transition.old,
            new: transition.new,
            failure: transition.failure.clone(),
        },
    }
}

/// The notice of a transition; the inventory is the store's after it.
pub(super) fn new_notice(
    store: &Store,
    standing: &DurableRecord,
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
        inventory: inventory_of(store, standing),
        tags: transition.tags.clone(),
        folded: 1,
    }
}
