//! The task of one store, which is the only writer of its record. This module waits for events and
//! handles the results of checks. `transition` commits and acts, and `requests` handles the
//! commands.

mod requested_checks;
mod requests;
#[cfg(test)]
mod tests;
mod transition;

use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use super::check_callers::CheckCallers;
use super::growth::KnownGrowth;
use super::pending::PendingObservations;
use super::{MAX_QUEUED_COMMANDS, RemovedStore, StoreCommand, StoreHandle, Waiters};
use crate::agent::checks::CheckResults;
use crate::agent::checks::running::{CompletedCheck, RunningChecks};
use crate::agent::login::StoreLogins;
use crate::agent::progress::AttemptProgress;
use crate::agent::{AgentContext, StoreSnapshot, faults};
use crate::forecast::StoreGrowth;
use crate::lifecycle::{
    AttemptOutcome, DurableRecord, InFlight, LoginOutcome, MeasuredSpace, ProbeOutcome,
    RequestedCheck, StepInput, StoreRecord,
};
use crate::model::{Fault, LoginRejections, ProcessId, Store, UtcDay};
use crate::probe::DirectoryInspection;
use crate::ssh::VerifiedLogin;

/// An event that the store task waits for.
enum TaskEvent {
    Stopped,
    CheckFinished(Box<CompletedCheck>),
    /// The growth was read, or could not be read.
    GrowthRead(Box<Option<StoreGrowth>>),
    /// A command, or `None` if all handles were dropped.
    Command(Option<StoreCommand>),
    /// The time has come to retry a decision that could not be committed.
    RetryDue,
    /// The time of the next check has come, while these checks are in flight.
    CheckDue(InFlight),
}

/// The task of one store.
pub(crate) struct StoreTask {
    context: Arc<AgentContext>,
    /// The definition as of the last commit.
    store: Arc<Store>,
    /// The health as of the last commit.
    record: StoreRecord,
    /// Observations that are not committed yet.
    pending: PendingObservations,
    checks: RunningChecks,
    growth: KnownGrowth,
    commands: mpsc::Receiver<StoreCommand>,
    snapshot: watch::Sender<Arc<StoreSnapshot>>,
    /// The phases of the attempt that is running or being prepared.
    progress: Option<AttemptProgress>,
    /// The callers that wait for the running attempt.
    waiters: Waiters,
    /// The callers that wait for a check of the monitor.
    check_callers: CheckCallers,
    /// A decision that could not be committed, and the time of its retry.
    retry: Option<(StepInput, Instant)>,
    stop: CancellationToken,
}

impl StoreTask {
    /// Creates the task of a store that the ledger holds, and its handle.
    pub(crate) fn new(
        context: Arc<AgentContext>,
        store: Store,
        record: StoreRecord,
        stuck: Option<ProcessId>,
        rejections: Option<LoginRejections>,
        stop: CancellationToken,
    ) -> (StoreHandle, Box<Self>) {
        let store = Arc::new(store);
        let (command_sender, commands) = mpsc::channel(MAX_QUEUED_COMMANDS);
        let logins = StoreLogins::restored(rejections, context.daemon.clock.now());
        let (snapshot, snapshots) =
            watch::channel(Arc::new(StoreSnapshot::new(&store, &record, None, None, stuck)));
        let task = Self {
            checks: RunningChecks::new(Arc::clone(&context), logins.clone(), stuck),
            context,
            store,
            record,
            growth: KnownGrowth::default(),
            pending: PendingObservations::clean(stuck),
            commands,
            snapshot,
            progress: None,
            waiters: Waiters::default(),
            check_callers: CheckCallers::default(),
            retry: None,
            stop,
        };
        (StoreHandle::new(command_sender, snapshots, logins), Box::new(task))
    }

    /// Runs until the store is removed or the daemon stops. Returns the remains of the store if it
    /// was removed, and `None` otherwise.
    ///
    /// The task is boxed, because a future keeps both its argument and the value that it moves it
    /// to. That would be two copies of the task.
    pub(crate) async fn run_until_stopped(mut self: Box<Self>) -> Option<RemovedStore> {
        let span = info_span!("store", store = %self.store.uuid);
        async {
            let _ = Box::pin(self.apply_input(StepInput::Started)).await;
            loop {
                let event = self.next_event().await;
                // Nearly all stores are idle nearly always. Boxing this future saves each of them
                // the memory that a decision needs.
                if let ControlFlow::Break(removed) = Box::pin(self.handle_event(event)).await {
                    return removed;
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Waits for the next event.
    ///
    /// # Cancel safety
    /// No event is lost: channels, [`RunningChecks::next_finished`] and timers are all cancel-safe.
    async fn next_event(&mut self) -> TaskEvent {
        let in_flight = self.checks.in_flight();
        // The retry of a failed commit precedes all due checks.
        let due = self.record.due_check(in_flight).filter(|_| self.retry.is_none());
        let due = due.map(|uptime| self.context.started + uptime);
        let retry = self.retry.as_ref().map(|(_, at)| *at);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => TaskEvent::Stopped,
            finished = self.checks.next_finished() => TaskEvent::CheckFinished(Box::new(finished)),
            growth = self.growth.next_read() => TaskEvent::GrowthRead(Box::new(growth)),
            command = self.commands.recv() => TaskEvent::Command(command),
            () = sleep_until_some(retry) => TaskEvent::RetryDue,
            () = sleep_until_some(due) => TaskEvent::CheckDue(in_flight),
        }
    }

    /// Handles one event. Breaks if it was the last one.
    async fn handle_event(&mut self, event: TaskEvent) -> ControlFlow<Option<RemovedStore>> {
        match event {
            TaskEvent::Stopped => {
                // The last commit records a worker that cannot be killed. The next start then sends
                // no second one.
                self.checks.abort_checks_and_wait().await;
                self.check_callers.fail_all(&faults::agent_stopping());
                let _ = self.apply_input(StepInput::Stopping).await;
                self.waiters.notify_all(&Err(faults::agent_stopping().into()));
                return ControlFlow::Break(None);
            }
            TaskEvent::CheckFinished(finished) => self.on_check_finished(*finished).await,
            TaskEvent::GrowthRead(growth) => self.on_growth_read(*growth).await,
            TaskEvent::Command(Some(command)) => {
                if let Some(removed) = self.handle_commands(command).await {
                    return ControlFlow::Break(Some(removed));
                }
            }
            TaskEvent::Command(None) => return ControlFlow::Break(None),
            TaskEvent::RetryDue => {
                if let Some((input, _)) = self.retry.take() {
                    let _ = self.apply_input(input).await;
                }
            }
            TaskEvent::CheckDue(in_flight) => {
                let _ = self.apply_input(StepInput::Due(in_flight)).await;
            }
        }
        ControlFlow::Continue(())
    }

    async fn on_check_finished(&mut self, finished: CompletedCheck) {
        let input = match finished {
            CompletedCheck::Prepared(prepared) => match *prepared {
                Ok(prepared) => {
                    self.checks.keep_prepared(prepared);
                    StepInput::AttemptPrepared
                }
                Err(fault) => StepInput::PreparationFailed(fault),
            },
            CompletedCheck::Attempt(attempt, outcome) => {
                if self.record.running.as_ref().is_some_and(|running| running.id == attempt) {
                    self.apply_observation(outcome.as_ref().as_ref().ok());
                }
                let outcome = outcome.map(|results| AttemptOutcome::from(&results));
                StepInput::AttemptEnded { attempt, outcome }
            }
            CompletedCheck::Probe(probed) => {
                if let Ok(inspection) = &probed.inspection {
                    self.observe_mount(inspection);
                }
                let outcome: ProbeOutcome = (&probed).into();
                let obstacle = outcome.obstacle().cloned();
                let committed = self.apply_with_forecast(StepInput::Probed(outcome)).await;
                return self.complete_check(RequestedCheck::Probe, committed.err().or(obstacle));
            }
            CompletedCheck::Login(login) => {
                if let Ok(verified) = &login.verified {
                    self.observe_host_key(verified);
                }
                let outcome: LoginOutcome = (&login).into();
                let obstacle = outcome.obstacle().cloned();
                let committed = self.apply_input(StepInput::LoggedIn(outcome)).await;
                return self.complete_check(RequestedCheck::Login, committed.err().or(obstacle));
            }
            // Without this fault the attempt would never end. A panic is an internal error.
            CompletedCheck::Panicked(error) => {
                tracing::error!(error = %error, "check task panicked");
                let fault = faults::check_panicked();
                self.check_callers.fail_all(&fault);
                match &self.record.running {
                    Some(running) => {
                        StepInput::AttemptEnded { attempt: running.id, outcome: Err(fault) }
                    }
                    None => StepInput::PreparationFailed(fault),
                }
            }
        };
        let _ = self.apply_with_forecast(input).await;
    }

    /// Decides on the result of a check, and on the forecast from its figures.
    ///
    /// # Errors
    /// The fault for which the commit failed. Nothing has changed.
    async fn apply_with_forecast(&mut self, input: StepInput) -> Result<(), Fault> {
        let measured = measured_space(&input).copied();
        let moves = self.pending.moves_space(&self.store);
        let mut inputs = vec![input];
        if let Some(measured) = measured.filter(|_| !moves) {
            inputs.extend(self.forecast_input(&measured));
        }
        let committed = self.apply_all(inputs, Waiters::default()).await;
        if measured.is_some() {
            let today = UtcDay::of(self.context.daemon.clock.now());
            self.growth.refresh(&self.context.daemon.ledger, self.store.uuid, today);
        }
        committed
    }

    /// Returns the forecast from figures as an input, if the growth is known.
    fn forecast_input(&self, measured: &MeasuredSpace) -> Option<StepInput> {
        let evidence = self.growth.evidence(measured, self.context.policy.space)?;
        Some(StepInput::Forecast(Box::new(evidence)))
    }

    /// Uses the growth that was read, from the newest figures.
    async fn on_growth_read(&mut self, growth: Option<StoreGrowth>) {
        self.growth.replace(growth);
        let DurableRecord { capacity, inodes, .. } = self.record.durable;
        let measured = capacity.map(|capacity| MeasuredSpace { capacity, inodes });
        if let Some(input) = measured.and_then(|measured| self.forecast_input(&measured)) {
            let _ = self.apply_input(input).await;
        }
    }

    /// Records what an attempt observed, if all of its checks succeeded.
    fn apply_observation(&mut self, results: Option<&CheckResults>) {
        let Some(CheckResults { probed, login }) = results else { return };
        if let (Ok(inspection), Ok(verified)) = (&probed.inspection, &login.verified) {
            self.observe_mount(inspection);
            self.observe_host_key(verified);
        }
    }

    fn observe_mount(&mut self, inspection: &DirectoryInspection) {
        let DirectoryInspection { place, has_registry, .. } = inspection;
        self.pending.observe_mount(&self.store, place, *has_registry);
    }

    fn observe_host_key(&mut self, verified: &VerifiedLogin) {
        if self.context.pins_host_keys() {
            self.pending.observe_host_key(&self.store, &verified.host_key);
        }
    }
}

/// Returns the figures of an input, if its probe measured good ones.
fn measured_space(input: &StepInput) -> Option<&MeasuredSpace> {
    let probe = match input {
        StepInput::Probed(probe) => probe,
        StepInput::AttemptEnded { outcome: Ok(outcome), .. } => &outcome.probe,
        _ => return None,
    };
    probe.examined.as_ref().ok()
}

/// Waits until `time`. It waits forever if there is none.
async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
