//! The commands of a store task: reconnect, change of the definition, and removal.

use std::sync::Arc;

use tracing::info;

use super::StoreTask;
use crate::agent::faults;
use crate::agent::outcome::{OperationOutcome, OptionalRecorder};
use crate::agent::store::definition::{DefinitionChange, PlannedChange};
use crate::agent::store::snapshot::inventory_of;
use crate::agent::store::{
    MAX_QUEUED_COMMANDS, RemovalReply, RemovedStore, StoreCommand, Waiter, Waiters, drain_commands,
    persist,
};
use crate::ledger::LedgerChange;
use crate::lifecycle::{Cause, HistoryEntry, HistoryEvent, StepInput};
use crate::model::Tags;

impl StoreTask {
    /// Handles a command and all that are queued behind it, so that a burst of reconnects costs one
    /// commit. Returns the remains of the store if it was removed.
    pub(super) async fn handle_commands(&mut self, first: StoreCommand) -> Option<RemovedStore> {
        let (mut inputs, mut callers) = (Vec::new(), Waiters::default());
        let mut next = Some(first);
        self.waiters.prune_closed();
        let last = loop {
            match next {
                Some(StoreCommand::Reconnect { origin, force, reply }) => {
                    let (caller, tags) = Waiter::new(reply, *origin);
                    if force {
                        self.checks.reset_login_history();
                    }
                    if callers.add_waiter(caller, &self.waiters) {
                        let cause = Cause::User;
                        inputs.push(StepInput::ReconnectRequested { cause, tags });
                    }
                }
                other => break other,
            }
            // The limit ends this batch. The next batch handles commands that arrive in the
            // meantime.
            next = if inputs.len() < MAX_QUEUED_COMMANDS {
                self.commands.try_recv().ok()
            } else {
                None
            };
        };
        if !inputs.is_empty() {
            let _ = self.apply_all(inputs, callers).await;
        }
        match last {
            Some(StoreCommand::Remove { reply, recorder }) => {
                return self.remove_store(reply, recorder).await;
            }
            Some(StoreCommand::ChangeDefinition { change, origin, reply }) => {
                let (caller, tags) = Waiter::new(reply, *origin);
                self.change_definition(change, tags, caller).await;
            }
            Some(StoreCommand::RunCheck { check, reply }) => self.run_check(check, reply).await,
            Some(StoreCommand::Reconnect { .. }) | None => {}
        }
        None
    }

    /// Changes the definition, and reconnects if the login or the host key changes.
    async fn change_definition(
        &mut self,
        change: Box<DefinitionChange>,
        tags: Tags,
        caller: Waiter,
    ) {
        let mut callers = Waiters::default();
        if !callers.add_waiter(caller, &self.waiters) {
            return;
        }
        let (now, policy) = (self.context.step_time().wall, self.context.host_key_policy);
        let PlannedChange { store, change, event, reconnects } =
            match change.plan_change(&self.store, &self.record, policy, now) {
                Ok(Some(planned)) => planned,
                Ok(None) => return callers.notify_all(&Ok(Arc::clone(&self.snapshot.borrow()))),
                Err(failure) => return callers.notify_all(&Err(failure)),
            };
        let change = match reconnects {
            true => callers.record_definition_change(change),
            false => {
                let inventory = inventory_of(&store, &self.record.durable);
                callers.record_outcome(change, OperationOutcome::Store(&inventory))
            }
        };
        if let Err(error) = self.commit_step(change, &mut callers).await {
            return callers.notify_all(&Err(faults::commit_failed(&error).into()));
        }
        self.store = Arc::new(store);
        log_definition_change(&event);
        if !reconnects {
            self.publish_snapshot();
            return callers.notify_all(&Ok(Arc::clone(&self.snapshot.borrow())));
        }
        self.checks.on_definition_changed(&event);
        self.record.reset_host_evidence();
        let reconnect = StepInput::ReconnectRequested { cause: Cause::User, tags };
        let _ = self.apply_all(vec![reconnect], callers).await;
    }

    /// Removes the store. Returns the remains of the store, or `None` if the commit failed.
    async fn remove_store(
        &mut self,
        reply: RemovalReply,
        recorder: OptionalRecorder,
    ) -> Option<RemovedStore> {
        let mut reply = Some(reply);
        let early = |failure| {
            let _ = reply.take().map(|reply| reply.send(Err(failure)));
        };
        let removed = HistoryEntry {
            at: self.context.step_time().wall,
            attempt: self.record.durable.attempt,
            event: HistoryEvent::StoreRemoved { name: self.store.name.clone() },
        };
        let change = LedgerChange::new().remove_store(self.store.uuid, removed);
        let change = match recorder {
            Some(recorder) => recorder.record_outcome(change, OperationOutcome::Removed),
            None => change,
        };
        let committed =
            persist::commit_with_timeout(&self.context.daemon.ledger, change, &self.stop, early)
                .await;
        if let Err(error) = committed {
            let _ = reply.map(|reply| reply.send(Err(faults::commit_failed(&error).into())));
            return None;
        }
        if let Some(running) = &self.record.running {
            self.context.stats.count_removed(running.cause);
        }
        self.checks.abort_checks_and_wait().await;
        info!(name = %self.store.name, "store removed");
        let (callers, replies) = drain_commands(&mut self.commands);
        self.waiters.append(callers);
        self.waiters.notify_all(&Err(faults::store_removed().into()));
        for reply in reply.into_iter().chain(replies) {
            let _ = reply.send(Ok(()));
        }
        Some(RemovedStore {
            dir: self.store.image_dir.clone(),
            stuck: self.checks.stuck_worker().flatten(),
        })
    }
}

/// Logs a change of the definition by an operator.
fn log_definition_change(event: &HistoryEvent) {
    match event {
        HistoryEvent::HostKeyAccepted { fingerprint, .. } => {
            info!(fingerprint, "host key accepted")
        }
        HistoryEvent::DefinitionUpdated { fields } => info!(?fields, "store updated"),
        _ => {}
    }
}
