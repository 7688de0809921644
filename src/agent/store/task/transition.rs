//! A decision of a store's task: made by the status machine, committed, and only then acted upon.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::StoreTask;
use crate::agent::store::waiters::Callers;
use crate::agent::store::{log_events, persist};
use crate::agent::{StoreView, commit_timeout, faults};
use crate::common::crash_point;
use crate::ledger::{CommitError, LedgerChange};
use crate::lifecycle::{HistoryEvent, StepEffect, StepInput, step};

/// Pause before a decision that could not be committed is tried again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

impl StoreTask {
    /// Decides, commits, and only then lets the effects out.
    pub(super) async fn apply(&mut self, input: StepInput) {
        self.apply_all(vec![input], Callers::default()).await;
    }

    /// As [`StoreTask::apply`], one after the other, with one commit for all. `callers` wait for the
    /// attempt that comes of it; if nothing can be recorded they are told so, and nobody else.
    pub(super) async fn apply_all(&mut self, inputs: Vec<StepInput>, mut callers: Callers) {
        let now = self.context.now();
        let notified = self.context.outbox.is_some();
        let stuck = self.work.stuck().unwrap_or(self.pending.stuck());
        let (mut record, mut effects) = (self.record.clone(), Vec::new());
        // A due check does not wait for a state disk that refuses the observations: probing goes on.
        let saves_observations = !matches!(inputs.as_slice(), [StepInput::Due(_)]);
        let (mut store, mut change) = (Arc::clone(&self.store), LedgerChange::new());
        if saves_observations {
            let attempt = record.standing.attempt;
            store = self.pending.apply_to(&self.store);
            change = self.pending.to_change(&self.store, &store, stuck, attempt, now.wall);
        }
        for input in &inputs {
            let old = record.standing.clone();
            let (next, more) = step(record, input.clone(), &self.context.policy, now);
            let at = now.wall;
            change = persist::record_step(change, &store, &old, &next, &more, notified, at);
            effects.extend(more);
            record = next;
        }
        if !change.is_empty()
            && let Err(error) = self.commit(change, &mut callers).await
        {
            self.not_committed(inputs, callers, &error);
            return;
        }
        self.waiting.join(callers);
        if saves_observations {
            self.store = store;
            self.pending.clear(stuck);
        }
        self.record = record;
        // Who joins an attempt changes nothing that is seen, and may be one of hundreds.
        let joins = |input: &StepInput| matches!(input, StepInput::ReconnectAsked { .. });
        if effects.is_empty() && inputs.iter().all(joins) {
            return;
        }
        self.show();
        crash_point("effects.before");
        for effect in effects {
            self.let_out(effect);
        }
    }

    pub(super) fn show(&self) {
        let view = StoreView::of(&self.store, &self.record, self.pending.stuck());
        self.view.send_replace(Arc::new(view));
    }

    /// Commits; on a disk that hangs all who wait are told so meanwhile.
    pub(super) async fn commit(
        &mut self,
        change: LedgerChange,
        callers: &mut Callers,
    ) -> Result<(), CommitError> {
        let Self { context, stop, waiting, .. } = self;
        let early = |failure| {
            let answer = Err(failure);
            waiting.answer(&answer);
            callers.answer(&answer);
        };
        commit_timeout::commit(&context.ledger, change, stop, early).await
    }

    /// The ledger did not take a decision, so it was not made: callers are told, and what must not be
    /// lost is decided again later.
    fn not_committed(&mut self, inputs: Vec<StepInput>, mut callers: Callers, error: &CommitError) {
        warn!(error = %error, "the ledger did not take a change; it was not made");
        if inputs.iter().any(|input| matches!(input, StepInput::AttemptEnded { .. })) {
            callers.join(std::mem::take(&mut self.waiting));
        }
        callers.answer(&Err(faults::commit_failed(error).into()));
        let owed = |input: &StepInput| {
            matches!(input, StepInput::Started | StepInput::AttemptEnded { .. } | StepInput::Due(_))
        };
        if let Some(input) = inputs.into_iter().find(owed) {
            self.owed = Some((input, Instant::now() + COMMIT_AGAIN));
        }
    }

    fn let_out(&mut self, effect: StepEffect) {
        // Checks expect what was observed, whether it is committed or not.
        let observed = || self.pending.apply_to(&self.store);
        match effect {
            StepEffect::PublishTransition(transition) => {
                log_events::changed(&transition);
                if let Some(moved) = &self.context.outbox {
                    moved(self.store.uuid);
                }
            }
            StepEffect::StartAttempt(attempt) => self.work.attempt(attempt.id, &observed()),
            StepEffect::Probe { write } => self.work.probe(&observed(), write),
            StepEffect::LogIn => self.work.log_in(&observed()),
            StepEffect::CancelAttempt(_) => self.work.abort(),
            StepEffect::CompleteAttempt(_, outcome) => {
                let answer = outcome.map(|()| Arc::clone(&self.view.borrow()));
                self.waiting.answer(&answer);
            }
            StepEffect::RecordHistory(_, HistoryEvent::Turned { condition, holds }) => {
                log_events::turned(condition, holds);
            }
            StepEffect::RecordHistory(..) => {}
        }
    }
}
