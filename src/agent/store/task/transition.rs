//! The decisions of a store task. The status machine makes a decision, the task commits it, and
//! only then acts on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::StoreTask;
use crate::agent::store::{Waiters, persist};
use crate::agent::{StoreSnapshot, faults};
use crate::common::crash_point;
use crate::ledger::{CommitError, LedgerChange};
use crate::lifecycle::{HistoryEvent, StatusTransition, StepEffect, StepInput, step};
use crate::model::{AttemptFailure, Condition, Fault};

/// Delay before a decision that could not be committed is retried.
const COMMIT_RETRY_DELAY: Duration = Duration::from_secs(1);

impl StoreTask {
    /// Decides on one input, commits the decision, and then performs its effects.
    pub(super) async fn apply_input(&mut self, input: StepInput) {
        self.apply_all(vec![input], Waiters::default()).await;
    }

    /// Decides on several inputs as [`StoreTask::apply_input`] does on one, with one commit for
    /// all. `callers` wait for the attempt that results. If the commit fails, they get the failure,
    /// and so do the callers of an attempt that ended.
    pub(super) async fn apply_all(&mut self, inputs: Vec<StepInput>, mut callers: Waiters) {
        let now = self.context.step_time();
        let notified = self.context.outbox.is_some();
        let stuck = self.work.stuck_worker().unwrap_or(self.pending.stuck_worker());
        let (mut record, mut effects) = (self.record.clone(), Vec::new());
        // A due check saves no observations. Probing therefore goes on if the state disk rejects
        // them.
        let saves_observations = !matches!(inputs.as_slice(), [StepInput::Due(_)]);
        let (mut store, mut change) = (Arc::clone(&self.store), LedgerChange::new());
        if saves_observations {
            let attempt = record.durable.attempt;
            store = self.pending.apply_to(&self.store);
            change = self.pending.to_change(&self.store, &store, stuck, attempt, now.wall);
        }
        for input in &inputs {
            let old = record.durable.clone();
            let (next, more) = step(record, input.clone(), &self.context.policy, now);
            let at = now.wall;
            change = persist::change_for_step(change, &store, &old, &next, &more, notified, at);
            effects.extend(more);
            record = next;
        }
        if !change.is_empty()
            && let Err(error) = self.commit_step(change, &mut callers).await
        {
            self.on_commit_failed(inputs, callers, &error);
            return;
        }
        self.waiting.append(callers);
        if saves_observations {
            self.store = store;
            self.pending.clear(stuck);
        }
        self.record = record;
        // A request that joins an attempt changes nothing visible, and there may be hundreds of
        // them.
        let joins = |input: &StepInput| matches!(input, StepInput::ReconnectRequested { .. });
        if effects.is_empty() && inputs.iter().all(joins) {
            return;
        }
        self.publish_snapshot();
        crash_point("effects.before");
        for effect in effects {
            self.run_effect(effect);
        }
    }

    pub(super) fn publish_snapshot(&self) {
        let view = StoreSnapshot::new(&self.store, &self.record, self.pending.stuck_worker());
        self.view.send_replace(Arc::new(view));
    }

    /// Commits a change. If the disk hangs, all waiting callers are notified early.
    pub(super) async fn commit_step(
        &mut self,
        change: LedgerChange,
        callers: &mut Waiters,
    ) -> Result<(), CommitError> {
        let Self { context, stop, waiting, .. } = self;
        let early = |failure| {
            let answer = Err(failure);
            waiting.notify_all(&answer);
            callers.notify_all(&answer);
        };
        persist::commit_with_timeout(&context.daemon.ledger, change, stop, early).await
    }

    /// Handles a failed commit, after which the decision does not apply. Notifies the callers, and
    /// schedules a retry of an input that must not be lost.
    fn on_commit_failed(
        &mut self,
        inputs: Vec<StepInput>,
        mut callers: Waiters,
        error: &CommitError,
    ) {
        warn!(error = %error, "ledger commit failed; change rolled back");
        if inputs.iter().any(|input| matches!(input, StepInput::AttemptEnded { .. })) {
            callers.append(std::mem::take(&mut self.waiting));
        }
        callers.notify_all(&Err(faults::commit_failed(error).into()));
        let owed = |input: &StepInput| {
            matches!(input, StepInput::Started | StepInput::AttemptEnded { .. } | StepInput::Due(_))
        };
        if let Some(input) = inputs.into_iter().find(owed) {
            self.owed = Some((input, Instant::now() + COMMIT_RETRY_DELAY));
        }
    }

    fn run_effect(&mut self, effect: StepEffect) {
        // The checks expect the observations, even if they are not committed.
        let observed = || self.pending.apply_to(&self.store);
        match effect {
            StepEffect::PublishTransition(transition) => {
                log_status_change(&transition);
                if let Some(moved) = &self.context.outbox {
                    moved(self.store.uuid);
                }
            }
            StepEffect::StartAttempt(attempt) => self.work.start_attempt(attempt.id, &observed()),
            StepEffect::Probe { write } => self.work.start_probe(&observed(), write),
            StepEffect::LogIn => self.work.start_login(&observed()),
            StepEffect::CancelAttempt(_) => self.work.abort_attempt(),
            StepEffect::CompleteAttempt(_, outcome) => {
                let answer = outcome.map(|()| Arc::clone(&self.view.borrow()));
                self.waiting.notify_all(&answer);
            }
            StepEffect::RecordHistory(
                _,
                HistoryEvent::ConditionChanged { condition, active: holds },
            ) => {
                log_condition_change(condition, holds);
            }
            StepEffect::RecordHistory(..) => {}
        }
    }
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
fn log_condition_change(condition: Condition, holds: bool) {
    match holds {
        true => warn!(%condition, "condition raised"),
        false => info!(%condition, "condition cleared"),
    }
}
