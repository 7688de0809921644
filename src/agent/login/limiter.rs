//! Not to be the one who does harm: after refused logins, the server is not asked again for a while; and
//! an account that starts a program of its own in the place of SFTP is not made to do so time and again.
//! [`Restraint`] is pure: told the time, it sleeps and asks nobody.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::lockout::Refused;
use crate::agent::faults;
use crate::common::lock_unpoisoned;
use crate::model::{Fault, HostIdentity, RemoteMarker, UnverifiedHost};
use crate::ssh::{EvidenceWanted, MarkerLocation};

/// How long an account that starts a program in the place of SFTP is not made to again.
const PROGRAM: Duration = Duration::from_secs(60 * 60);

/// How long a disk that did not give the marker over SFTP is not asked for it again: each time may leave
/// a process of the server's behind that waits for it.
const HANGS: Duration = Duration::from_secs(60 * 60);

/// What logins of one store with one set of credentials have met.
#[derive(Debug, Default)]
pub(crate) struct Restraint {
    refused: Refused,
    /// What was met in the place of SFTP, and when.
    program: Option<(UnverifiedHost, Instant)>,
    /// When the marker was last asked for in vain.
    silent: Option<Instant>,
}

impl Restraint {
    /// The server's last refusal, in the place of a login that is not to be made now.
    pub(crate) fn remembered(&mut self, now: Instant) -> Option<Fault> {
        self.refused.remembered(now)
    }

    /// What the next login asks of the host.
    pub(crate) fn asked(&self, marker: MarkerLocation, now: Instant) -> EvidenceWanted {
        match &self.program {
            Some((earlier, since)) if now.saturating_duration_since(*since) < PROGRAM => {
                EvidenceWanted::HostKeyOnly(earlier.clone())
            }
            _ => EvidenceWanted::Full(self.marker(marker, now)),
        }
    }

    /// The marker, unless it was asked for in vain lately.
    pub(crate) fn marker(&self, marker: MarkerLocation, now: Instant) -> Option<MarkerLocation> {
        let hangs = |since| now.saturating_duration_since(since) < HANGS;
        Some(marker).filter(|_| !self.silent.is_some_and(hangs))
    }

    /// A login has ended.
    pub(crate) fn ended(&mut self, outcome: Result<&HostIdentity, &Fault>, now: Instant) {
        self.refused.ended(outcome.err(), now);
        let Ok(proof) = outcome else { return };
        if let HostIdentity::Shown { marker: Some(RemoteMarker::TimedOut), .. } = proof {
            self.silent = Some(now);
        }
        let met = self.program.take();
        if let HostIdentity::Unavailable(unproven) = proof
            && unproven.obstacle.started_a_program()
        {
            // Met again in the memory of it, it is as old as it was.
            let fresh = |since: Instant| now.saturating_duration_since(since) < PROGRAM;
            let same = met.filter(|(met, since)| met == unproven && fresh(*since));
            let since = same.map_or(now, |(_, since)| since);
            self.program = Some((unproven.clone(), since));
        }
    }

    /// Somebody says that it will be different now; no disk is the better for it.
    pub(crate) fn forget(&mut self) {
        *self = Self { silent: self.silent, ..Self::default() };
    }
}

/// The logins of one store: an attempt's, the monitor's, and that of an update which is being proven.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restrained(Arc<Logins>);

#[derive(Debug, Default)]
struct Logins {
    restraint: Mutex<Restraint>,
    turn: tokio::sync::Mutex<()>,
    /// Told when an attempt is to log in.
    claims: Notify,
}

impl Restrained {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Restraint> {
        lock_unpoisoned(&self.0.restraint)
    }

    /// Waits until no other login of the store is under way.
    ///
    /// # Errors
    /// `agent_busy`: the other one did not end by `deadline`.
    pub(crate) async fn turn(&self, deadline: Instant) -> Result<Turn<'_>, Fault> {
        timeout_at(deadline, self.0.turn.lock()).await.map_err(|_| faults::store_login_busy())
    }

    /// As [`Restrained::turn`], for an attempt: a login that only tries something out gives way to it, for
    /// what an attempt misses disconnects the store.
    ///
    /// # Errors
    /// Those of [`Restrained::turn`].
    pub(crate) async fn claim(&self, deadline: Instant) -> Result<Turn<'_>, Fault> {
        // In this order: who begins to try something out after that has its place behind this one.
        let claiming = async { self.0.claims.notify_waiters() };
        tokio::join!(biased; self.turn(deadline), claiming).0
    }

    /// Tries something out in its turn, until an attempt wants to log in.
    ///
    /// # Errors
    /// Those of the login; `agent_busy` when it had no turn by `deadline`, or had to give way.
    pub(crate) async fn try_out<T>(
        &self,
        deadline: Instant,
        login: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut claimed = pin!(self.0.claims.notified());
        // From here on, not from the first look at it.
        claimed.as_mut().enable();
        let _turn = self.turn(deadline).await?;
        tokio::select! {
            biased;
            () = claimed => Err(faults::login_preempted()),
            tried = login => tried,
        }
    }
}

/// The one login of a store that is under way; over when dropped.
pub(crate) type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

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
        let mut restraint = Restraint::default();
        let asked = |restraint: &Restraint| restraint.asked(marker(), Instant::now());
        let unproven = |obstacle| UnverifiedHost { obstacle, details: "x".into() };
        for harmless in
            [Obstacle::NoSession, Obstacle::NoSftp, Obstacle::BrokeOff, Obstacle::Unreadable]
        {
            restraint.ended(Ok(&HostIdentity::Unavailable(unproven(harmless))), Instant::now());
            assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())), "{harmless}");
        }
        let met = unproven(Obstacle::OtherProgram);
        restraint.ended(Ok(&HostIdentity::Unavailable(met.clone())), Instant::now());
        restraint.ended(Err(&refused()), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::HostKeyOnly(met.clone()));
        restraint.ended(Ok(&HostIdentity::Unavailable(met.clone())), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::HostKeyOnly(met.clone()));
        // Met in the memory of it, it does not begin anew; met again after that, it does.
        let later = Instant::now() + PROGRAM;
        let again = EvidenceWanted::Full(Some(marker()));
        assert_eq!(restraint.asked(marker(), later), again);
        restraint.ended(Ok(&HostIdentity::Unavailable(met.clone())), later);
        assert_eq!(
            restraint.asked(marker(), later + PROGRAM / 2),
            EvidenceWanted::HostKeyOnly(met.clone())
        );
        assert_eq!(restraint.asked(marker(), later + PROGRAM), again);
        restraint.ended(Ok(&HostIdentity::newly_shown(HostEvidence::HostKey)), Instant::now());
        assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())));
        restraint.ended(Ok(&HostIdentity::Unavailable(met)), Instant::now());
        restraint.forget();
        assert_eq!(asked(&restraint), EvidenceWanted::Full(Some(marker())));
    }

    #[test]
    fn a_disk_that_hangs_is_asked_for_the_marker_once_an_hour_whoever_insists() {
        let marker = || MarkerLocation { path: "/d".into(), id: MarkerId::from_u128(1) };
        let (mut restraint, now) = (Restraint::default(), Instant::now());
        let silent =
            HostIdentity::Shown { by: HostEvidence::BootId, marker: Some(RemoteMarker::TimedOut) };
        restraint.ended(Ok(&silent), now);
        restraint.ended(Ok(&HostIdentity::newly_shown(HostEvidence::BootId)), now);
        restraint.forget();
        let most = now + HANGS.saturating_sub(Duration::from_secs(1));
        assert_eq!(restraint.asked(marker(), most), EvidenceWanted::Full(None));
        assert_eq!(restraint.asked(marker(), now + HANGS), EvidenceWanted::Full(Some(marker())));
    }
}
