//! One store's task: the only writer of its record.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use super::attempt::{Checked, told};
use super::callers::{Caller, Callers};
use super::handle::{Command, RemovalReply, Removed, stopping};
use super::journal::not_recorded;
use super::learned::Learned;
use super::redefinition::Redefinition;
use super::work::{Done, Work, overdue};
use super::{StoreHandle, StoreView, Tools, handle, journal, news, patience};
use crate::ledger::{Change, CommitError, StuckWorker};
use crate::lifecycle::{Cause, Effect, HistoryEvent, Input, Record, step};
use crate::model::{Failure, Fault, Reason, Store, Tags};
use crate::ssh::Verified;

/// Pause before a decision that could not be committed is tried again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// The task of one store.
pub(super) struct StoreTask {
    tools: Tools,
    store: Store,
    record: Record,
    learned: Learned,
    work: Work,
    inbox: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<StoreView>>,
    /// Who waits for the running attempt.
    waiting: Callers,
    /// A decision that could not be committed, and when to try again.
    owed: Option<(Input, Instant)>,
    stop: CancellationToken,
}

impl StoreTask {
    /// A task for a store that the ledger holds.
    pub(super) fn new(
        tools: Tools,
        store: Store,
        record: Record,
        stuck: Option<StuckWorker>,
        stop: CancellationToken,
    ) -> (StoreHandle, Box<Self>) {
        let (asks, inbox) = mpsc::channel(handle::INBOX);
        let (view, views) = watch::channel(Arc::new(StoreView::of(&store, &record, stuck)));
        let task = Self {
            work: Work::new(tools.clone(), stuck),
            tools,
            store,
            record,
            learned: Learned::nothing(stuck),
            inbox,
            view,
            waiting: Callers::default(),
            owed: None,
            stop,
        };
        (StoreHandle::new(asks, views), Box::new(task))
    }

    /// Runs until the store is removed or the daemon stops; what is left when it was removed. Boxed,
    /// because a future keeps what it is given and what it makes of it: two copies of a task of 2.5 KB.
    pub(super) async fn run(mut self: Box<Self>) -> Option<Removed> {
        let span = info_span!("store", store = %self.store.uuid);
        async {
            self.apply(Input::Started).await;
            loop {
                if let ControlFlow::Break(removed) = self.turn().await {
                    return removed;
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Takes one thing that happened; breaks when it was the last. Every arm is cancel-safe: channels,
    /// `Work::next`, timers.
    async fn turn(&mut self) -> ControlFlow<Option<Removed>> {
        let busy = self.work.busy();
        // What could not be committed comes first.
        let due = self.record.due(busy).filter(|_| self.owed.is_none());
        let due = due.map(|uptime| self.tools.started + uptime);
        let owed = self.owed.as_ref().map(|(_, at)| *at);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                // A worker that will not die is recorded with the last commit, so that the next start
                // sends no second one after it.
                self.work.shutdown().await;
                self.apply(Input::Stopping).await;
                self.waiting.answer(&Err(stopping()));
                return ControlFlow::Break(None);
            }
            done = self.work.next() => self.done(done).await,
            command = self.inbox.recv() => match command {
                Some(command) => if let Some(removed) = self.asked(command).await {
                    return ControlFlow::Break(Some(removed));
                },
                None => return ControlFlow::Break(None),
            },
            () = patience::reached(owed) => {
                if let Some((input, _)) = self.owed.take() {
                    self.apply(input).await;
                }
            }
            () = patience::reached(due) => self.apply(Input::Due(busy)).await,
        }
        ControlFlow::Continue(())
    }

    /// Takes a request and all that wait behind it, so that a burst of reconnects costs one commit.
    /// What is left when the store is gone.
    async fn asked(&mut self, first: Command) -> Option<Removed> {
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
                        inputs.push(Input::ReconnectAsked { cause: Cause::Person, tags });
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

    /// Decides, commits, and only then lets the effects out.
    async fn apply(&mut self, input: Input) {
        self.apply_all(vec![input], Callers::default()).await;
    }

    /// As [`StoreTask::apply`], one after the other, with one commit for all. `callers` wait for the
    /// attempt that comes of it; if nothing can be recorded they are told so, and nobody else.
    async fn apply_all(&mut self, inputs: Vec<Input>, mut callers: Callers) {
        let now = self.tools.moment();
        let notified = self.tools.outbox.is_some();
        let stuck = self.work.stuck().unwrap_or(self.learned.stuck());
        let (mut record, mut effects) = (self.record.clone(), Vec::new());
        // What is due waits for no state disk that refuses what was learned: probing goes on.
        let learns = !matches!(inputs.as_slice(), [Input::Due(_)]);
        let mut change = match learns {
            true => self.learned.change(&self.store, stuck, record.standing.attempt, now.wall),
            false => Change::new(),
        };
        for input in &inputs {
            let old = record.standing.clone();
            let (next, more) = step(record, input.clone(), &self.tools.policy, now);
            let (store, at) = (&self.store, now.wall);
            change = journal::record_step(change, store, &old, &next, &more, notified, at);
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
        if learns {
            self.learned.committed(stuck);
        }
        self.record = record;
        // Who joins an attempt changes nothing that is seen, and may be one of hundreds.
        let joins = |input: &Input| matches!(input, Input::ReconnectAsked { .. });
        if effects.is_empty() && inputs.iter().all(joins) {
            return;
        }
        self.show();
        for effect in effects {
            self.let_out(effect);
        }
    }

    fn show(&self) {
        let view = StoreView::of(&self.store, &self.record, self.learned.stuck());
        self.view.send_replace(Arc::new(view));
    }

    /// Commits; on a disk that hangs all who wait are told so meanwhile.
    async fn commit(&mut self, change: Change, callers: &mut Callers) -> Result<(), CommitError> {
        let Self { tools, stop, waiting, .. } = self;
        let early = |failure| {
            let answer = Err(failure);
            waiting.answer(&answer);
            callers.answer(&answer);
        };
        patience::commit(&tools.ledger, change, stop, early).await
    }

    /// The ledger did not take a decision, so it was not made: callers are told, and what must not be
    /// lost is decided again later.
    fn not_committed(&mut self, inputs: Vec<Input>, mut callers: Callers, error: &CommitError) {
        warn!(error = %error, "the ledger did not take a change; it was not made");
        if inputs.iter().any(|input| matches!(input, Input::AttemptEnded { .. })) {
            callers.join(std::mem::take(&mut self.waiting));
        }
        callers.answer(&Err(Failure::of(not_recorded(error))));
        let owed = |input: &Input| {
            matches!(input, Input::Started | Input::AttemptEnded { .. } | Input::Due(_))
        };
        if let Some(input) = inputs.into_iter().find(owed) {
            self.owed = Some((input, Instant::now() + COMMIT_AGAIN));
        }
    }

    fn let_out(&mut self, effect: Effect) {
        match effect {
            Effect::Changed(transition) => {
                news::changed(&transition);
                if let Some(moved) = &self.tools.outbox {
                    moved(self.store.uuid);
                }
            }
            Effect::Begun(attempt) => self.work.attempt(attempt.id, &self.store),
            Effect::Probe { write } => self.work.probe(&self.store, write),
            Effect::LogIn => self.work.log_in(&self.store),
            Effect::Abandoned(_) => self.work.abort(),
            Effect::Settled(_, outcome) => {
                let answer = outcome.map(|()| Arc::clone(&self.view.borrow()));
                self.waiting.answer(&answer);
            }
            Effect::Noted(_, HistoryEvent::Turned { condition, holds }) => {
                news::turned(condition, holds);
            }
            Effect::Noted(..) => {}
        }
    }

    async fn done(&mut self, done: Done) {
        let input = match done {
            Done::Attempt(attempt, outcome) => {
                if self.record.running.as_ref().is_some_and(|running| running.id == attempt) {
                    self.learn(outcome.as_ref().as_ref().ok());
                }
                let outcome = outcome.map(|checked| checked.outcome());
                Input::AttemptEnded { attempt, outcome }
            }
            Done::Probe(probed) => {
                if let Ok(examined) = &probed.examined {
                    self.learned.place(&mut self.store, examined);
                }
                Input::Probed(told(&probed))
            }
            Done::Login(login) => {
                self.pin(login.verified.as_ref().ok());
                Input::LoggedIn(login.told())
            }
            // An attempt would never end otherwise; it is ended here, as a fault of ours.
            Done::Broken(error) => {
                tracing::error!(error = %error, "a check broke off");
                let Some(running) = &self.record.running else { return };
                let outcome = Err(overdue(self.tools.attempt_deadline));
                Input::AttemptEnded { attempt: running.id, outcome }
            }
        };
        self.apply(input).await;
    }

    /// Keeps what an attempt has shown, when nothing failed.
    fn learn(&mut self, checked: Option<&Checked>) {
        let Some(Checked { probed, login }) = checked else { return };
        if let (Ok(examined), Ok(verified)) = (&probed.examined, &login.verified) {
            self.learned.place(&mut self.store, examined);
            self.pin(Some(verified));
        }
    }

    fn pin(&mut self, verified: Option<&Verified>) {
        if let Some(verified) = verified.filter(|_| self.tools.pins_host_keys) {
            self.learned.key(&mut self.store, verified);
        }
    }

    /// Changes the definition, and connects when the login is another.
    async fn redefine(&mut self, what: Box<Redefinition>, tags: Box<Tags>, caller: Caller) {
        let mut callers = Callers::default();
        if !callers.take(caller, &self.waiting) {
            return;
        }
        let (now, pins) = (self.tools.moment().wall, self.tools.pins_host_keys);
        let decided = match what.decide(&self.store, &self.record, pins, now) {
            Ok(decided) => decided,
            Err(failure) => return callers.answer(&Err(failure)),
        };
        if let Err(error) = self.commit(decided.change, &mut callers).await {
            return callers.answer(&Err(Failure::of(not_recorded(&error))));
        }
        self.store = decided.store;
        news::redefined(&decided.event);
        if !decided.connects {
            self.show();
            return callers.answer(&Ok(Arc::clone(&self.view.borrow())));
        }
        self.work.redefined(&decided.event);
        let asked = Input::ReconnectAsked { cause: Cause::Person, tags: *tags };
        self.apply_all(vec![asked], callers).await;
    }

    /// Forgets the store; what is left when it is gone.
    async fn remove(&mut self, reply: RemovalReply) -> Option<Removed> {
        let mut reply = Some(reply);
        let early = |failure| {
            let _ = reply.take().map(|reply| reply.send(Err(failure)));
        };
        let change = Change::new().remove_store(self.store.uuid);
        let removed = patience::commit(&self.tools.ledger, change, &self.stop, early).await;
        if let Err(error) = removed {
            let _ = reply.map(|reply| reply.send(Err(Failure::of(not_recorded(&error)))));
            return None;
        }
        self.work.shutdown().await;
        info!(name = %self.store.name, "store removed");
        let (callers, replies) = handle::leftovers(&mut self.inbox);
        self.waiting.join(callers);
        let fault = Fault::new(Reason::AgentStopping, "the store was removed meanwhile")
            .remedied("nothing to do: the store is not served any more");
        self.waiting.answer(&Err(Failure::of(fault)));
        for reply in reply.into_iter().chain(replies) {
            let _ = reply.send(Ok(()));
        }
        Some(Removed { dir: self.store.image_dir.clone(), stuck: self.work.stuck().flatten() })
    }
}
