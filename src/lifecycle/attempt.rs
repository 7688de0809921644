//! The part of the status machine that concerns attempts: their preparation, start and end, and the
//! change of the status.
//!
//! An attempt starts only after everything that it needs of the daemon has been acquired. A daemon
//! that lacks something therefore changes no status. If the daemon fails during the attempt, the
//! store returns to the status that it had.

use super::step::{StepContext, waits_for_storage};
use super::{
    AttemptOutcome, Cause, HistoryEvent, LastAttempt, PreparingAttempt, PreviousStatus,
    RunningAttempt, StatusTransition, StepEffect, StoreRecord,
};
use crate::model::{AttemptFailure, AttemptId, Fault, Status, Tags};

/// Maximum number of joined callers whose tags wait for the start of the attempt. A store has no
/// more callers at once.
const MAX_JOINED: usize = 1024;

impl StepContext<'_> {
    pub(super) fn on_reconnect_requested(&mut self, r: &mut StoreRecord, cause: Cause, tags: Tags) {
        if cause == Cause::User {
            r.retry.reset();
        }
        // A joining caller without tags adds nothing to the history of the attempt.
        match (&r.running, &mut r.preparing) {
            (Some(_), _) | (_, Some(_)) if tags.is_empty() => {}
            (Some(running), _) => {
                self.effects.push(StepEffect::RecordHistory(
                    running.id,
                    HistoryEvent::RequestJoined { tags },
                ));
            }
            (None, Some(preparing)) if preparing.joined.len() < MAX_JOINED => {
                preparing.joined.push(tags);
            }
            (None, Some(_)) => {}
            (None, None) => self.prepare_attempt(r, cause, tags),
        }
    }

    /// Orders the preparation of an attempt. The status stays until that has succeeded.
    pub(super) fn prepare_attempt(&mut self, r: &mut StoreRecord, cause: Cause, tags: Tags) {
        r.retry.cancel_retry();
        r.preparing = Some(PreparingAttempt { cause, tags, joined: Vec::new() });
        self.effects.push(StepEffect::PrepareAttempt);
    }

    pub(super) fn on_attempt_prepared(&mut self, r: &mut StoreRecord) {
        let Some(PreparingAttempt { cause, tags, joined }) = r.preparing.take() else { return };
        let attempt = RunningAttempt { id: r.durable.attempt.next_id(), cause, tags };
        r.durable.attempt = attempt.id;
        r.running = Some(attempt.clone());
        let previous =
            PreviousStatus { status: r.durable.status, failure: r.durable.failure.clone() };
        self.change_status(r, Status::Connecting, None, attempt.tags.clone());
        // A store that was found in Connecting keeps the status before the interrupted attempt.
        if previous.status != Status::Connecting {
            r.durable.previous = Some(previous);
        }
        self.effects.push(StepEffect::StartAttempt(attempt));
        for tags in joined {
            self.record_history(r, HistoryEvent::RequestJoined { tags });
        }
    }

    /// Rejects the callers. Only a store that was found in Connecting has a status that cannot
    /// stay.
    pub(super) fn on_preparation_failed(&mut self, r: &mut StoreRecord, fault: Fault) {
        let Some(preparing) = r.preparing.take() else { return };
        let failure = AttemptFailure::from_fault(fault);
        if r.durable.status == Status::Connecting {
            self.return_to_previous_status(r, &failure, preparing.tags);
        }
        r.checks.forget_failure();
        self.schedule_retry(r, &failure);
        self.effects.push(StepEffect::RejectRequests(failure));
    }

    pub(super) fn on_attempt_ended(
        &mut self,
        r: &mut StoreRecord,
        attempt: AttemptId,
        outcome: Result<AttemptOutcome, Fault>,
    ) {
        let Some(running) = r.running.take_if(|running| running.id == attempt) else { return };
        let failure = match &outcome {
            Ok(outcome) => {
                self.record_results(r, outcome);
                outcome.attempt_failure()
            }
            Err(fault) => Some(AttemptFailure::from_fault(fault.clone())),
        };
        r.last_attempt =
            Some(LastAttempt { id: running.id, cause: running.cause, at: self.now.wall, outcome });
        match &failure {
            None => {
                self.finish_checks(r);
                r.retry.reset();
                self.change_status(r, Status::Connected, None, running.tags);
            }
            Some(failure) if failure.is_internal() => {
                self.return_to_previous_status(r, failure, running.tags);
                self.schedule_retry(r, failure);
            }
            Some(failure) => {
                self.finish_checks(r);
                self.change_status(r, Status::Disconnected, Some(failure.clone()), running.tags);
                self.schedule_retry(r, failure);
            }
        }
        self.effects.push(StepEffect::CompleteAttempt(attempt, failure.map_or(Ok(()), Err)));
    }

    /// Records the results of the checks that have one.
    fn record_results(&mut self, r: &mut StoreRecord, outcome: &AttemptOutcome) {
        let AttemptOutcome { probe, login } = outcome;
        r.checks.record_attempt(probe, login, self.now.wall);
        if !probe.is_internal() {
            r.watch_probed(probe, self.policy, self.now);
        }
        if login.internal_fault().is_none() {
            r.watch_login(self.policy.login_interval, self.policy, self.now);
        }
        self.record_capacity(r, probe);
        self.record_identity(r, login, true);
    }

    /// Schedules the next checks after an attempt that has decided.
    fn finish_checks(&mut self, r: &mut StoreRecord) {
        r.checks.reset_counts();
        r.schedule.after_attempt(self.policy, self.now);
        r.watch_all(self.policy, self.now);
    }

    /// Schedules the next automatic attempt of a Disconnected store.
    fn schedule_retry(&mut self, r: &mut StoreRecord, failure: &AttemptFailure) {
        if r.durable.status == Status::Disconnected {
            let timed = self.policy.auto_reconnect && !waits_for_storage(r);
            r.retry.on_failed(failure, timed, self.policy, self.now);
        }
    }

    /// Returns a Connecting store to the status that it had. A store that had none is Disconnected.
    fn return_to_previous_status(
        &mut self,
        r: &mut StoreRecord,
        failure: &AttemptFailure,
        tags: Tags,
    ) {
        let (status, kept) = match r.durable.previous.take() {
            Some(PreviousStatus { status: Status::Connected, .. }) => (Status::Connected, None),
            previous => {
                let kept = previous.and_then(|previous| previous.failure);
                (Status::Disconnected, Some(kept.unwrap_or_else(|| failure.clone())))
            }
        };
        self.publish_status(r, status, kept, Some(failure.clone()), tags);
    }

    /// Sets the status and publishes the transition. An unchanged status publishes nothing, so that
    /// every transition notice is a change.
    pub(super) fn change_status(
        &mut self,
        r: &mut StoreRecord,
        new: Status,
        failure: Option<AttemptFailure>,
        tags: Tags,
    ) {
        self.publish_status(r, new, failure.clone(), failure, tags);
    }

    /// Sets the status and its failure, and publishes the transition with its reason.
    fn publish_status(
        &mut self,
        r: &mut StoreRecord,
        new: Status,
        failure: Option<AttemptFailure>,
        reason: Option<AttemptFailure>,
        tags: Tags,
    ) {
        let old = r.durable.status;
        r.durable.failure = failure;
        if old == new {
            return;
        }
        let position = r.durable.position.next_position();
        r.durable.status = new;
        r.durable.previous = None;
        r.durable.position = position;
        r.durable.since = self.now.wall;
        self.effects.push(StepEffect::PublishTransition(StatusTransition {
            position,
            old,
            new,
            at: self.now.wall,
            attempt: r.durable.attempt,
            tags,
            failure: reason,
        }));
    }
}
