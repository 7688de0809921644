//! What is asked of a store's task: reconnect, another definition, the end.

use std::sync::Arc;

use tracing::info;

use super::StoreTask;
use crate::agent::store::definition::Redefinition;
use crate::agent::store::handle::{Command, RemovalReply, Removed};
use crate::agent::store::waiters::{Caller, Callers};
use crate::agent::store::{handle, log_events};
use crate::agent::{commit_timeout, faults};
use crate::ledger::LedgerChange;
use crate::lifecycle::{Cause, StepInput};
use crate::model::Tags;

impl StoreTask {
    /// Takes a request and all that wait behind it, so that a burst of reconnects costs one commit.
    /// What is left when the store is gone.
    pub(super) async fn asked(&mut self, first: Command) -> Option<Removed> {
        let (mut inputs, mut callers) = (Vec::new(), Callers::default());
        let mut next = Some(first);
        self.waiting.forget_closed();
        let last = loop {
            match next {
                Some(Command::Reconnect { tags, force, reply }) => {
                    if force {
                        self.work.insist();
                    }
                    if callers.take(reply, &self.waiting) {
                        inputs.push(StepInput::ReconnectAsked { cause: Cause::User, tags: *tags });
                    }
                }
                other => break other,
            }
            // Those that come meanwhile are the next turn's, so that this one ends.
            next = if inputs.len() < handle::INBOX { self.inbox.try_recv().ok() } else { None };
        };
        if !inputs.is_empty() {
            self.apply_all(inputs, callers).await;
        }
        match last {
            Some(Command::Remove { reply }) => return self.remove(reply).await,
            Some(Command::Redefine { what, tags, reply }) => self.redefine(what, tags, reply).await,
            Some(Command::Reconnect { .. }) | None => {}
        }
        None
    }

    /// Changes the definition, and connects when the login is another.
    async fn redefine(&mut self, what: Box<Redefinition>, tags: Box<Tags>, caller: Caller) {
        let mut callers = Callers::default();
        if !callers.take(caller, &self.waiting) {
            return;
        }
        let (now, pins) = (self.context.now().wall, self.context.pins_host_keys);
        let decided = match what.decide(&self.store, &self.record, pins, now) {
            Ok(decided) => decided,
            Err(failure) => return callers.answer(&Err(failure)),
        };
        if let Err(error) = self.commit(decided.change, &mut callers).await {
            return callers.answer(&Err(faults::commit_failed(&error).into()));
        }
        self.store = Arc::new(decided.store);
        log_events::redefined(&decided.event);
        if !decided.connects {
            self.show();
            return callers.answer(&Ok(Arc::clone(&self.view.borrow())));
        }
        self.work.redefined(&decided.event);
        self.record.reset_host_evidence();
        let asked = StepInput::ReconnectAsked { cause: Cause::User, tags: *tags };
        self.apply_all(vec![asked], callers).await;
    }

    /// Forgets the store; what is left when it is gone.
    async fn remove(&mut self, reply: RemovalReply) -> Option<Removed> {
        let mut reply = Some(reply);
        let early = |failure| {
            let _ = reply.take().map(|reply| reply.send(Err(failure)));
        };
        let change = LedgerChange::new().remove_store(self.store.uuid);
        let removed = commit_timeout::commit(&self.context.ledger, change, &self.stop, early).await;
        if let Err(error) = removed {
            let _ = reply.map(|reply| reply.send(Err(faults::commit_failed(&error).into())));
            return None;
        }
        self.work.shutdown().await;
        info!(name = %self.store.name, "store removed");
        let (callers, replies) = handle::leftovers(&mut self.inbox);
        self.waiting.join(callers);
        self.waiting.answer(&Err(faults::store_removed().into()));
        for reply in reply.into_iter().chain(replies) {
            let _ = reply.send(Ok(()));
        }
        Some(Removed { dir: self.store.image_dir.clone(), stuck: self.work.stuck().flatten() })
    }
}
