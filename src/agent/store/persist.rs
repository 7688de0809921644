//! Converts the effects of a step into the one ledger change that makes them durable.

use super::snapshot::inventory_of;
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::{
    DurableRecord, HistoryEntry, HistoryEvent, StatusTransition, StepEffect, StoreRecord,
};
use crate::model::{Notice, NoticeKind, Store};

/// Adds the durable part of a step to `change`. This is the standing, unless only the capacity
/// changed and is not sampled, and one history entry per event. Each transition also adds a notice,
/// if there is an outbox. All of it commits in one transaction, so that no status is durable
/// without its notice.
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

/// Returns the history entry of a transition.
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

/// Returns the notice of a transition. Its inventory is the state after the transition.
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
