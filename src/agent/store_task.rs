//! One store's task: the only writer of its record.

use std::future::pending;
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
use super::{StoreHandle, StoreView, Tools, handle, journal};
use crate::ledger::{Change, CommitError, StuckWorker};
use crate::lifecycle::{Attempt, Cause, Effect, Input, Record, Transition, step};
use crate::model::{AttemptId, Failure, Fault, Reason, Store};
use crate::probe::{Examined, Slot};

/// Pause before a decision that could not be committed is tried again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// Beyond the attempt's deadline, which each check keeps by itself: the backstop behind invariant
/// "every path out of Connecting is taken in time".
const BACKSTOP: Duration = Duration::from_secs(2);

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
    waiting: Vec<oneshot::Sender<Answer>>,
    work: JoinSet<Done>,
    next_probe: Instant,
    /// A decision that could not be committed, and when to try again.
    owed: Option<(Input, Instant)>,
}

impl StoreTask {
    /// A task for a store that the ledger holds. `first_probe` is when it is first looked at.
    pub(super) fn new(
        tools: Tools,
        store: Store,
        record: Record,
        stuck: Option<StuckWorker>,
        first_probe: Instant,
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
        };
        (StoreHandle::new(asks, views), task)
    }

    /// Runs until the store is removed or the daemon stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let span = info_span!("store", store = %self.store.uuid);
        async {
            self.apply(Input::Started).await;
            while self.turn(&stop).await {}
        }
        .instrument(span)
        .await;
    }

    /// Takes one thing that happened; false when it was the last. Every arm is cancel-safe: channels,
    /// `join_next`, timers.
    async fn turn(&mut self, stop: &CancellationToken) -> bool {
        let idle = self.work.is_empty() && self.owed.is_none();
        let retry = self.record.retry_at().filter(|_| idle).map(|at| self.tools.started + at);
        let probe = idle.then_some(self.next_probe);
        let owed = self.owed.as_ref().map(|(_, at)| *at);
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                // Connections are closed and the worker is killed; one that will not die is recorded
                // with the last commit, so that the next start sends no second one after it.
                self.work.shutdown().await;
                self.slot.lock().await.settle().await;
                self.apply(Input::Stopping).await;
                self.answer(&Err(stopping()));
                return false;
            }
            Some(done) = self.work.join_next() => self.done(done).await,
            command = self.inbox.recv() => match command {
                Some(command) => return !self.asked(command).await,
                None => return false,
            },
            () = at(owed) => {
                if let Some((input, _)) = self.owed.take() {
                    self.apply(input).await;
                }
            }
            () = at(retry) => self.apply(Input::RetryDue).await,
            () = at(probe) => self.start_probe(),
        }
        true
    }

    /// Takes a request and all that wait behind it, so that a burst of reconnects costs one commit.
    /// Whether the store is gone.
    async fn asked(&mut self, first: Command) -> bool {
        let mut inputs = Vec::new();
        let mut next = Some(first);
        let removal = loop {
            match next {
                Some(Command::Reconnect { tags, reply }) => {
                    self.waiting.push(reply);
                    inputs.push(Input::ReconnectAsked { cause: Cause::Person, tags });
                    next = self.inbox.try_recv().ok();
                }
                Some(Command::Remove { reply }) => break Some(reply),
                None => break None,
            }
        };
        if !inputs.is_empty() {
            self.apply_all(inputs).await;
        }
        match removal {
            Some(reply) => self.remove(reply).await,
            None => false,
        }
    }

    /// Decides, commits, and only then lets the effects out.
    async fn apply(&mut self, input: Input) {
        self.apply_all(vec![input]).await;
    }

    /// As [`StoreTask::apply`], one after the other, with one commit for all.
    async fn apply_all(&mut self, inputs: Vec<Input>) {
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
            && let Err(error) = self.tools.ledger.commit(change).await
        {
            self.not_committed(inputs, &error);
            return;
        }
        self.unsaved = false;
        self.saved_stuck = stuck;
        self.record = record;
        self.view.send_replace(Arc::new(StoreView::of(&self.store, &self.record)));
        for effect in effects {
            self.let_out(effect);
        }
    }

    /// The ledger did not take a decision, so it was not made: callers are told, and what must not be
    /// lost is decided again later.
    fn not_committed(&mut self, inputs: Vec<Input>, error: &CommitError) {
        warn!(error = %error, "the ledger did not take a change; it was not made");
        self.answer(&Err(Failure::of(not_recorded(error))));
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
        for caller in self.waiting.drain(..) {
            // A caller that hung up has dropped its end; nobody misses this answer.
            let _ = caller.send(answer.clone());
        }
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
                if let Ok(proven) = &outcome {
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
        let removed = self.tools.ledger.commit(Change::new().remove_store(self.store.uuid)).await;
        let removed = removed.map_err(|error| Failure::of(not_recorded(&error)));
        let gone = removed.is_ok();
        if gone {
            info!(name = %self.store.name, "store removed");
            let fault = Fault::new(Reason::AgentStopping, "the store was removed meanwhile");
            self.answer(&Err(Failure::of(fault)));
        }
        let _ = reply.send(removed);
        gone
    }
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
