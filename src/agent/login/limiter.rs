//! Not to be the one who does harm: after refused logins, the server is not asked again for a while; and
//! an account that starts a program of its own in the place of SFTP is not made to do so time and again.
//! [`LoginHistory`] is pure: told the time, it sleeps and asks nobody.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::lockout::LockoutGuard;
use crate::agent::faults;
use crate::common::lock_unpoisoned;
use crate::model::{Fault, HostIdentity, RemoteMarker, UnverifiedHost};
use crate::ssh::{EvidenceWanted, MarkerLocation};

/// How long an account that starts a program in the place of SFTP is not made to again.
const SFTP_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// How long a disk that did not give the marker over SFTP is not asked for it again: each time may leave
/// a process of the server's behind that waits for it.
const MARKER_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// What logins of one store with one set of credentials have met.
#[derive(Debug, Default)]
pub(crate) struct LoginHistory {
    refused: LockoutGuard,
    /// What was met in the place of SFTP, and when.
    program: Option<(UnverifiedHost, Instant)>,
    /// When the marker was last asked for in vain.
    silent: Option<Instant>,
}

impl LoginHistory {
    /// The server's last refusal, in the place of a login that is not to be made now.
    pub(crate) fn cached_rejection(&mut self, now: Instant) -> Option<Fault> {
        self.refused.cached_rejection(now)
    }

    /// What the next login asks of the host.
    pub(crate) fn evidence_wanted(&self, marker: MarkerLocation, now: Instant) -> EvidenceWanted {
        match &self.program {
            Some((earlier, since)) if now.saturating_duration_since(*since) < SFTP_RETRY_DELAY => {
                EvidenceWanted::HostKeyOnly(earlier.clone())
            }
            _ => EvidenceWanted::Full(self.wanted_marker(marker, now)),
        }
    }

    /// The marker, unless it was asked for in vain lately.
    pub(crate) fn wanted_marker(
        &self,
        marker: MarkerLocation,
        now: Instant,
    ) -> Option<MarkerLocation> {
        let hangs = |since| now.saturating_duration_since(since) < MARKER_RETRY_DELAY;
        Some(marker).filter(|_| !self.silent.is_some_and(hangs))
    }

    /// A login has ended.
    pub(crate) fn record_outcome(&mut self, outcome: Result<&HostIdentity, &Fault>, now: Instant) {
        self.refused.record_outcome(outcome.err(), now);
        let Ok(proof) = outcome else { return };
        if let HostIdentity::Shown { marker: Some(RemoteMarker::TimedOut), .. } = proof {
            self.silent = Some(now);
        }
        let met = self.program.take();
        if let HostIdentity::Unavailable(unproven) = proof
            && unproven.obstacle.started_a_program()
        {
            // Met again in the memory of it, it is as old as it was.
            let fresh = |since: Instant| now.saturating_duration_since(since) < SFTP_RETRY_DELAY;
            let same = met.filter(|(met, since)| met == unproven && fresh(*since));
            let since = same.map_or(now, |(_, since)| since);
            self.program = Some((unproven.clone(), since));
        }
    }

    /// Somebody says that it will be different now; no disk is the better for it.
    pub(crate) fn reset(&mut self) {
        *self = Self { silent: self.silent, ..Self::default() };
    }
}

/// The logins of one store: an attempt's, the monitor's, and that of an update which is being proven.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreLogins(Arc<StoreLoginsInner>);

#[derive(Debug, Default)]
struct StoreLoginsInner {
    restraint: Mutex<LoginHistory>,
    turn: tokio::sync::Mutex<()>,
    /// Told when an attempt is to log in.
    claims: Notify,
}

impl StoreLogins {
    pub(crate) fn lock(&self) -> MutexGuard<'_, LoginHistory> {
        lock_unpoisoned(&self.0.restraint)
    }

    /// Waits until no other login of the store is under way.
    ///
    /// # Errors
    /// `agent_busy`: the other one did not end by `deadline`.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<LoginPermit<'_>, Fault> {
        timeout_at(deadline, self.0.turn.lock()).await.map_err(|_| faults::store_login_busy())
    }

    /// As [`StoreLogins::acquire`], for an attempt: a login that only tries something out gives way to it, for
    /// what an attempt misses disconnects the store.
    ///
    /// # Errors
    /// Those of [`StoreLogins::acquire`].
    pub(crate) async fn acquire_for_attempt(
        &self,
        deadline: Instant,
    ) -> Result<LoginPermit<'_>, Fault> {
        // In this order: who begins to try something out after that has its place behind this one.
        let claiming = async { self.0.claims.notify_waiters() };
        tokio::join!(biased; self.acquire(deadline), claiming).0
    }

    /// Tries something out in its turn, until an attempt wants to log in.
    ///
    /// # Errors
    /// Those of the login; `agent_busy` when it had no turn by `deadline`, or had to give way.
    pub(crate) async fn run_preemptible<T>(
        &self,
        deadline: Instant,
        login: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut claimed = pin!(self.0.claims.notified());
        // From here on, not from the first look at it.
        claimed.as_mut().enable();
        let _turn = self.acquire(deadline).await?;
        tokio::select! {
            biased;
            () = claimed => Err(faults::login_preempted()),
            tried = login => tried,
        }
    }
}

/// The one login of a store that is under way; over when dropped.
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
            [Obstacle::NoSession, Obstacle::NoSftp, Obstacle::BrokeOff, Obstacle::Unreadable]
        {
            restraint
                .record_outcome(Ok(&HostIdentity::Unavailable(unproven(harmless))), Instant::now());
            assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())), "{harmless}");
        }
        let met = unproven(Obstacle::OtherProgram);
        restraint.record_outcome(Ok(&HostIdentity::Unavailable(met.clone())), Instant::now());
        restraint.record_outcome(Err(&refused()), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::HostKeyOnly(met.clone()));
        restraint.record_outcome(Ok(&HostIdentity::Unavailable(met.clone())), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::HostKeyOnly(met.clone()));
        // Met in the memory of it, it does not begin anew; met again after that, it does.
        let later = Instant::now() + SFTP_RETRY_DELAY;
        let again = EvidenceWanted::Full(Some(marker()));
        assert_eq!(restraint.evidence_wanted(marker(), later), again);
        restraint.record_outcome(Ok(&HostIdentity::Unavailable(met.clone())), later);
        assert_eq!(
            restraint.evidence_wanted(marker(), later + SFTP_RETRY_DELAY / 2),
            EvidenceWanted::HostKeyOnly(met.clone())
        );
        assert_eq!(restraint.evidence_wanted(marker(), later + SFTP_RETRY_DELAY), again);
        restraint
            .record_outcome(Ok(&HostIdentity::newly_shown(HostEvidence::HostKey)), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())));
        restraint.record_outcome(Ok(&HostIdentity::Unavailable(met)), Instant::now());
        restraint.reset();
        assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())));
    }

    #[test]
    fn a_disk_that_hangs_is_asked_for_the_marker_once_an_hour_whoever_insists() {
        let marker = || MarkerLocation { path: "/d".into(), id: MarkerId::from_u128(1) };
        let (mut restraint, now) = (LoginHistory::default(), Instant::now());
        let silent =
            HostIdentity::Shown { by: HostEvidence::BootId, marker: Some(RemoteMarker::TimedOut) };
        restraint.record_outcome(Ok(&silent), now);
        restraint.record_outcome(Ok(&HostIdentity::newly_shown(HostEvidence::BootId)), now);
        restraint.reset();
        let most = now + MARKER_RETRY_DELAY.saturating_sub(Duration::from_secs(1));
        assert_eq!(restraint.evidence_wanted(marker(), most), EvidenceWanted::Full(None));
        assert_eq!(
            restraint.evidence_wanted(marker(), now + MARKER_RETRY_DELAY),
            EvidenceWanted::Full(Some(marker()))
        );
    }
}
