//! Limits the logins of one store. After repeated rejections of the credentials, the agent stops
//! logging in until the window expires. If opening SFTP starts another program (a forced command),
//! SFTP is not requested again for an hour.
//!
//! [`LoginHistory`] is pure: callers pass the time, and it neither sleeps nor performs I/O.

mod lockout;
pub(super) mod trial;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::agent::faults;
use crate::common::lock_unpoisoned;
use crate::model::{Fault, HostIdentity, RemoteMarker, UnverifiedHost};
use crate::ssh::{EvidenceWanted, MarkerLocation};
use lockout::LockoutGuard;

/// Time for which SFTP is not requested again after it started another program. One hour keeps such
/// programs rare.
const SFTP_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// Time for which the marker is not requested again after a read of it over SFTP timed out. Each
/// request may leave a process on the server that waits for the disk.
const MARKER_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// The outcomes of the logins of one store with one set of credentials.
#[derive(Debug, Default)]
pub(crate) struct LoginHistory {
    refused: LockoutGuard,
    /// The program that was started instead of SFTP, and when that was found.
    program: Option<(UnverifiedHost, Instant)>,
    /// The last time at which a request for the marker timed out.
    silent: Option<Instant>,
}

impl LoginHistory {
    /// Returns the last rejection of the server if no login is permitted now, or `None` if one is.
    pub(crate) fn cached_rejection(&mut self, now: Instant) -> Option<Fault> {
        self.refused.cached_rejection(now)
    }

    /// Returns the evidence that the next login is to request from the host.
    pub(crate) fn evidence_wanted(&self, marker: MarkerLocation, now: Instant) -> EvidenceWanted {
        match &self.program {
            Some((earlier, since)) if now.saturating_duration_since(*since) < SFTP_RETRY_DELAY => {
                EvidenceWanted::HostKeyOnly(earlier.clone())
            }
            _ => EvidenceWanted::Full(self.wanted_marker(marker, now)),
        }
    }

    /// Returns the marker to request, or `None` if a recent request for it timed out.
    pub(crate) fn wanted_marker(
        &self,
        marker: MarkerLocation,
        now: Instant,
    ) -> Option<MarkerLocation> {
        let hangs = |since| now.saturating_duration_since(since) < MARKER_RETRY_DELAY;
        Some(marker).filter(|_| !self.silent.is_some_and(hangs))
    }

    /// Records the outcome of a login.
    pub(crate) fn record_outcome(&mut self, outcome: Result<&HostIdentity, &Fault>, now: Instant) {
        self.refused.record_outcome(outcome.err(), now);
        let Ok(proof) = outcome else { return };
        if let HostIdentity::Verified { marker: Some(RemoteMarker::TimedOut), .. } = proof {
            self.silent = Some(now);
        }
        let met = self.program.take();
        if let HostIdentity::Unverified(unproven) = proof
            && unproven.obstacle.started_a_program()
        {
            // The same program, found again within the delay, does not extend the delay.
            let fresh = |since: Instant| now.saturating_duration_since(since) < SFTP_RETRY_DELAY;
            let same = met.filter(|(met, since)| met == unproven && fresh(*since));
            let since = same.map_or(now, |(_, since)| since);
            self.program = Some((unproven.clone(), since));
        }
    }

    /// Clears the recorded rejections and the program. A marker that timed out stays recorded,
    /// because the request of an operator does not repair a disk.
    pub(crate) fn reset(&mut self) {
        *self = Self { silent: self.silent, ..Self::default() };
    }
}

/// The logins of one store: those of attempts, of the monitor, and of an update in verification.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreLogins(Arc<StoreLoginsInner>);

#[derive(Debug, Default)]
struct StoreLoginsInner {
    restraint: Mutex<LoginHistory>,
    turn: tokio::sync::Mutex<()>,
    /// Notified when an attempt is about to log in.
    claims: Notify,
}

impl StoreLogins {
    pub(crate) fn lock(&self) -> MutexGuard<'_, LoginHistory> {
        lock_unpoisoned(&self.0.restraint)
    }

    /// Waits until no other login of the store is running.
    ///
    /// # Errors
    /// `agent_busy` if the other login did not end by `deadline`.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<LoginPermit<'_>, Fault> {
        timeout_at(deadline, self.0.turn.lock()).await.map_err(|_| faults::store_login_busy())
    }

    /// Acquires the permit as [`StoreLogins::acquire`] does, for an attempt. A trial login is
    /// preempted, because an attempt that fails disconnects the store.
    ///
    /// # Errors
    /// Those of [`StoreLogins::acquire`].
    pub(crate) async fn acquire_for_attempt(
        &self,
        deadline: Instant,
    ) -> Result<LoginPermit<'_>, Fault> {
        // The order matters: a trial login that starts later then queues behind this attempt.
        let claiming = async { self.0.claims.notify_waiters() };
        tokio::join!(biased; self.acquire(deadline), claiming).0
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
        let mut claimed = pin!(self.0.claims.notified());
        // Without this, a notification before the first poll would be lost.
        claimed.as_mut().enable();
        let _turn = self.acquire(deadline).await?;
        tokio::select! {
            biased;
            () = claimed => Err(faults::login_preempted()),
            tried = login => tried,
        }
    }
}

/// The permit for the only running login of a store. It is released when dropped.
pub(crate) type LoginPermit<'a> = tokio::sync::MutexGuard<'a, ()>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostEvidence, MarkerId, Obstacle, Reason};

    fn refused() -> Fault {
        Fault::new(Reason::CredentialsRefused, "root may not log in")
    }

    #[test]
    fn an_account_that_starts_a_program_is_not_made_to_again_until_somebody_insists() {
        let marker = || MarkerLocation { path: "/d".into(), id: MarkerId::from_u128(1) };
        let mut restraint = LoginHistory::default();
        let asked = |restraint: &LoginHistory| restraint.evidence_wanted(marker(), Instant::now());
        let unproven = |obstacle| UnverifiedHost { obstacle, details: "x".into() };
        for harmless in
            [Obstacle::NoSession, Obstacle::NoSftp, Obstacle::ConnectionLost, Obstacle::Unreadable]
        {
            restraint
                .record_outcome(Ok(&HostIdentity::Unverified(unproven(harmless))), Instant::now());
            assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())), "{harmless}");
        }
        let met = unproven(Obstacle::OtherProgram);
        restraint.record_outcome(Ok(&HostIdentity::Unverified(met.clone())), Instant::now());
        restraint.record_outcome(Err(&refused()), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::HostKeyOnly(met.clone()));
        restraint.record_outcome(Ok(&HostIdentity::Unverified(met.clone())), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::HostKeyOnly(met.clone()));
        // Met in the memory of it, it does not begin anew; met again after that, it does.
        let later = Instant::now() + SFTP_RETRY_DELAY;
        let again = EvidenceWanted::Full(Some(marker()));
        assert_eq!(restraint.evidence_wanted(marker(), later), again);
        restraint.record_outcome(Ok(&HostIdentity::Unverified(met.clone())), later);
        assert_eq!(
            restraint.evidence_wanted(marker(), later + SFTP_RETRY_DELAY / 2),
            EvidenceWanted::HostKeyOnly(met.clone())
        );
        assert_eq!(restraint.evidence_wanted(marker(), later + SFTP_RETRY_DELAY), again);
        restraint
            .record_outcome(Ok(&HostIdentity::verified_by(HostEvidence::HostKey)), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())));
        restraint.record_outcome(Ok(&HostIdentity::Unverified(met)), Instant::now());
        restraint.reset();
        assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())));
    }

    #[test]
    fn a_disk_that_hangs_is_asked_for_the_marker_once_an_hour_whoever_insists() {
        let marker = || MarkerLocation { path: "/d".into(), id: MarkerId::from_u128(1) };
        let (mut restraint, now) = (LoginHistory::default(), Instant::now());
        let silent = HostIdentity::Verified {
            evidence: HostEvidence::BootId,
            marker: Some(RemoteMarker::TimedOut),
        };
        restraint.record_outcome(Ok(&silent), now);
        restraint.record_outcome(Ok(&HostIdentity::verified_by(HostEvidence::BootId)), now);
        restraint.reset();
        let most = now + MARKER_RETRY_DELAY.saturating_sub(Duration::from_secs(1));
        assert_eq!(restraint.evidence_wanted(marker(), most), EvidenceWanted::Full(None));
        assert_eq!(
            restraint.evidence_wanted(marker(), now + MARKER_RETRY_DELAY),
            EvidenceWanted::Full(Some(marker()))
        );
    }
}
