//! The checks that run outside a store task: an attempt, or the probe and the login of the monitor.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, info_span};

use super::preparation::{PreparedAttempt, prepare_attempt};
use super::worker::{PreparedWorker, ProbeLimit, StoreWorker};
use super::{CheckResults, LoginResult, login, probe_expectation, run_attempt};
use crate::agent::login::StoreLogins;
use crate::agent::{AgentContext, faults};
use crate::common::{PhaseObserver, observe_phases};
use crate::lifecycle::{HistoryEvent, InFlight};
use crate::model::{AttemptId, Fault, ProcessId, Store};
use crate::probe::ProbeResult;
use crate::ssh::{LoginClass, LoginDeadline};

/// Time that an attempt may exceed its deadline, although each check enforces it. This backstop
/// guarantees the invariant "every path out of Connecting is taken in time".
const ATTEMPT_GRACE: Duration = Duration::from_secs(2);

/// A check or an attempt that has ended.
pub(crate) enum CompletedCheck {
    /// The preparation of an attempt ended. It carries a fault of the daemon if that failed.
    Prepared(Box<Result<PreparedAttempt, Fault>>),
    /// An attempt ended. It carries a fault if its checks did not end in time.
    Attempt(AttemptId, Box<Result<CheckResults, Fault>>),
    Probe(ProbeResult),
    Login(LoginResult),
    /// A check panicked, which is an internal error.
    Panicked(JoinError),
}

/// The running checks of one store. These are an attempt, or a probe and a login of the monitor. A
/// probe of the monitor may still run when an attempt starts.
pub(crate) struct RunningChecks {
    context: Arc<AgentContext>,
    worker: StoreWorker,
    logins: StoreLogins,
    /// The permits and the worker for the next attempt.
    prepared: Option<Box<PreparedAttempt>>,
    tasks: JoinSet<CompletedCheck>,
    in_flight: InFlight,
    login_task: Option<AbortHandle>,
}

impl RunningChecks {
    /// Creates a value without running checks. `stuck` is a worker that an earlier run of the
    /// daemon left behind.
    pub(crate) fn new(
        context: Arc<AgentContext>,
        logins: StoreLogins,
        stuck: Option<ProcessId>,
    ) -> Self {
        Self {
            context,
            worker: StoreWorker::new(stuck),
            logins,
            prepared: None,
            tasks: JoinSet::new(),
            in_flight: InFlight::default(),
            login_task: None,
        }
    }

    /// Returns the checks of the monitor that are running.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight
    }

    /// Waits for the next check to end. It never returns if no check is running.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub(crate) async fn next_finished(&mut self) -> CompletedCheck {
        loop {
            let finished = match self.tasks.join_next().await {
                Some(Ok(finished)) => finished,
                // An attempt replaced and aborted this check.
                Some(Err(error)) if error.is_cancelled() => continue,
                Some(Err(error)) => {
                    // The error does not name the check. All are aborted, so that the next ones can
                    // start.
                    self.abort_checks();
                    CompletedCheck::Panicked(error)
                }
                None => std::future::pending().await,
            };
            match finished {
                CompletedCheck::Probe(_) => self.in_flight.probe = false,
                CompletedCheck::Login(_) => self.in_flight.login = false,
                CompletedCheck::Prepared(_)
                | CompletedCheck::Attempt(..)
                | CompletedCheck::Panicked(_) => {}
            }
            return finished;
        }
    }

    /// Aborts every check. Connections are closed and the worker is killed.
    pub(crate) fn abort_checks(&mut self) {
        self.tasks.abort_all();
        self.prepared = None;
        self.in_flight = InFlight::default();
    }

    /// Aborts every check as [`RunningChecks::abort_checks`] does, and waits until all have ended.
    /// After that, a worker that cannot be killed is known.
    pub(crate) async fn abort_checks_and_wait(&mut self) {
        self.tasks.shutdown().await;
        self.prepared = None;
        self.in_flight = InFlight::default();
        self.worker.slot().lock().await.reap().await;
    }

    /// Returns the worker that cannot be killed, if any. Returns `None` while a check uses the
    /// slot.
    pub(crate) fn stuck_worker(&self) -> Option<Option<ProcessId>> {
        Some(self.worker.slot().try_lock().ok()?.stuck_worker())
    }

    /// Clears the recorded rejections of the login (`force`, or a changed login).
    pub(crate) fn reset_login_history(&self) {
        self.logins.lock().reset();
    }

    /// Clears the recorded rejections if the login changed. A newly accepted host key does not
    /// change the login.
    pub(crate) fn on_definition_changed(&self, event: &HistoryEvent) {
        if matches!(event, HistoryEvent::DefinitionUpdated { .. }) {
            self.reset_login_history();
        }
    }

    /// Starts to acquire what an attempt needs of the daemon. The attempt replaces a login of the
    /// monitor, but waits for its probe. On a slow disk a killed worker exits late, so that a
    /// healthy disk would look stuck. The observer gets the phases.
    pub(crate) fn start_preparation(&mut self, store: &Store, observer: PhaseObserver) {
        if let Some(login) = self.login_task.take() {
            login.abort();
            self.in_flight.login = false;
        }
        let (context, store, worker) =
            (Arc::clone(&self.context), store.clone(), self.worker.clone());
        let logins = self.logins.clone();
        let span = info_span!("preparation", store = %store.uuid);
        let preparation = async move {
            let deadline = LoginDeadline::for_attempt(context.attempt_timeout);
            let prepared = prepare_attempt(&context, &store, &worker, &logins, deadline);
            let prepared = timeout_at(deadline.at() + ATTEMPT_GRACE, prepared).await;
            let overdue = |_| Err(faults::attempt_overdue(context.attempt_timeout));
            CompletedCheck::Prepared(Box::new(prepared.unwrap_or_else(overdue)))
        };
        self.tasks.spawn(observe_phases(observer, preparation).instrument(span));
    }

    /// Keeps what was prepared until [`RunningChecks::start_attempt`].
    pub(crate) fn keep_prepared(&mut self, prepared: PreparedAttempt) {
        self.prepared = Some(Box::new(prepared));
    }

    /// Releases what was prepared for an attempt that does not start.
    pub(crate) fn discard_prepared(&mut self) {
        self.prepared = None;
    }

    /// Starts the checks of a prepared attempt. The observer gets their phases.
    pub(crate) fn start_attempt(&mut self, id: AttemptId, store: &Store, observer: PhaseObserver) {
        let (context, store, worker) =
            (Arc::clone(&self.context), store.clone(), self.worker.clone());
        let logins = self.logins.clone();
        let prepared = self.prepared.take();
        let span = info_span!("attempt", store = %store.uuid, attempt = id.0);
        let checks = async move {
            let Some(prepared) = prepared else {
                let outcome = Err(faults::check_panicked());
                return CompletedCheck::Attempt(id, Box::new(outcome));
            };
            let deadline = LoginDeadline::for_attempt(context.attempt_timeout);
            let checks = run_attempt(&context, &store, &worker, &logins, *prepared, deadline);
            let results = timeout_at(deadline.at() + ATTEMPT_GRACE, checks).await;
            let outcome = results.map_err(|_| faults::attempt_overdue(context.attempt_timeout));
            CompletedCheck::Attempt(id, Box::new(outcome))
        };
        self.tasks.spawn(observe_phases(observer, checks).instrument(span));
    }

    /// Starts a probe of the monitor.
    pub(crate) fn start_probe(&mut self, store: &Store, write: bool) {
        self.in_flight.probe = true;
        let expectation = probe_expectation(store, write);
        let (context, worker, dir) =
            (Arc::clone(&self.context), self.worker.clone(), store.image_dir.clone());
        let span = info_span!("probe", store = %store.uuid);
        let probe = async move {
            let (prepared, limit) = (PreparedWorker::default(), ProbeLimit::Monitor);
            let probe = worker.probe(&context, &dir, prepared, &expectation, limit);
            CompletedCheck::Probe(probe.await)
        };
        self.tasks.spawn(observe_phases(self.context.observe_checks(), probe).instrument(span));
    }

    /// Returns the last rejection of the server if no requested login is permitted now.
    pub(crate) fn reserved_rejection(&self) -> Option<Fault> {
        self.logins.lock().reserved_rejection(Instant::now())
    }

    /// Starts a login of the monitor. A requested one is not made if another login was rejected
    /// meanwhile, so that one more would use up the last.
    pub(crate) fn start_login(&mut self, store: &Store, requested: bool) {
        self.in_flight.login = true;
        let (context, store, logins) =
            (Arc::clone(&self.context), store.clone(), self.logins.clone());
        let span = info_span!("login", store = %store.uuid);
        let login = async move {
            // The wait for the permits does not count towards the deadline of the login.
            let until = LoginDeadline::for_attempt(context.attempt_timeout);
            let prepared = match logins.acquire(until.at()).await {
                Ok(_)
                    if requested && logins.lock().reserved_rejection(Instant::now()).is_some() =>
                {
                    Err(faults::login_reserved())
                }
                Ok(permit) => {
                    let class = LoginClass::Monitor;
                    login::prepare_login(&context, &store, &logins, class, permit, until).await
                }
                Err(fault) => Err(fault),
            };
            let deadline = LoginDeadline::for_attempt(context.attempt_timeout);
            CompletedCheck::Login(login::log_in(&context, &logins, prepared, deadline).await)
        };
        let login = observe_phases(self.context.observe_checks(), login);
        self.login_task = Some(self.tasks.spawn(login.instrument(span)));
    }
}
