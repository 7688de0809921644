//! One store's task: the only writer of its record.

use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use super::attempt::{self, Proven};
use super::handle::{Answer, Command, stopping};
use super::journal::not_recorded;
use super::{StoreHandle, StoreView, Tools, handle, journal, patience};
use crate::ledger::{Change, CommitError, StuckWorker};
use crate::lifecycle::{Attempt, Cause, Effect, Input, Record, Transition, step};
use crate::model::{AttemptId, Failure, Fault, Reason, Store};
use crate::probe::{Examined, Slot};

/// Pause before a decision that could not be committed is tried again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// Beyond the attempt's deadline, which each check keeps by itself: the backstop behind invariant
/// "every path out of Connecting is taken in time".
const BACKSTOP: Duration = Duration::from_secs(2);
/// Callers that may wait for one attempt: above what the server has connections for.
const MOST_WAITING: usize = 1024;

type Caller = oneshot::Sender<Answer>;

/// What runs beside the task; at most one at a time, so that a store never has two workers.
enum Done {
    Attempt(AttemptId, Result<Proven, Failure>),
    Probe(Result<Examined, Fault>),
}

/// The task of one store.
pub(super) struct StoreTask {
    pub(super) tools: Tools,
    pub(super) store: Store,
    record: Record,
    pub(super) slot: Arc<Mutex<Slot>>,
    /// Whether the definition has learned what the ledger does not hold yet.
    pub(super) unsaved: bool,
    /// The worker that would not die, as the ledger knows it.
    pub(super) saved_stuck: Option<StuckWorker>,
    inbox: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<StoreView>>,
    /// Who waits for the running attempt.
    waiting: Vec<Caller>,
    work: JoinSet<Done>,
    next_probe: Instant,
    /// A decision that could not be committed, and when to try again.
    owed: Option<(Input, Instant)>,
    stop: CancellationToken,
}

impl StoreTask {
    /// A task for a store that the ledger holds. `first_probe` is when it is first looked at.
    pub(super) fn new(
        tools: Tools,
        store: Store,
        record: Record,
        stuck: Option<StuckWorker>,
        first_probe: Instant,
        stop: CancellationToken,
    ) -> (StoreHandle, Self) {
        let (asks, inbox) = mpsc::channel(handle::INBOX);
        let (view, views) = watch::channel(Arc::new(StoreView::of(&store, &record)));
        let slot = match &stuck {
            Some(worker) => Slot::with_stuck(worker.pid, worker.start_time),
            None => Slot::new(),
        };
        let task = Self {
            tools,
            store,
            record,
            slot: Arc::new(Mutex::new(slot)),
            unsaved: false,
            saved_stuck: stuck,
            inbox,
            view,
            waiting: Vec::new(),
            work: JoinSet::new(),
            next_probe: first_probe,
            owed: None,
            stop,
        };
        (StoreHandle::new(asks, views), task)
    }

    /// Runs until the store is removed or the daemon stops; whether it was removed.
    pub(super) async fn run(mut self) -> bool {
        let span = info_span!("store", store = %self.store.uuid);
        async {
            self.apply(Input::Started).await;
            loop {
                if let ControlFlow::Break(removed) = self.turn().await {
                    // Before the end is told, so that nobody asks any more.
                    self.inbox.close();
                    return removed;
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Takes one thing that happened; breaks when it was the last. Every arm is cancel-safe: channels,
    /// `join_next`, timers.
    async fn turn(&mut self) -> ControlFlow<bool> {
        let idle = self.work.is_empty() && self.owed.is_none();
        let retry = self.record.retry_at().filter(|_| idle).map(|at| self.tools.started + at);
        let probe = idle.then_some(self.next_probe);
        let owed = self.owed.as_ref().map(|(_, at)| *at);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                // Connections are closed and the worker is killed; one that will not die is recorded
                // with the last commit, so that the next start sends no second one after it.
                self.work.shutdown().await;
                self.slot.lock().await.settle().await;
                self.apply(Input::Stopping).await;
                self.answer(&Err(stopping()));
                return ControlFlow::Break(false);
            }
            Some(done) = self.work.join_next() => self.done(done).await,
            command = self.inbox.recv() => match command {
                Some(command) => if self.asked(command).await {
                    return ControlFlow::Break(true);
                },
                None => return ControlFlow::Break(false),
            },
            () = at(owed) => {
                if let Some((input, _)) = self.owed.take() {
                    self.apply(input).await;
                }
            }
            () = at(retry) => self.apply(Input::RetryDue).await,
            () = at(probe) => self.start_probe(),
        }
        ControlFlow::Continue(())
    }

    /// Takes a request and all that wait behind it, so that a burst of reconnects costs one commit.
    /// Whether the store is gone.
    async fn asked(&mut self, first: Command) -> bool {
        let (mut inputs, mut callers) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        self.waiting.retain(|caller| !caller.is_closed());
        let removal = loop {
            match next {
                Some(Command::Reconnect { reply, .. }) if self.is_crowded(&callers) => {
                    let _ = reply.send(Err(crowded()));
                }
                Some(Command::Reconnect { tags, reply }) => {
                    callers.push(reply);
                    inputs.push(Input::ReconnectAsked { cause: Cause::Person, tags });
                }
                Some(Command::Remove { reply }) => break Some(reply),
                None => break None,
            }
            // Those that come meanwhile are the next turn's, so that this one ends.
            next = if inputs.len() < handle::INBOX { self.inbox.try_recv().ok() } else { None };
        };
        if !inputs.is_empty() {
            self.apply_all(inputs, callers).await;
        }
        match removal {
            Some(reply) => self.remove(reply).await,
            None => false,
        }
    }

    fn is_crowded(&self, callers: &[Caller]) -> bool {
        self.waiting.len() + callers.len() >= MOST_WAITING
    }

    /// Decides, commits, and only then lets the effects out.
    async fn apply(&mut self, input: Input) {
        self.apply_all(vec![input], Vec::new()).await;
    }

    /// As [`StoreTask::apply`], one after the other, with one commit for all. `callers` wait for the
    /// attempt that comes of it; if nothing can be recorded they are told so, and nobody else.
    async fn apply_all(&mut self, inputs: Vec<Input>, mut callers: Vec<Caller>) {
        let now = self.tools.moment();
        let notified = self.tools.outbox.is_some();
        let stuck = self.stuck();
        let (mut record, mut effects) = (self.record.clone(), Vec::new());
        let mut change = self.learned(stuck);
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
        self.waiting.extend(callers);
        self.unsaved = false;
        self.saved_stuck = stuck;
        self.record = record;
        self.view.send_replace(Arc::new(StoreView::of(&self.store, &self.record)));
        for effect in effects {
            self.let_out(effect);
        }
    }

    /// Commits; on a disk that hangs all who wait are told so meanwhile.
    async fn commit(
        &mut self,
        change: Change,
        callers: &mut Vec<Caller>,
    ) -> Result<(), CommitError> {
        let Self { tools, stop, waiting, .. } = self;
        let early = |failure| {
            tell(std::mem::take(waiting), &Err(Failure::clone(&failure)));
            tell(std::mem::take(callers), &Err(failure));
        };
        patience::commit(&tools.ledger, change, stop, early).await
    }

    /// The ledger did not take a decision, so it was not made: callers are told, and what must not be
    /// lost is decided again later.
    fn not_committed(&mut self, inputs: Vec<Input>, mut callers: Vec<Caller>, error: &CommitError) {
        warn!(error = %error, "the ledger did not take a change; it was not made");
        if inputs.iter().any(|input| matches!(input, Input::AttemptEnded { .. })) {
            callers.append(&mut self.waiting);
        }
        tell(callers, &Err(Failure::of(not_recorded(error))));
        let owed = |input: &Input| {
            matches!(input, Input::Started | Input::AttemptEnded { .. } | Input::RetryDue)
        };
        if let Some(input) = inputs.into_iter().find(owed) {
            self.owed = Some((input, Instant::now() + COMMIT_AGAIN));
        }
    }

    fn let_out(&mut self, effect: Effect) {
        match effect {
            Effect::Changed(transition) => self.announce(&transition),
            Effect::Begun(attempt) => self.start_attempt(&attempt),
            Effect::Abandoned(_) => self.work.abort_all(),
            Effect::Settled(_, outcome) => {
                let answer = outcome.map(|()| Arc::clone(&self.view.borrow()));
                self.answer(&answer);
            }
            Effect::Noted(..) => {}
        }
    }

    fn announce(&self, transition: &Transition) {
        let root = transition.failure.as_ref().map(Failure::root);
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
        if let Some(moved) = &self.tools.outbox {
            moved(self.store.uuid);
        }
    }

    fn answer(&mut self, answer: &Answer) {
        tell(std::mem::take(&mut self.waiting), answer);
    }

    fn start_attempt(&mut self, attempt: &Attempt) {
        // A monitor's probe would hold the store's only worker place.
        self.work.abort_all();
        let (tools, store, slot) = (self.tools.clone(), self.store.clone(), Arc::clone(&self.slot));
        let id = attempt.id;
        let span = info_span!("attempt", store = %store.uuid, attempt = id.0);
        let checks = async move {
            let deadline = Instant::now() + tools.attempt_deadline;
            let checks = attempt::connect(&tools, &store, &slot, deadline);
            let outcome = match timeout_at(deadline + BACKSTOP, checks).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::of(overdue(&tools))),
            };
            Done::Attempt(id, outcome)
        };
        self.work.spawn(checks.instrument(span));
    }

    fn start_probe(&mut self) {
        self.next_probe = Instant::now() + self.tools.policy.interval;
        let purpose = attempt::serve(&self.store, self.record.next_probe_writes());
        let (tools, slot) = (self.tools.clone(), Arc::clone(&self.slot));
        let dir = self.store.image_dir.clone();
        let span = info_span!("probe", store = %self.store.uuid);
        let probe = async move {
            let deadline = Instant::now() + tools.probe_deadline;
            Done::Probe(attempt::examine(&tools, &dir, &slot, &purpose, deadline).await)
        };
        self.work.spawn(probe.instrument(span));
    }

    async fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let input = match done {
            Ok(Done::Attempt(attempt, outcome)) => {
                self.next_probe = Instant::now() + self.tools.policy.interval;
                let current = self.record.running.as_ref().is_some_and(|run| run.id == attempt);
                if let Ok(proven) = &outcome
                    && current
                {
                    self.learn(proven);
                }
                let outcome = outcome.map(|proven| proven.measured());
                Input::AttemptEnded { attempt, outcome }
            }
            Ok(Done::Probe(outcome)) => {
                if let Ok(examined) = &outcome {
                    self.learn_place(examined);
                }
                Input::Probed(outcome.map(|examined| attempt::measured(&examined)))
            }
            // Aborted by an attempt that took its place.
            Err(error) if error.is_cancelled() => return,
            // A panic is an attempt that never ends otherwise; it is ended here, as a fault of ours.
            Err(error) => {
                tracing::error!(error = %error, "a check broke off");
                let Some(running) = &self.record.running else { return };
                let outcome = Err(Failure::of(overdue(&self.tools)));
                Input::AttemptEnded { attempt: running.id, outcome }
            }
        };
        self.apply(input).await;
    }

    /// Forgets the store; whether it is gone.
    async fn remove(&mut self, reply: oneshot::Sender<Result<(), Failure>>) -> bool {
        let mut reply = Some(reply);
        let early = |failure| {
            let _ = reply.take().map(|reply| reply.send(Err(failure)));
        };
        let change = Change::new().remove_store(self.store.uuid);
        let removed = patience::commit(&self.tools.ledger, change, &self.stop, early).await;
        let removed = removed.map_err(|error| Failure::of(not_recorded(&error)));
        let gone = removed.is_ok();
        if gone {
            info!(name = %self.store.name, "store removed");
            let fault = Fault::new(Reason::AgentStopping, "the store was removed meanwhile")
                .remedied("nothing to do: the store is not served any more");
            self.answer(&Err(Failure::of(fault)));
        }
        let _ = reply.map(|reply| reply.send(removed));
        gone
    }
}

fn tell(callers: Vec<Caller>, answer: &Answer) {
    for caller in callers {
        // A caller that hung up has dropped its end; nobody misses this answer.
        let _ = caller.send(answer.clone());
    }
}

fn crowded() -> Failure {
    let fault = Fault::new(Reason::AgentBusy, "too many callers wait for this store's attempt");
    Failure::of(fault.fact("waiting", MOST_WAITING))
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn overdue(tools: &Tools) -> Fault {
    let limit = tools.attempt_deadline;
    Fault::new(Reason::AgentBusy, "the checks did not end within the attempt's deadline")
        .fact("milliseconds", limit.as_millis())
}
