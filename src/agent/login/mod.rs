//! Limits the logins of one store. After repeated rejections of the credentials, the agent stops
//! logging in until the window expires. If opening SFTP starts another program (a forced command),
//! SFTP is not requested again for an hour.
//!
//! [`LoginHistory`] is pure: callers pass the time, and it neither sleeps nor performs I/O.

mod lockout;
pub(super) mod secret_scope;
pub(super) mod trial;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use crate::agent::{AgentContext, faults};
use crate::common::{Timestamp, lock_unpoisoned};
use crate::ledger::LedgerChange;
use crate::model::{Fault, HostIdentity, LoginRejections, RemoteMarker, StoreUuid, UnverifiedHost};
use crate::ssh::{EvidenceScope, MarkerLocation};
use lockout::LockoutGuard;

/// Time for which SFTP is not requested again after it started another program. At most one such
/// program then starts per hour.
const SFTP_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// Time for which the marker is not requested again after a read of it over SFTP timed out. Each
/// request may leave a process on the server that waits for the disk.
const MARKER_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// Maximum wait for the commit of rejections. A commit takes milliseconds, and 2 s keep the answer
/// of an attempt within its grace.
const SAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcomes of the logins of one store with one set of credentials.
#[derive(Debug, Default)]
pub(crate) struct LoginHistory {
    lockout: LockoutGuard,
    /// True if the ledger does not have the recorded rejections.
    is_unsaved: bool,
    /// The program that was started instead of SFTP, and when that was found.
    other_program: Option<(UnverifiedHost, Instant)>,
    /// The last time at which a request for the marker timed out.
    marker_timed_out_at: Option<Instant>,
}

impl LoginHistory {
    /// Returns the last rejection of the server if no login is permitted now, or `None` if one is.
    pub(crate) fn cached_rejection(&mut self, now: Instant) -> Option<Fault> {
        self.lockout.cached_rejection(now)
    }

    /// Returns the last rejection of the server if no login that only a caller wants is permitted
    /// now, or `None` if one is.
    pub(crate) fn reserved_rejection(&mut self, now: Instant) -> Option<Fault> {
        self.lockout.reserved_rejection(now)
    }

    /// Returns the number of logins that the server may still reject before logins are suspended.
    pub(crate) fn rejections_left(&self, now: Instant) -> usize {
        self.lockout.rejections_left(now)
    }

    /// Returns the evidence that the next login is to request from the host.
    pub(crate) fn evidence_wanted(&self, marker: MarkerLocation, now: Instant) -> EvidenceScope {
        match &self.other_program {
            Some((earlier, since)) if now.saturating_duration_since(*since) < SFTP_RETRY_DELAY => {
                EvidenceScope::HostKeyOnly(earlier.clone())
            }
            _ => EvidenceScope::Full(self.marker_to_request(marker, now)),
        }
    }

    /// Returns the marker to request, or `None` if a recent request for it timed out.
    pub(crate) fn marker_to_request(
        &self,
        marker: MarkerLocation,
        now: Instant,
    ) -> Option<MarkerLocation> {
        let is_recent = |since| now.saturating_duration_since(since) < MARKER_RETRY_DELAY;
        Some(marker).filter(|_| !self.marker_timed_out_at.is_some_and(is_recent))
    }

    /// Records the outcome of a login.
    pub(crate) fn record_outcome(&mut self, outcome: Result<&HostIdentity, &Fault>, now: Instant) {
        let before = self.lockout.rejection_count();
        self.lockout.record_outcome(outcome.err(), now);
        self.is_unsaved |= self.lockout.rejection_count() != before;
        let Ok(proof) = outcome else { return };
        if let HostIdentity::Verified { marker: Some(RemoteMarker::TimedOut), .. } = proof {
            self.marker_timed_out_at = Some(now);
        }
        let earlier = self.other_program.take();
        if let HostIdentity::Unverified(unproven) = proof
            && unproven.obstacle.started_a_program()
        {
            // The same program, found again within the delay, does not extend the delay.
            let is_recent =
                |since: Instant| now.saturating_duration_since(since) < SFTP_RETRY_DELAY;
            let same = earlier.filter(|(earlier, since)| earlier == unproven && is_recent(*since));
            let since = same.map_or(now, |(_, since)| since);
            self.other_program = Some((unproven.clone(), since));
        }
    }

    /// Clears the recorded rejections and the program. A marker that timed out stays recorded,
    /// because the request of an operator does not repair a disk.
    pub(crate) fn reset(&mut self) {
        let is_unsaved = self.is_unsaved || self.lockout.rejection_count() > 0;
        let marker_timed_out_at = self.marker_timed_out_at;
        *self = Self { is_unsaved, marker_timed_out_at, ..Self::default() };
    }

    /// Returns the rejections that the ledger is to have, or `None` if it has them.
    fn take_unsaved(&mut self, wall: Timestamp, now: Instant) -> Option<Option<LoginRejections>> {
        std::mem::take(&mut self.is_unsaved).then(|| self.lockout.to_rejections(wall, now))
    }
}

/// The logins of one store: those of attempts, of the monitor, and of an update in verification.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreLogins(Arc<StoreLoginsInner>);

#[derive(Debug, Default)]
struct StoreLoginsInner {
    history: Mutex<LoginHistory>,
    permit: Arc<tokio::sync::Mutex<()>>,
    /// Notified when an attempt is about to log in.
    attempt_claims: Notify,
}

impl StoreLogins {
    /// Restores the rejections of an earlier run of the daemon.
    pub(crate) fn restored(rejections: Option<LoginRejections>, wall: Timestamp) -> Self {
        let lockout = LockoutGuard::restore(rejections, wall, Instant::now());
        let history = Mutex::new(LoginHistory { lockout, ..LoginHistory::default() });
        Self(Arc::new(StoreLoginsInner { history, ..StoreLoginsInner::default() }))
    }

    /// Makes the rejections durable if they have changed. A login that succeeds without an earlier
    /// rejection costs no commit. The caller holds the permit, so that no other login changes them.
    ///
    /// A state disk that hangs delays the caller by at most [`SAVE_TIMEOUT`]. The rejections then
    /// count in this run of the daemon, and the next login tries again.
    pub(crate) async fn save_rejections(&self, context: &AgentContext, store: StoreUuid) {
        let unsaved = self.lock().take_unsaved(context.daemon.clock.now(), Instant::now());
        let Some(rejections) = unsaved else { return };
        let change = LedgerChange::new().save_rejections(store, rejections);
        let saved = timeout(SAVE_TIMEOUT, context.daemon.ledger.commit(change)).await;
        if !matches!(saved, Ok(Ok(()))) {
            self.lock().is_unsaved = true;
            warn!("rejected logins not saved");
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LoginHistory> {
        lock_unpoisoned(&self.0.history)
    }

    /// Waits until no other login of the store is running.
    ///
    /// # Errors
    /// `agent_busy` if the other login did not end by `deadline`.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<LoginPermit, Fault> {
        let permit = Arc::clone(&self.0.permit).lock_owned();
        timeout_at(deadline, permit).await.map_err(|_| faults::store_login_busy())
    }

    /// Acquires the permit as [`StoreLogins::acquire`] does, for an attempt. A trial login is
    /// preempted, because an attempt that fails disconnects the store.
    ///
    /// # Errors
    /// Those of [`StoreLogins::acquire`].
    pub(crate) async fn acquire_for_attempt(
        &self,
        deadline: Instant,
    ) -> Result<LoginPermit, Fault> {
        // The order matters: a trial login that starts later then queues behind this attempt.
        let claim = async { self.0.attempt_claims.notify_waiters() };
        tokio::join!(biased; self.acquire(deadline), claim).0
    }

    /// Runs a trial login while it holds the permit. An attempt that wants to log in preempts it.
    ///
    /// # Errors
    /// Those of the login. `agent_busy` if there was no permit by `deadline`, or an attempt
    /// preempted the login.
    pub(crate) async fn run_preemptible<T>(
        &self,
        deadline: Instant,
        login: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut attempt_claim = pin!(self.0.attempt_claims.notified());
        // Without this, a notification before the first poll would be lost.
        attempt_claim.as_mut().enable();
        let _permit = self.acquire(deadline).await?;
        tokio::select! {
            biased;
            () = attempt_claim => Err(faults::login_preempted()),
            result = login => result,
        }
    }
}

/// The permit for the only running login of a store. It is released when dropped.
pub(crate) type LoginPermit = tokio::sync::OwnedMutexGuard<()>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostEvidence, MarkerId, Obstacle, Reason};

    fn rejection() -> Fault {
        Fault::new(Reason::CredentialsRefused, "root may not log in")
    }

    #[test]
    fn an_account_that_starts_a_program_starts_it_again_only_by_force() {
        let marker = || MarkerLocation { path: "/d".into(), id: MarkerId::from_u128(1) };
        let mut history = LoginHistory::default();
        let wanted = |history: &LoginHistory| history.evidence_wanted(marker(), Instant::now());
        let unproven = |obstacle| UnverifiedHost { obstacle, details: "x".into() };
        for harmless in
            [Obstacle::NoSession, Obstacle::NoSftp, Obstacle::ConnectionLost, Obstacle::Unreadable]
        {
            history
                .record_outcome(Ok(&HostIdentity::Unverified(unproven(harmless))), Instant::now());
            assert_eq!(wanted(&history), EvidenceScope::Full(Some(marker())), "{harmless}");
        }
        let earlier = unproven(Obstacle::OtherProgram);
        history.record_outcome(Ok(&HostIdentity::Unverified(earlier.clone())), Instant::now());
        history.record_outcome(Err(&rejection()), Instant::now());
        assert_eq!(wanted(&history), EvidenceScope::HostKeyOnly(earlier.clone()));
        history.record_outcome(Ok(&HostIdentity::Unverified(earlier.clone())), Instant::now());
        assert_eq!(wanted(&history), EvidenceScope::HostKeyOnly(earlier.clone()));
        // Found again within the delay, the program does not extend the delay; after it, it does.
        let later = Instant::now() + SFTP_RETRY_DELAY;
        let again = EvidenceScope::Full(Some(marker()));
        assert_eq!(history.evidence_wanted(marker(), later), again);
        history.record_outcome(Ok(&HostIdentity::Unverified(earlier.clone())), later);
        assert_eq!(
            history.evidence_wanted(marker(), later + SFTP_RETRY_DELAY / 2),
            EvidenceScope::HostKeyOnly(earlier.clone())
        );
        assert_eq!(history.evidence_wanted(marker(), later + SFTP_RETRY_DELAY), again);
        history
            .record_outcome(Ok(&HostIdentity::verified_by(HostEvidence::HostKey)), Instant::now());
        assert_eq!(wanted(&history), EvidenceScope::Full(Some(marker())));
        history.record_outcome(Ok(&HostIdentity::Unverified(earlier)), Instant::now());
        history.reset();
        assert_eq!(wanted(&history), EvidenceScope::Full(Some(marker())));
    }

    #[test]
    fn a_disk_that_hangs_is_asked_for_the_marker_once_an_hour_whoever_insists() {
        let marker = || MarkerLocation { path: "/d".into(), id: MarkerId::from_u128(1) };
        let (mut history, now) = (LoginHistory::default(), Instant::now());
        let timed_out = HostIdentity::Verified {
            evidence: HostEvidence::BootId,
            marker: Some(RemoteMarker::TimedOut),
        };
        history.record_outcome(Ok(&timed_out), now);
        history.record_outcome(Ok(&HostIdentity::verified_by(HostEvidence::BootId)), now);
        history.reset();
        let most = now + MARKER_RETRY_DELAY.saturating_sub(Duration::from_secs(1));
        assert_eq!(history.evidence_wanted(marker(), most), EvidenceScope::Full(None));
        assert_eq!(
            history.evidence_wanted(marker(), now + MARKER_RETRY_DELAY),
            EvidenceScope::Full(Some(marker()))
        );
    }
}
