//! Counts the rejections of one login, and suspends further logins after too many. Pure: callers
//! pass the time, and nothing here sleeps or performs I/O.
//!
//! By default, `pam_faillock(8)` locks an account at the third failure within 15 minutes, and
//! `PerSourcePenalties` of sshd (`sshd_config(5)`, OpenSSH 9.8 and later) block a source address
//! that fails too often.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::common::Timestamp;
use crate::model::{Fault, LoginRejections, Remedy};

/// Maximum number of rejected logins within [`REJECTION_WINDOW`]. Three is the default `deny` of
/// `faillock.conf(5)`: the third failure may lock the account, and the daemon causes no further
/// one.
const MAX_REJECTIONS: usize = 3;
/// Time for which a rejection counts. 15 min is the default `fail_interval` of `faillock.conf(5)`.
pub(super) const REJECTION_WINDOW: Duration = Duration::from_secs(15 * 60);

/// The rejections of logins as one user with one set of secrets.
#[derive(Debug, Default)]
pub(super) struct LockoutGuard {
    rejected_at: VecDeque<Instant>,
    last_rejection: Option<Fault>,
}

impl LockoutGuard {
    /// Returns the last rejection of the server if no login is permitted now, or `None` if one is.
    pub(super) fn cached_rejection(&mut self, now: Instant) -> Option<Fault> {
        // The secrets may be right: the rules for accounts, or the server itself, may be at fault.
        self.rejection_beyond(MAX_REJECTIONS, Remedy::RetryWithForce, now)
    }

    /// Returns the last rejection of the server if at most one further login may be rejected, or
    /// `None` if a login that only a caller wants is permitted. The last one belongs to attempts.
    pub(super) fn reserved_rejection(&mut self, now: Instant) -> Option<Fault> {
        let limit = MAX_REJECTIONS.saturating_sub(1);
        self.rejection_beyond(limit, Remedy::ReconnectRepaired, now)
    }

    /// Returns the last rejection if at least `limit` rejections count, with the time after which
    /// fewer do.
    fn rejection_beyond(&mut self, limit: usize, advice: Remedy, now: Instant) -> Option<Fault> {
        self.rejected_at.retain(|at| now.saturating_duration_since(*at) < REJECTION_WINDOW);
        let last_in_way = self.rejected_at.len().checked_sub(limit)?;
        let wait =
            (*self.rejected_at.get(last_in_way)? + REJECTION_WINDOW).saturating_duration_since(now);
        // The value is rounded up, because a login a moment earlier would be suspended again.
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        let fault = self.last_rejection.clone()?;
        Some(
            fault
                .as_remembered()
                .with_detail("refusedLogins", self.rejected_at.len())
                .with_retry_after(seconds)
                .with_further_remedy(advice),
        )
    }

    /// Returns the number of logins that the server may still reject before logins are suspended.
    pub(super) fn rejections_left(&self, now: Instant) -> usize {
        let counts = |at: &&Instant| now.saturating_duration_since(**at) < REJECTION_WINDOW;
        MAX_REJECTIONS.saturating_sub(self.rejected_at.iter().filter(counts).count())
    }

    /// Records the end of a login. `fault` is `None` if it succeeded.
    pub(super) fn record_outcome(&mut self, fault: Option<&Fault>, now: Instant) {
        match fault {
            None => *self = Self::default(),
            Some(fault) if fault.counts_as_rejection() => {
                self.rejected_at.push_back(now);
                self.last_rejection = Some(fault.clone());
            }
            // Other faults say nothing about the credentials.
            Some(_) => {}
        }
    }

    /// Restores the rejections of an earlier run of the daemon. A time in the future counts as now,
    /// because the clock was set back. The window then ends at most one window later.
    pub(super) fn restore(
        rejections: Option<LoginRejections>,
        wall: Timestamp,
        now: Instant,
    ) -> Self {
        let Some(LoginRejections { rejected_at, last }) = rejections else {
            return Self::default();
        };
        let age = |at: Timestamp| {
            Duration::from_millis(u64::try_from(wall.0.saturating_sub(at.0)).unwrap_or(0))
        };
        let recent = rejected_at.into_iter().map(age).filter(|age| *age < REJECTION_WINDOW);
        let rejected_at = recent.map(|age| now.checked_sub(age).unwrap_or(now)).collect();
        Self { rejected_at, last_rejection: Some(last) }
    }

    /// Returns the rejections with their wall times, or `None` if there is none.
    pub(super) fn to_rejections(&self, wall: Timestamp, now: Instant) -> Option<LoginRejections> {
        let last = self.last_rejection.clone().filter(|_| !self.rejected_at.is_empty())?;
        let time = |at: &Instant| {
            let age = now.saturating_duration_since(*at).as_millis();
            Timestamp(wall.0.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)))
        };
        Some(LoginRejections { rejected_at: self.rejected_at.iter().map(time).collect(), last })
    }

    /// Returns the number of recorded rejections.
    pub(super) fn rejection_count(&self) -> usize {
        self.rejected_at.len()
    }

    /// Returns the time of the last rejection.
    pub(super) fn last_rejected_at(&self) -> Option<Instant> {
        self.rejected_at.iter().max().copied()
    }

    /// Returns true if none of the rejections counts any more.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.rejected_at.iter().all(|at| now.saturating_duration_since(*at) >= REJECTION_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};
    use crate::model::{Fact, Reason};

    const MINUTE: Duration = Duration::from_secs(60);

    fn refused() -> Fault {
        Fault::new(Reason::CredentialsRefused, "root may not log in")
    }

    /// Returns for each minute if a login is suspended, given a login in each minute that permits
    /// it.
    fn minutes(outcome: impl Fn(u32) -> Option<Fault>, count: u32) -> Vec<bool> {
        let begun = Instant::now();
        let mut refusals = LockoutGuard::default();
        let minute = |n| {
            let now = begun + MINUTE * n;
            let held = refusals.cached_rejection(now).is_some();
            if !held {
                refusals.record_outcome(outcome(n).as_ref(), now);
            }
            held
        };
        (0..count).map(minute).collect()
    }

    #[test]
    fn three_refusals_in_fifteen_minutes_are_the_most() {
        let held = minutes(|_| Some(refused()), 40);
        for window in held.windows(15) {
            let made = window.iter().filter(|held| !**held).count();
            assert!(made <= MAX_REJECTIONS, "{held:?}");
        }
        let made: Vec<usize> = (0..40).filter(|n| !held[*n]).collect();
        assert_eq!(made, [0, 1, 2, 15, 16, 17, 30, 31, 32]);
    }

    #[test]
    fn a_success_is_a_new_beginning_and_other_faults_count_for_nothing() {
        let every_third = |n| (n % 3 != 2).then(refused);
        assert!(!minutes(every_third, 60).contains(&true));
        let silent = |_| Some(Fault::new(Reason::BannerTimeout, "x"));
        assert!(!minutes(silent, 60).contains(&true));
        // The server received the credentials and did not accept them.
        let undecided = |_| Some(Fault::new(Reason::AuthTimeout, "x").with_possible_rejection());
        assert_eq!(minutes(undecided, 15).iter().filter(|held| !**held).count(), MAX_REJECTIONS);
    }

    #[test]
    fn a_restart_restores_what_counts_and_no_clock_extends_the_window() {
        let begun = Instant::now();
        let wall = |minutes: i64| Timestamp(1_700_000_000_000 + minutes * 60_000);
        let mut guard = LockoutGuard::default();
        for n in 0..3 {
            guard.record_outcome(Some(&refused()), begun + MINUTE * n);
        }
        let kept = guard.to_rejections(wall(2), begun + MINUTE * 2).unwrap();
        assert_eq!(kept.rejected_at, [wall(0), wall(1), wall(2)]);
        for (minutes, is_suspended, wait) in [
            (2, true, 13),
            (14, true, 1),
            (15, false, 0),
            (99, false, 0),
            // The clock was set back.
            (-500, true, 15),
        ] {
            let now = begun + MINUTE * 3;
            let mut restored = LockoutGuard::restore(Some(kept.clone()), wall(minutes), now);
            let fault = restored.cached_rejection(now);
            assert_eq!(fault.is_some(), is_suspended, "{minutes}");
            let seconds = fault.and_then(|fault| fault.retry_after());
            assert_eq!(seconds.unwrap_or_default(), MINUTE * wait, "{minutes}");
        }
        assert!(LockoutGuard::default().to_rejections(wall(0), begun).is_none());
        assert!(LockoutGuard::restore(None, wall(0), begun).cached_rejection(begun).is_none());
    }

    #[test]
    fn the_last_login_before_a_lockout_is_kept_for_attempts() {
        let begun = Instant::now();
        let mut guard = LockoutGuard::default();
        for (n, left, is_kept) in [(1, 2, false), (2, 1, true), (3, 0, true)] {
            guard.record_outcome(Some(&refused()), begun + MINUTE * n);
            let now = begun + MINUTE * n;
            assert_eq!(guard.rejections_left(now), left);
            assert_eq!(guard.reserved_rejection(now).is_some(), is_kept, "{n}");
            assert_eq!(guard.cached_rejection(now).is_some(), left == 0, "{n}");
        }
        // Two of the three must no longer count, and one for an attempt.
        let now = begun + MINUTE * 4;
        let waits = [guard.cached_rejection(now), guard.reserved_rejection(now)];
        let waits = waits.map(|fault| fault.unwrap().retry_after().unwrap());
        assert_eq!(waits, [MINUTE * 12, MINUTE * 13]);
        let fault = guard.reserved_rejection(now).unwrap();
        assert!(fault.is_remembered());
        assert_eq!(fault.facts()["refusedLogins"], Fact::Number(3));
        let later = begun + MINUTE * 17;
        assert!(guard.reserved_rejection(later).is_none());
        assert_eq!(guard.rejections_left(later), 2);
        assert_eq!(guard.rejections_left(begun + MINUTE * 40), 3);
    }

    #[test]
    fn what_is_remembered_says_so_and_how_long() {
        let begun = Instant::now();
        let mut refusals = LockoutGuard::default();
        for n in 0..3 {
            refusals.record_outcome(Some(&refused()), begun + MINUTE * n);
        }
        let later = begun + MINUTE * 5 + Duration::from_millis(1);
        let fault = refusals.cached_rejection(later).unwrap();
        assert_eq!(fault.reason(), Reason::CredentialsRefused);
        assert_eq!(fault.details(), refused().details());
        let action = fault_action(&fault, Language::English);
        let general = fault_action(&refused(), Language::English).into_owned();
        assert!(action.starts_with(&general), "{action}");
        assert!(action.ends_with("retry with --force"), "{action}");
        assert_eq!(fault.facts()["remembered"], Fact::Flag(true));
        assert_eq!(fault.facts()["retryAfterSeconds"], Fact::Number(600));
        assert_eq!(fault.retry_after(), Some(Duration::from_secs(600)));
        assert!(!refusals.is_expired(later));
        assert!(refusals.cached_rejection(begun + MINUTE * 15).is_none());
        assert!(refusals.is_expired(begun + MINUTE * 17));
    }
}
