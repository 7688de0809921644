//! One store's task: the only writer of its record. Here is what it waits for and what its checks end
//! with; `decide` commits and acts, `requests` is what is asked of it.

mod requests;
#[cfg(test)]
mod tests;
mod transition;

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use super::handle;
use super::handle::{Command, Removed};
use super::pending::PendingObservations;
use super::waiters::Callers;
use crate::agent::checks::attempt::Checked;
use crate::agent::checks::running::{Done, Work};
use crate::agent::login::limiter::Restrained;
use crate::agent::{AgentContext, StoreHandle, StoreView, commit_timeout, faults};
use crate::ledger::StuckWorker;
use crate::lifecycle::{AttemptOutcome, InFlight, StepInput, StoreRecord};
use crate::model::Store;
use crate::probe::DirectoryInspection;
use crate::ssh::VerifiedLogin;

/// What a store's task waits for.
enum Happened {
    Stopped,
    Done(Box<Done>),
    /// None when nobody can ask any more.
    Asked(Option<Command>),
    /// The time to decide again what could not be committed.
    Owed,
    Due(InFlight),
}

/// The task of one store.
pub(crate) struct StoreTask {
    context: Arc<AgentContext>,
    /// The definition as it was committed last.
    store: Arc<Store>,
    /// The health as it was committed last.
    record: StoreRecord,
    /// Observations that are not committed yet.
    pending: PendingObservations,
    work: Work,
    inbox: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<StoreView>>,
    /// Who waits for the running attempt.
    waiting: Callers,
    /// A decision that could not be committed, and when to try again.
    owed: Option<(StepInput, Instant)>,
    stop: CancellationToken,
}

impl StoreTask {
    /// A task for a store that the ledger holds.
    pub(crate) fn new(
        context: Arc<AgentContext>,
        store: Store,
        record: StoreRecord,
        stuck: Option<StuckWorker>,
        stop: CancellationToken,
    ) -> (StoreHandle, Box<Self>) {
        let store = Arc::new(store);
        let (asks, inbox) = mpsc::channel(handle::INBOX);
        let logins = Restrained::default();
        let (view, views) = watch::channel(Arc::new(StoreView::of(&store, &record, stuck)));
        let task = Self {
            work: Work::new(Arc::clone(&context), logins.clone(), stuck),
            context,
            store,
            record,
            pending: PendingObservations::clean(stuck),
            inbox,
            view,
            waiting: Callers::default(),
            owed: None,
            stop,
        };
        (StoreHandle::new(asks, views, logins), Box::new(task))
    }

    /// Runs until the store is removed or the daemon stops; what is left when it was removed. Boxed,
    /// because a future keeps what it is given and what it makes of it: two copies of a task of 2.5 KB.
    pub(crate) async fn run(mut self: Box<Self>) -> Option<Removed> {
        let span = info_span!("store", store = %self.store.uuid);
        async {
            Box::pin(self.apply(StepInput::Started)).await;
            loop {
                let happened = self.next().await;
                // A store that waits, as nearly all do nearly always, holds no room for what it does
                // when something happens: 3 KB of decisions under way.
                if let ControlFlow::Break(removed) = Box::pin(self.turn(happened)).await {
                    return removed;
                }
            }
        }
        .instrument(span)
        .await
    }

    /// The next thing that happens.
    ///
    /// # Cancel safety
    /// Every arm's: channels, `Work::next`, timers.
    async fn next(&mut self) -> Happened {
        let busy = self.work.busy();
        // What could not be committed comes first.
        let due = self.record.due_check(busy).filter(|_| self.owed.is_none());
        let due = due.map(|uptime| self.context.started + uptime);
        let owed = self.owed.as_ref().map(|(_, at)| *at);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Happened::Stopped,
            done = self.work.next() => Happened::Done(Box::new(done)),
            command = self.inbox.recv() => Happened::Asked(command),
            () = commit_timeout::reached(owed) => Happened::Owed,
            () = commit_timeout::reached(due) => Happened::Due(busy),
        }
    }

    /// Takes one thing that happened; breaks when it was the last.
    async fn turn(&mut self, happened: Happened) -> ControlFlow<Option<Removed>> {
        match happened {
            Happened::Stopped => {
                // A worker that will not die is recorded with the last commit, so that the next start
                // sends no second one after it.
                self.work.shutdown().await;
                self.apply(StepInput::Stopping).await;
                self.waiting.answer(&Err(faults::stopping().into()));
                return ControlFlow::Break(None);
            }
            Happened::Done(done) => self.done(*done).await,
            Happened::Asked(Some(command)) => {
                if let Some(removed) = self.asked(command).await {
                    return ControlFlow::Break(Some(removed));
                }
            }
            Happened::Asked(None) => return ControlFlow::Break(None),
            Happened::Owed => {
                if let Some((input, _)) = self.owed.take() {
                    self.apply(input).await;
                }
            }
            Happened::Due(busy) => self.apply(StepInput::Due(busy)).await,
        }
        ControlFlow::Continue(())
    }

    async fn done(&mut self, done: Done) {
        let input = match done {
            Done::Attempt(attempt, outcome) => {
                if self.record.running.as_ref().is_some_and(|running| running.id == attempt) {
                    self.observe(outcome.as_ref().as_ref().ok());
                }
                let outcome = outcome.map(|checked| AttemptOutcome::from(&checked));
                StepInput::AttemptEnded { attempt, outcome }
            }
            Done::Probe(probed) => {
                if let Ok(examined) = &probed.examined {
                    self.observe_mount(examined);
                }
                StepInput::Probed((&probed).into())
            }
            Done::Login(login) => {
                if let Ok(verified) = &login.verified {
                    self.observe_host_key(verified);
                }
                StepInput::LoggedIn((&login).into())
            }
            // An attempt would never end otherwise; it is ended here, as a fault of ours.
            Done::Broken(error) => {
                tracing::error!(error = %error, "a check broke off");
                let Some(running) = &self.record.running else { return };
                let outcome = Err(faults::overdue(self.context.attempt_deadline));
                StepInput::AttemptEnded { attempt: running.id, outcome }
            }
        };
        self.apply(input).await;
    }

    /// Records what an attempt observed, if all of its checks succeeded.
    fn observe(&mut self, checked: Option<&Checked>) {
        let Some(Checked { probed, login }) = checked else { return };
        if let (Ok(examined), Ok(verified)) = (&probed.examined, &login.verified) {
            self.observe_mount(examined);
            self.observe_host_key(verified);
        }
    }

    fn observe_mount(&mut self, examined: &DirectoryInspection) {
        let DirectoryInspection { place, has_registry, .. } = examined;
        self.pending.observe_mount(&self.store, place, *has_registry);
    }

    fn observe_host_key(&mut self, verified: &VerifiedLogin) {
        if self.context.pins_host_keys {
            self.pending.observe_host_key(&self.store, &verified.host_key);
        }
    }
}
