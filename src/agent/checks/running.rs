//! The checks that run beside a store's task: an attempt, or the monitor's probe and login.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, info_span};

use super::attempt;
use super::attempt::{CheckResults, LoginResult};
use crate::agent::login::limiter::StoreLogins;
use crate::agent::{AgentContext, faults};
use crate::lifecycle::{HistoryEvent, InFlight};
use crate::model::{AttemptId, Fault, ProcessId, Store};
use crate::probe::{ProbeResult, WorkerSlot};

/// Beyond the attempt's deadline, which each check keeps by itself: the backstop behind invariant
/// "every path out of Connecting is taken in time".
const ATTEMPT_GRACE: Duration = Duration::from_secs(2);

/// What ended.
pub(crate) enum Finished {
    /// An attempt; a fault when its checks came to no end.
    Attempt(AttemptId, Box<Result<CheckResults, Fault>>),
    Probe(ProbeResult),
    Login(LoginResult),
    /// A check broke off: a fault of ours.
    Broken(JoinError),
}

/// What runs now: an attempt, behind whose probe the monitor's may still end; or a probe and a login of
/// the monitor side by side.
pub(crate) struct RunningChecks {
    context: Arc<AgentContext>,
    slot: Arc<Mutex<WorkerSlot>>,
    restraint: StoreLogins,
    running: JoinSet<Finished>,
    busy: InFlight,
    login: Option<AbortHandle>,
}

impl RunningChecks {
    /// Nothing runs yet; `stuck` is a worker that an earlier run of the daemon left behind.
    pub(crate) fn new(
        context: Arc<AgentContext>,
        restraint: StoreLogins,
        stuck: Option<ProcessId>,
    ) -> Self {
        Self {
            context,
            slot: Arc::new(Mutex::new(stuck.map_or_else(WorkerSlot::new, WorkerSlot::with_stuck))),
            restraint,
            running: JoinSet::new(),
            busy: InFlight::default(),
            login: None,
        }
    }

    /// Which checks of the monitor run.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.busy
    }

    /// The next check that ends; never, when none runs.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn next_finished(&mut self) -> Finished {
        loop {
            let done = match self.running.join_next().await {
                Some(Ok(done)) => done,
                // Aborted by an attempt that took its place.
                Some(Err(error)) if error.is_cancelled() => continue,
                Some(Err(error)) => {
                    // Which one is not told: none is taken to run, so that the next can start.
                    self.abort_attempt();
                    Finished::Broken(error)
                }
                None => std::future::pending().await,
            };
            match done {
                Finished::Probe(_) => self.busy.probe = false,
                Finished::Login(_) => self.busy.login = false,
                Finished::Attempt(..) | Finished::Broken(_) => {}
            }
            return done;
        }
    }

    /// Stops every check: connections are closed and the worker is killed.
    pub(crate) fn abort_attempt(&mut self) {
        self.running.abort_all();
        self.busy = InFlight::default();
    }

    /// As [`RunningChecks::abort_attempt`], and waits for it. A worker that will not die is known afterwards.
    pub(crate) async fn abort_all(&mut self) {
        self.running.shutdown().await;
        self.busy = InFlight::default();
        self.slot.lock().await.reap().await;
    }

    /// The worker that would not die, if any; none is told while a check uses the slot.
    pub(crate) fn stuck_worker(&self) -> Option<Option<ProcessId>> {
        Some(self.slot.try_lock().ok()?.stuck_worker())
    }

    /// Forgets that the server has refused the credentials: somebody says that it will not now.
    pub(crate) fn reset_login_history(&self) {
        self.restraint.lock().reset();
    }

    /// Another login is nothing that the server has refused yet; a host key that is accepted makes none.
    pub(crate) fn on_definition_changed(&self, event: &HistoryEvent) {
        if matches!(event, HistoryEvent::Updated { .. }) {
            self.reset_login_history();
        }
    }

    /// Starts the checks of an attempt. They take the place of a login of the monitor, and wait for its
    /// probe: a worker that is killed on a slow disk dies late, and would make a healthy one look dead.
    pub(crate) fn start_attempt(&mut self, id: AttemptId, store: &Store) {
        if let Some(login) = self.login.take() {
            login.abort();
            self.busy.login = false;
        }
        let (context, store, slot) =
            (Arc::clone(&self.context), store.clone(), Arc::clone(&self.slot));
        let restraint = self.restraint.clone();
        let span = info_span!("attempt", store = %store.uuid, attempt = id.0);
        let checks = async move {
            let deadline = Instant::now() + context.attempt_deadline;
            let checks = attempt::run_attempt(&context, &store, &slot, &restraint, deadline);
            let checked = timeout_at(deadline + ATTEMPT_GRACE, checks).await;
            let outcome = checked.map_err(|_| faults::attempt_overdue(context.attempt_deadline));
            Finished::Attempt(id, Box::new(outcome))
        };
        self.running.spawn(checks.instrument(span));
    }

    /// Starts a probe of the monitor.
    pub(crate) fn start_probe(&mut self, store: &Store, write: bool) {
        self.busy.probe = true;
        let purpose = attempt::probe_expectation(store, write);
        let (context, slot, dir) =
            (Arc::clone(&self.context), Arc::clone(&self.slot), store.image_dir.clone());
        let span = info_span!("probe", store = %store.uuid);
        let probe = async move {
            let deadline = Instant::now() + context.probe_deadline;
            Finished::Probe(attempt::run_probe(&context, &dir, &slot, &purpose, deadline).await)
        };
        self.running.spawn(probe.instrument(span));
    }

    /// Starts a login of the monitor.
    pub(crate) fn start_login(&mut self, store: &Store) {
        self.busy.login = true;
        let (context, store, restraint) =
            (Arc::clone(&self.context), store.clone(), self.restraint.clone());
        let span = info_span!("login", store = %store.uuid);
        let login = async move {
            // What it waits for its turn is not taken off its own time.
            let turn = restraint.acquire(Instant::now() + context.attempt_deadline).await;
            let deadline = Instant::now() + context.attempt_deadline;
            let login = attempt::log_in(&context, &store, &restraint, ready(turn), deadline);
            Finished::Login(login.await)
        };
        self.login = Some(self.running.spawn(login.instrument(span)));
    }
}
