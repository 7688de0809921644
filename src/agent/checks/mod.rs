//! The checks of one connect attempt, which run concurrently. The monitor runs them separately.

mod login;
pub(super) mod permits;
mod preparation;
pub(super) mod running;
pub(super) mod worker;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::agent::login::StoreLogins;
use crate::agent::{AgentContext, faults};
use crate::common::run_blocking;
use crate::lifecycle;
use crate::lifecycle::{AttemptOutcome, MeasuredSpace};
use crate::model::{AttemptFailure, Fault, Store};
use crate::probe::{DirectoryInspection, ProbeExpectation, ProbeResult, marker_path};
use crate::ssh::{LoginClass, LoginDeadline, MarkerLocation, VerifiedLogin};
use preparation::PreparedAttempt;
use worker::{ProbeLimit, StoreWorker};

/// Time by which the login starts before the probe. The login takes longest. As far as the key
/// exchange, it and the new process of the server keep two processors busy. A worker process that
/// starts at the same time delays the attempt, and one that starts a little later does not.
///
/// `make bench` shows it as "reconnect over HTTP (password) beside a bare russh login"
/// (`benches/agent/login.rs`), measured on two processors. An attempt takes 1.12 times the login
/// without this time and the delay of the disconnect (`ssh/session/disconnect.rs`), and 1.07 to
/// 1.09 times with both.
const LOGIN_HEAD_START: Duration = Duration::from_millis(15);

/// Maximum time for the system to provide a thread. It takes less than a millisecond unless a limit
/// is reached or every thread is busy.
const THREAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The results of both checks of an attempt.
#[derive(Debug)]
pub(crate) struct CheckResults {
    pub(crate) probed: ProbeResult,
    pub(crate) login: LoginResult,
}

/// The result of a login, and its duration.
#[derive(Debug)]
pub(crate) struct LoginResult {
    pub(crate) verified: Result<VerifiedLogin, Fault>,
    pub(crate) took: Duration,
}

/// The findings of a successful attempt.
#[derive(Debug)]
pub(crate) struct VerifiedStore {
    pub(crate) examined: DirectoryInspection,
    pub(crate) verified: VerifiedLogin,
    /// The same findings, as the status machine takes them.
    pub(crate) outcome: AttemptOutcome,
}

impl CheckResults {
    /// Returns the findings if both checks succeeded.
    ///
    /// # Errors
    /// [`AttemptFailure`] with the fault of every failed check.
    pub(crate) fn into_verified(self) -> Result<VerifiedStore, AttemptFailure> {
        let outcome = AttemptOutcome::from(&self);
        match (self.probed.into_inspection(), self.login.verified) {
            (Ok(examined), Ok(verified)) => Ok(VerifiedStore { examined, verified, outcome }),
            (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(AttemptFailure::from_fault(fault)),
            (Err(storage), Err(ssh)) => {
                let failure = AttemptFailure::from_faults([storage.clone(), ssh]);
                Err(failure.unwrap_or_else(|| AttemptFailure::from_fault(storage)))
            }
        }
    }
}

// The status machine knows neither `probe` nor `ssh`. These conversions keep what it decides on.

impl From<&CheckResults> for AttemptOutcome {
    fn from(results: &CheckResults) -> Self {
        Self { probe: (&results.probed).into(), login: (&results.login).into() }
    }
}

impl From<&LoginResult> for lifecycle::LoginOutcome {
    fn from(login: &LoginResult) -> Self {
        let outcome = match &login.verified {
            Ok(verified) => Ok(verified.host_identity.clone()),
            Err(fault) => Err(fault.clone()),
        };
        Self { outcome, took: login.took }
    }
}

impl From<&ProbeResult> for lifecycle::ProbeOutcome {
    fn from(probed: &ProbeResult) -> Self {
        let examined = match &probed.inspection {
            Ok(examined) => {
                Ok(MeasuredSpace { capacity: examined.capacity, inodes: examined.inodes })
            }
            Err(fault) => Err(fault.clone()),
        };
        Self { examined, written: probed.write.clone(), took: probed.duration }
    }
}

/// Runs the login and, a moment later, the probe. Ends by `deadline`, which each check enforces for
/// itself.
///
/// Dropping the future stops the checks: the connection is closed and the worker killed.
pub(super) async fn run_attempt(
    context: &AgentContext,
    store: &Store,
    worker: &StoreWorker,
    logins: &StoreLogins,
    prepared: PreparedAttempt,
    deadline: LoginDeadline,
) -> CheckResults {
    let expectation = probe_expectation(store, context.policy.write_interval.is_some());
    let dir = &store.image_dir;
    let limit = ProbeLimit::Attempt(deadline.at());
    let probe = worker.probe(context, dir, prepared.worker, &expectation, limit);
    let probe = async {
        sleep(LOGIN_HEAD_START).await;
        probe.await
    };
    let login = async {
        match prepared.login {
            Some(login) => login::log_in(context, logins, Ok(login), deadline).await,
            // A worker is stuck. The attempt fails in any case, and its callers get the result
            // within the time of a probe. The preparation takes its time from that of the login.
            None => {
                let own = LoginDeadline::for_probe(context.probe_timeout);
                let deadline = if own.at() < deadline.at() { own } else { deadline };
                let login = async {
                    let permit = logins.acquire_for_attempt(deadline.at()).await?;
                    let class = LoginClass::Attempt;
                    login::prepare_login(context, store, logins, class, permit, deadline).await
                };
                login::log_in(context, logins, login.await, deadline).await
            }
        }
    };
    let (login, probed) = tokio::join!(login, probe);
    CheckResults { probed, login }
}

/// Checks that the system provides a thread for blocking work, such as a name lookup.
///
/// # Errors
/// `agent_busy` if it does not.
pub(crate) async fn check_thread(deadline: Instant) -> Result<(), Fault> {
    let deadline = deadline.min(Instant::now() + THREAD_TIMEOUT);
    run_blocking(deadline, || ()).await.map_err(|error| faults::no_thread(&error))
}

/// Returns the expected state of a directory that this daemon serves.
pub(super) fn probe_expectation(store: &Store, write: bool) -> ProbeExpectation {
    ProbeExpectation::Serve {
        store: store.uuid,
        marker: store.marker,
        place: store.mount.clone(),
        had_registry: store.had_registry,
        write,
    }
}

/// Returns the location of the marker on the host, if the SSH server is this node.
pub(crate) fn marker_location(store: &Store) -> MarkerLocation {
    MarkerLocation { path: marker_path(&store.image_dir), id: store.marker }
}
