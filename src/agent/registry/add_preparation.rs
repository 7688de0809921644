//! The preparation of an add: acquires all that it needs of the daemon, before it logs in and
//! before it touches the directory. If the daemon lacks something, nothing has changed.

use tokio::time::Instant;

use crate::agent::AgentContext;
use crate::agent::checks::check_thread;
use crate::agent::checks::permits::{SharedPermit, acquire_together};
use crate::agent::checks::worker::{PreparedWorker, StoreWorker};
use crate::agent::login::trial::TrialPermit;
use crate::model::{AddStore, Fault, ProcessId};
use crate::ssh::{
    EvidenceScope, LoginClass, LoginDeadline, LoginRequest, PreparedLogin, VerifiedLogin,
};

/// The workers of an add. Both are of one directory.
#[derive(Debug)]
pub(super) struct AddWorkers {
    /// Worker of the probe.
    pub(super) probe: StoreWorker,
    /// Worker that writes the marker, or removes what a failed add left. It is started before the
    /// probe, so that a daemon without a process cannot leave an add half done.
    pub(super) marker: StoreWorker,
}

impl AddWorkers {
    /// Returns the worker that cannot be killed, if there is one.
    pub(super) async fn stuck_worker(&self) -> Option<ProcessId> {
        let probe = self.probe.slot().lock().await.stuck_worker();
        probe.or(self.marker.slot().lock().await.stuck_worker())
    }
}

/// All that an add needs of the daemon. Dropping it releases everything.
#[derive(Debug)]
pub(super) struct PreparedAdd {
    /// `None` if the login cannot reach a server.
    trial: Option<TrialPermit>,
    /// The login, or the cached rejection that prevents it.
    login: Result<PreparedLogin, Fault>,
    pub(super) worker: PreparedWorker,
}

/// Acquires a thread, the permits of the login and of the worker, and starts both workers. Ends by
/// the deadline of an attempt.
///
/// # Errors
/// A fault of the daemon. A fault of the store is part of the prepared add.
pub(super) async fn prepare_add(
    context: &AgentContext,
    request: &AddStore,
    workers: &AddWorkers,
) -> Result<PreparedAdd, Fault> {
    let deadline = LoginDeadline::for_attempt(context.attempt_timeout);
    check_thread(deadline.at()).await?;
    let login = new_login(request);
    let resolved = context.verifier.resolve_login(login.clone(), deadline).await?;
    let trials = &context.trial_logins;
    let mut trial = trials.acquire(resolved.server(), &login, request.force, deadline.at()).await?;
    let rejection = trial.as_mut().and_then(|trial| trial.cached_rejection(Instant::now()));
    let login = rejection.map_or(Ok(resolved), Err);
    let acquire_server = async |until| match &login {
        Ok(resolved) => context.verifier.acquire_permit(resolved, LoginClass::Trial, until).await,
        Err(_) => Ok(None),
    };
    if workers.probe.is_stuck().await {
        let server_permit = acquire_server(deadline.at()).await?;
        let login = login.map(|resolved| resolved.with_permit(server_permit));
        return Ok(PreparedAdd { trial, login, worker: PreparedWorker::default() });
    }
    let (server_permit, worker_permit) = acquire_together(
        SharedPermit::Server,
        acquire_server,
        |until| workers.probe.acquire_permit(context, until),
        deadline.at(),
    )
    .await?;
    let dir = &request.image_dir;
    let worker = workers.probe.start(context, dir, worker_permit).await?;
    context.prober.prepare_worker(&mut *workers.marker.slot().lock().await, dir).await?;
    let login = login.map(|resolved| resolved.with_permit(server_permit));
    Ok(PreparedAdd { trial, login, worker })
}

fn new_login(request: &AddStore) -> LoginRequest {
    LoginRequest {
        address: request.address.clone(),
        username: request.username.clone(),
        credentials: request.credentials.clone(),
        pinned: None,
        given_fingerprints: request.given_fingerprints.clone(),
        // The probe runs at the same time, so the marker of the directory is not known yet.
        evidence: EvidenceScope::Full(None),
    }
}

impl PreparedAdd {
    /// Returns the worker of the probe, and the login that runs beside it. The login records its
    /// outcome.
    pub(super) fn start(
        self,
        context: &AgentContext,
        deadline: LoginDeadline,
    ) -> (PreparedWorker, impl Future<Output = Result<VerifiedLogin, Fault>>) {
        let Self { mut trial, login, worker } = self;
        // Boxed, because each of the futures around it holds a copy of it on the stack of a thread.
        let logging_in = Box::pin(async move {
            let outcome = context.verifier.verify(login?, deadline).await;
            if let Some(trial) = &mut trial {
                trial.record_outcome(context, outcome.as_ref().err()).await;
            }
            outcome
        });
        (worker, logging_in)
    }
}
