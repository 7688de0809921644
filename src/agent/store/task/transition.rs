//! The decisions of a store task. The status machine makes a decision, the task commits it, and
//! only then acts on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::StoreTask;
use crate::agent::conditions::condition_message;
use crate::agent::outcome::OperationOutcome;
use crate::agent::progress::AttemptProgress;
use crate::agent::store::snapshot::inventory_of;
use crate::agent::store::{Waiters, persist};
use crate::agent::{StoreSnapshot, faults};
use crate::common::crash_point;
use crate::ledger::{CommitError, LedgerChange};
use crate::lifecycle::{
    DurableRecord, HistoryEvent, MeasuredSpace, StatusTransition, StepEffect, StepInput, step,
};
use crate::model::{AttemptFailure, Condition, Fault};

/// Delay before a decision that could not be committed is retried.
const COMMIT_RETRY_DELAY: Duration = Duration::from_secs(1);

impl StoreTask {
    /// Decides on one input, commits the decision, and then performs its effects.
    ///
    /// # Errors
    /// The fault for which the commit failed. Nothing has changed.
    pub(super) async fn apply_input(&mut self, input: StepInput) -> Result<(), Fault> {
        self.apply_all(vec![input], Waiters::default()).await
    }

    /// Decides on several inputs as [`StoreTask::apply_input`] does on one, with one commit for
    /// all. `callers` wait for the attempt that results. If the commit fails, they get the failure,
    /// and so do the callers of an attempt that ended.
    ///
    /// # Errors
    /// The fault for which the commit failed. Nothing has changed.
    pub(super) async fn apply_all(
        &mut self,
        inputs: Vec<StepInput>,
        mut callers: Waiters,
    ) -> Result<(), Fault> {
        let now = self.context.step_time();
        let has_outbox = self.context.outbox_signal.is_some();
        let stuck = self.checks.stuck_worker().unwrap_or(self.pending.stuck_worker());
        let (mut record, mut effects) = (self.record.clone(), Vec::new());
        // A due or requested check saves no observations. Probing therefore goes on if the state
        // disk rejects them.
        let saves_observations =
            !matches!(inputs.as_slice(), [StepInput::Due(_) | StepInput::CheckRequested(..)]);
        let running = self.record.running.as_ref().map(|running| running.cause);
        let mut joined = 0;
        let (mut store, mut change) = (Arc::clone(&self.store), LedgerChange::new());
        if saves_observations {
            let attempt = record.durable.attempt;
            store = self.pending.apply_to(&self.store);
            change = self.pending.to_change(&self.store, &store, stuck, attempt, now.wall);
            if !self.store.mount.continues(&store.mount) {
                record.restart_rollup();
                self.growth.forget();
            }
        }
        for input in &inputs {
            let old = record.durable.clone();
            joined += u64::from(is_reconnect(input) && record.has_attempt());
            let (next, more) = step(record, input.clone(), &self.context.policy, now);
            let at = now.wall;
            change = persist::change_for_step(change, &store, &old, &next, &more, has_outbox, at);
            effects.extend(more);
            record = next;
        }
        let prepares = |effect: &StepEffect| matches!(effect, StepEffect::PrepareAttempt);
        let prepares_attempt = effects.iter().any(prepares);
        let completed = effects.iter().find_map(|effect| match effect {
            StepEffect::CompleteAttempt(_, outcome) => Some(outcome),
            _ => None,
        });
        let completes_attempt = completed.is_some();
        if let Some(outcome) = completed {
            let inventory = inventory_of(&store, &record.durable);
            let outcome = match outcome {
                Ok(()) => OperationOutcome::Store(&inventory),
                Err(failure) => OperationOutcome::Failed(failure),
            };
            change = self.waiters.record_outcome(change, outcome);
            change = callers.record_outcome(change, outcome);
        }
        if !change.is_empty() {
            let began = Instant::now();
            let committed = self.commit_step(change, &mut callers).await;
            if let Some(progress) = self.progress.as_ref().filter(|_| completes_attempt) {
                progress.add_commit(began.elapsed(), &committed);
            }
            if let Err(error) = committed {
                return Err(self.on_commit_failed(inputs, callers, &error));
            }
        }
        if prepares_attempt {
            self.progress = Some(AttemptProgress::default());
        }
        self.context.stats.joiners.add(joined);
        self.context.stats.count_effects(&effects, running);
        self.waiters.append(callers);
        if saves_observations {
            self.store = store;
            self.pending.clear(stuck);
        }
        self.record = record;
        // A request that joins an attempt changes nothing visible, and there may be hundreds of
        // them.
        if effects.is_empty() && inputs.iter().all(is_reconnect) {
            return Ok(());
        }
        self.mark_pending_notices(&effects);
        self.publish_snapshot();
        crash_point("effects.before");
        for effect in effects {
            self.run_effect(effect);
        }
        Ok(())
    }

    /// Publishes the store as of the last commit. The phases of an attempt end with it.
    pub(super) fn publish_snapshot(&mut self) {
        let DurableRecord { capacity, inodes, .. } = self.record.durable;
        let measured = capacity.map(|capacity| MeasuredSpace { capacity, inodes });
        let thresholds = self.context.policy.space;
        let evidence = measured.and_then(|measured| self.growth.evidence(&measured, thresholds));
        let forecast = evidence.map(|evidence| evidence.now);
        let stuck = self.pending.stuck_worker();
        let phases = self.progress.as_ref().map(AttemptProgress::ended_phases);
        let snapshot = StoreSnapshot::new(&self.store, &self.record, forecast, phases, stuck);
        let before = self.snapshot.send_replace(Arc::new(snapshot));
        if !self.record.has_attempt() {
            self.progress = None;
        }
        if !Arc::ptr_eq(&before.store, &self.store) {
            let (old, new) = (&before.store.mount, &self.store.mount);
            self.context.spaces.move_store(self.store.uuid, old, new);
        }
    }

    /// Commits a change. If the disk hangs, all waiting callers are notified early.
    pub(super) async fn commit_step(
        &mut self,
        change: LedgerChange,
        callers: &mut Waiters,
    ) -> Result<(), CommitError> {
        let Self { context, stop, waiters, .. } = self;
        let early = |failure| {
            let result = Err(failure);
            waiters.notify_all(&result);
            callers.notify_all(&result);
        };
        persist::commit_with_timeout(&context.daemon.ledger, change, stop, early).await
    }

    /// Handles a failed commit, after which the decision does not apply. Notifies the callers, and
    /// schedules a retry of an input that must not be lost. Returns the fault.
    fn on_commit_failed(
        &mut self,
        inputs: Vec<StepInput>,
        mut callers: Waiters,
        error: &CommitError,
    ) -> Fault {
        warn!(error = %error, "ledger commit failed; change rolled back");
        let answers = |input: &StepInput| {
            matches!(
                input,
                StepInput::AttemptPrepared
                    | StepInput::PreparationFailed(_)
                    | StepInput::AttemptEnded { .. }
            )
        };
        if inputs.iter().any(answers) {
            callers.append(std::mem::take(&mut self.waiters));
        }
        let fault = faults::commit_failed(error);
        callers.notify_all(&Err(fault.clone().into()));
        if inputs.iter().any(|input| matches!(input, StepInput::AttemptPrepared)) {
            self.checks.discard_prepared();
            self.cancel_preparation(fault.clone());
            return fault;
        }
        let must_retry = |input: &StepInput| {
            matches!(
                input,
                StepInput::Started
                    | StepInput::PreparationFailed(_)
                    | StepInput::AttemptEnded { .. }
                    | StepInput::Due(_)
            )
        };
        if let Some(input) = inputs.into_iter().find(must_retry) {
            self.retry = Some((input, Instant::now() + COMMIT_RETRY_DELAY));
        }
        fault
    }

    /// Cancels the preparation of an attempt that cannot be recorded, and whose callers were
    /// notified. That changes nothing durable, unless the store was found in Connecting.
    fn cancel_preparation(&mut self, fault: Fault) {
        self.fail_checks_of_attempt(&fault);
        let input = StepInput::PreparationFailed(fault);
        let now = self.context.step_time();
        let (record, _) = step(self.record.clone(), input.clone(), &self.context.policy, now);
        if record.durable == self.record.durable {
            self.record = record;
            self.publish_snapshot();
        } else {
            self.retry = Some((input, Instant::now() + COMMIT_RETRY_DELAY));
        }
    }

    /// Counts the notices of these effects, which were committed, as pending.
    fn mark_pending_notices(&self, effects: &[StepEffect]) {
        let Some(signal) = &self.context.outbox_signal else { return };
        for effect in effects {
            if matches!(effect, StepEffect::PublishTransition(_)) {
                signal.mark_pending(self.store.uuid);
            }
        }
    }

    fn run_effect(&mut self, effect: StepEffect) {
        // The checks expect the observations, even if they are not committed.
        let observed = || self.pending.apply_to(&self.store);
        let observer = |attempt| {
            let counted = self.context.observe_attempt(self.store.uuid, attempt);
            self.progress.clone().unwrap_or_default().observer(counted)
        };
        match effect {
            StepEffect::PublishTransition(transition) => {
                log_status_change(&transition);
                if let Some(signal) = &self.context.outbox_signal {
                    signal.notify_changed(self.store.uuid);
                }
            }
            StepEffect::PrepareAttempt => {
                let attempt = self.record.durable.attempt.next_id();
                self.checks.start_preparation(&observed(), observer(attempt));
            }
            StepEffect::StartAttempt(attempt) => {
                self.checks.start_attempt(attempt.id, &observed(), observer(attempt.id));
            }
            StepEffect::Probe { write } => self.checks.start_probe(&observed(), write),
            StepEffect::LogIn { requested } => self.checks.start_login(&observed(), requested),
            StepEffect::CancelAttempt(_) => self.checks.abort_checks(),
            StepEffect::CompleteAttempt(_, outcome) => {
                let result = outcome.map(|()| Arc::clone(&self.snapshot.borrow()));
                self.waiters.notify_all(&result);
                self.complete_checks_of_attempt();
            }
            StepEffect::RejectRequests(failure) => {
                warn!(
                    fault.code = failure.root_fault().reason().as_str(),
                    fault.details = failure.root_fault().details(),
                    "attempt not started"
                );
                self.fail_checks_of_attempt(failure.root_fault());
                self.waiters.notify_all(&Err(failure));
            }
            StepEffect::RecordHistory(
                _,
                HistoryEvent::ConditionChanged { condition, active: holds },
            ) => {
                let details = condition_message(condition, &self.snapshot.borrow());
                log_condition_change(condition, holds, &details);
            }
            StepEffect::RecordHistory(..) | StepEffect::RecordCapacity(_) => {}
        }
    }
}

fn is_reconnect(input: &StepInput) -> bool {
    matches!(input, StepInput::ReconnectRequested { .. })
}

/// Logs a change of the status.
fn log_status_change(transition: &StatusTransition) {
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

/// Logs the beginning or the end of a condition.
fn log_condition_change(condition: Condition, holds: bool, details: &str) {
    match holds {
        true => warn!(%condition, details, "condition raised"),
        false => info!(%condition, "condition cleared"),
    }
}
