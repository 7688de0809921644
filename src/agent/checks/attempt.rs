//! The checks of one connect attempt, side by side; the monitor runs each of them by itself.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::agent::login::limiter::{LoginPermit, StoreLogins};
use crate::agent::{AgentContext, faults};
use crate::lifecycle;
use crate::lifecycle::{AttemptOutcome, MeasuredSpace};
use crate::model::{AttemptFailure, Fault, ImageDir, Store};
use crate::probe::{DirectoryInspection, ProbeExpectation, ProbeResult, WorkerSlot, marker_path};
use crate::ssh::{LoginRequest, MarkerLocation, VerifiedLogin};

/// Time by which the login begins before the probe. The login takes longest, and as far as the key
/// exchange it and the server's new process keep two processors busy: a worker process that starts at
/// the same time delays the attempt, one that starts a little later does not.
///
/// `make bench` shows it as "reconnect over HTTP (password) beside a bare russh login"
/// (`benches/agent/login.rs`): on two processors, 1.12 times the login without this time and the delay
/// of the disconnect (`ssh/disconnect.rs`), 1.07 to 1.09 times with both.
const LOGIN_HEAD_START: Duration = Duration::from_millis(15);

/// What the checks of an attempt have found.
#[derive(Debug)]
pub(crate) struct CheckResults {
    pub(crate) probed: ProbeResult,
    pub(crate) login: LoginResult,
}

/// How a login went, and how long it took.
#[derive(Debug)]
pub(crate) struct LoginResult {
    pub(crate) verified: Result<VerifiedLogin, Fault>,
    pub(crate) took: Duration,
}

/// What a successful attempt has proven.
#[derive(Debug)]
pub(crate) struct VerifiedStore {
    pub(crate) examined: DirectoryInspection,
    pub(crate) verified: VerifiedLogin,
    /// The same, as the status machine takes it.
    pub(crate) outcome: AttemptOutcome,
}

impl CheckResults {
    /// What is proven, when nothing failed.
    ///
    /// # Errors
    /// Every check that failed.
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

// The status machine knows neither `probe` nor `ssh`: these conversions keep what it decides on.

impl From<&CheckResults> for AttemptOutcome {
    fn from(checked: &CheckResults) -> Self {
        Self { probe: (&checked.probed).into(), login: (&checked.login).into() }
    }
}

impl From<&LoginResult> for lifecycle::LoginOutcome {
    fn from(login: &LoginResult) -> Self {
        let outcome = match &login.verified {
            Ok(verified) => Ok(verified.proof.clone()),
            Err(fault) => Err(fault.clone()),
        };
        Self { outcome, took: login.took }
    }
}

impl From<&ProbeResult> for lifecycle::ProbeOutcome {
    fn from(probed: &ProbeResult) -> Self {
        let examined = match &probed.examined {
            Ok(examined) => {
                Ok(MeasuredSpace { capacity: examined.capacity, inodes: examined.inodes })
            }
            Err(fault) => Err(fault.clone()),
        };
        Self { examined, written: probed.written.clone(), took: probed.took }
    }
}

/// Logs in and, a moment later, probes beside it. Ends by `deadline`: each check is given it and keeps it.
///
/// Dropping the future stops the checks: the connection is closed and the worker killed.
pub(super) async fn run_attempt(
    context: &AgentContext,
    store: &Store,
    slot: &Mutex<WorkerSlot>,
    restraint: &StoreLogins,
    deadline: Instant,
) -> CheckResults {
    // Before the probe takes the slot.
    let patience = login_deadline(context, slot, deadline).await;
    let purpose = probe_expectation(store, context.policy.write_interval.is_some());
    let probe = run_probe(context, &store.image_dir, slot, &purpose, deadline);
    let probe = async {
        sleep(LOGIN_HEAD_START).await;
        probe.await
    };
    let turn = restraint.acquire_for_attempt(patience);
    let login = log_in(context, store, restraint, turn, patience);
    let (login, probed) = tokio::join!(login, probe);
    CheckResults { probed, login }
}

/// Until when to wait for the login: while a worker is stuck the attempt has failed already, and its
/// callers are told within the time of a probe.
async fn login_deadline(
    context: &AgentContext,
    slot: &Mutex<WorkerSlot>,
    deadline: Instant,
) -> Instant {
    // A probe is under way: nothing is stuck yet.
    let Ok(mut slot) = slot.try_lock() else { return deadline };
    // It may have gone since it was looked at last.
    slot.reap().await;
    match slot.stuck_worker() {
        Some(_) => deadline.min(Instant::now() + context.probe_deadline),
        None => deadline,
    }
}

/// What is expected of a directory that this daemon serves.
pub(super) fn probe_expectation(store: &Store, write: bool) -> ProbeExpectation {
    ProbeExpectation::Serve {
        store: store.uuid,
        marker: store.marker,
        place: store.mount.clone(),
        had_registry: store.had_registry,
        write,
    }
}

/// One probe, within the probe's own deadline and the caller's.
pub(crate) async fn run_probe(
    context: &AgentContext,
    dir: &ImageDir,
    slot: &Mutex<WorkerSlot>,
    purpose: &ProbeExpectation,
    deadline: Instant,
) -> ProbeResult {
    let begun = Instant::now();
    // Held by a probe of the monitor, which keeps its own deadline.
    let Ok(mut slot) = timeout_at(deadline, slot.lock()).await else {
        let took = begun.elapsed();
        let fault = faults::probe_overdue(dir, took);
        return ProbeResult { examined: Err(fault), written: None, took };
    };
    let deadline = deadline.min(Instant::now() + context.probe_deadline);
    context.prober.examine(&mut slot, dir, purpose, deadline).await
}

/// One login with the credentials of the ledger, in its `turn` among those of the store, unless the
/// server has refused them too often.
pub(super) async fn log_in(
    context: &AgentContext,
    store: &Store,
    restraint: &StoreLogins,
    turn: impl Future<Output = Result<LoginPermit<'_>, Fault>>,
    deadline: Instant,
) -> LoginResult {
    let begun = Instant::now();
    let failed = |fault| LoginResult { verified: Err(fault), took: begun.elapsed() };
    let _turn = match turn.await {
        Ok(turn) => turn,
        Err(fault) => return failed(fault),
    };
    let remembered = restraint.lock().cached_rejection(Instant::now());
    if let Some(fault) = remembered {
        return failed(fault);
    }
    let credentials = timeout_at(deadline, context.ledger.credentials(store.uuid)).await;
    let verified = match credentials.unwrap_or_else(|_| Err(faults::no_credentials())) {
        Ok(credentials) => {
            let login = LoginRequest {
                address: store.address.clone(),
                username: store.username.clone(),
                credentials,
                pinned: store.pinned_key.clone(),
                given_fingerprints: store.given_fingerprints.clone(),
                asked: restraint.lock().evidence_wanted(marker_location(store), Instant::now()),
            };
            context.verifier.verify(&login, deadline).await
        }
        Err(fault) => Err(fault),
    };
    restraint
        .lock()
        .record_outcome(verified.as_ref().map(|verified| &verified.proof), Instant::now());
    LoginResult { verified, took: begun.elapsed() }
}

/// Where the store's marker lies if the server is this node.
pub(crate) fn marker_location(store: &Store) -> MarkerLocation {
    MarkerLocation { path: marker_path(&store.image_dir), id: store.marker }
}
