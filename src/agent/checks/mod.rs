//! The checks of one connect attempt, which run concurrently. The monitor runs them separately.

pub(super) mod running;

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::agent::login::{LoginPermit, StoreLogins};
use crate::agent::{AgentContext, faults};
use crate::lifecycle;
use crate::lifecycle::{AttemptOutcome, MeasuredSpace};
use crate::model::{AttemptFailure, Fault, ImageDir, Store};
use crate::probe::{DirectoryInspection, ProbeExpectation, ProbeResult, WorkerSlot, marker_path};
use crate::ssh::{LoginClass, LoginRequest, MarkerLocation, VerifiedLogin};

/// Time by which the login starts before the probe. The login takes longest. As far as the key
/// exchange, it and the new process of the server keep two processors busy. A worker process that
/// starts at the same time delays the attempt, and one that starts a little later does not.
///
/// `make bench` shows it as "reconnect over HTTP (password) beside a bare russh login"
/// (`benches/agent/login.rs`), measured on two processors. An attempt takes 1.12 times the login
/// without this time and the delay of the disconnect (`ssh/session/disconnect.rs`), and 1.07 to 1.09 times
/// with both.
const LOGIN_HEAD_START: Duration = Duration::from_millis(15);

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
    slot: &Mutex<WorkerSlot>,
    logins: &StoreLogins,
    deadline: Instant,
) -> CheckResults {
    // This must precede the probe, which takes the slot.
    let login_deadline = deadline_of_login(context, slot, deadline).await;
    let expectation = probe_expectation(store, context.policy.write_interval.is_some());
    let probe = run_probe(context, &store.image_dir, slot, &expectation, deadline);
    let probe = async {
        sleep(LOGIN_HEAD_START).await;
        probe.await
    };
    let permit = logins.acquire_for_attempt(login_deadline);
    let login = log_in(context, store, logins, LoginClass::Attempt, permit, login_deadline);
    let (login, probed) = tokio::join!(login, probe);
    CheckResults { probed, login }
}

/// Returns the deadline of the login. If a worker is stuck, the attempt fails in any case. Its
/// callers then get the result within the time of a probe.
async fn deadline_of_login(
    context: &AgentContext,
    slot: &Mutex<WorkerSlot>,
    deadline: Instant,
) -> Instant {
    // A probe is running, so no worker is known to be stuck.
    let Ok(mut slot) = slot.try_lock() else { return deadline };
    // The worker may have exited since the last check.
    slot.reap().await;
    match slot.stuck_worker() {
        Some(_) => deadline.min(Instant::now() + context.probe_timeout),
        None => deadline,
    }
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

/// Runs one probe. Ends by `deadline` and within the deadline of a probe.
pub(crate) async fn run_probe(
    context: &AgentContext,
    dir: &ImageDir,
    slot: &Mutex<WorkerSlot>,
    expectation: &ProbeExpectation,
    deadline: Instant,
) -> ProbeResult {
    let started_at = Instant::now();
    // A probe of the monitor holds the slot, and keeps its own deadline.
    let Ok(mut slot) = timeout_at(deadline, slot.lock()).await else {
        let took = started_at.elapsed();
        let fault = faults::probe_overdue(dir, took);
        return ProbeResult { inspection: Err(fault), write: None, duration: took };
    };
    let deadline = deadline.min(Instant::now() + context.probe_timeout);
    context.prober.examine(&mut slot, dir, expectation, deadline).await
}

/// Logs in once with the credentials of the ledger, as soon as `permit` yields the permit. Returns
/// the cached rejection if the server has rejected the credentials too often.
pub(super) async fn log_in(
    context: &AgentContext,
    store: &Store,
    logins: &StoreLogins,
    class: LoginClass,
    permit: impl Future<Output = Result<LoginPermit<'_>, Fault>>,
    deadline: Instant,
) -> LoginResult {
    let started_at = Instant::now();
    let failed = |fault| LoginResult { verified: Err(fault), took: started_at.elapsed() };
    let _permit = match permit.await {
        Ok(permit) => permit,
        Err(fault) => return failed(fault),
    };
    let rejection = logins.lock().cached_rejection(Instant::now());
    if let Some(fault) = rejection {
        return failed(fault);
    }
    let credentials = timeout_at(deadline, context.daemon.ledger.credentials(store.uuid)).await;
    let verified = match credentials.unwrap_or_else(|_| Err(faults::no_credentials())) {
        Ok(credentials) => {
            let login = LoginRequest {
                address: store.address.clone(),
                username: store.username.clone(),
                credentials,
                pinned: store.pinned_key.clone(),
                given_fingerprints: store.given_fingerprints.clone(),
                evidence: logins.lock().evidence_wanted(marker_location(store), Instant::now()),
            };
            match context.verifier.prepare_login(login, class, deadline).await {
                Ok(prepared) => context.verifier.verify(prepared, deadline).await,
                Err(fault) => Err(fault),
            }
        }
        Err(fault) => Err(fault),
    };
    logins
        .lock()
        .record_outcome(verified.as_ref().map(|verified| &verified.host_identity), Instant::now());
    LoginResult { verified, took: started_at.elapsed() }
}

/// Returns the location of the marker on the host, if the SSH server is this node.
pub(crate) fn marker_location(store: &Store) -> MarkerLocation {
    MarkerLocation { path: marker_path(&store.image_dir), id: store.marker }
}
