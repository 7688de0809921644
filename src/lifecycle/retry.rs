//! When the next attempt may start by itself.

use std::time::Duration;

use super::{Moment, Policy};
use crate::common::Backoff;
use crate::model::{Failure, Reason};

/// Longest wait between attempts.
const CAP: Duration = Duration::from_secs(5 * 60);
/// Longest wait where each try risks a lockout or needs a person anyway.
const SLOW_CAP: Duration = Duration::from_secs(15 * 60);

/// Failed attempts in a row and the wait that follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retry {
    failures: u32,
    not_before: Duration,
    due: Option<Duration>,
}

impl Retry {
    /// An attempt failed: the next one waits. `timed` says whether time alone starts it; a fault of
    /// the storage is waited out by the probes instead.
    pub(super) fn failed(&mut self, failure: &Failure, timed: bool, policy: &Policy, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        let backoff = Backoff::new(policy.interval, cap_for(failure));
        self.not_before = now.uptime.saturating_add(backoff.wait(self.failures, now.roll));
        self.due = timed.then_some(self.not_before);
    }

    /// A store was found Disconnected at start: time alone starts the next attempt, as after a first
    /// failure.
    pub(super) fn arm(&mut self, policy: &Policy, now: Moment) {
        let backoff = Backoff::new(policy.interval, CAP);
        self.not_before = now.uptime.saturating_add(backoff.wait(1, now.roll));
        self.due = Some(self.not_before);
    }

    /// Time alone starts nothing any more.
    pub(super) fn disarm(&mut self) {
        self.due = None;
    }

    /// Whether the wait after the last failed attempt is over.
    pub(super) fn may_start(self, now: Moment) -> bool {
        now.uptime >= self.not_before
    }

    /// When time alone starts an attempt, as uptime.
    pub(super) fn due(self) -> Option<Duration> {
        self.due
    }

    /// A person asked, the store connected, or the fault is gone: the next failure is the first.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

fn cap_for(failure: &Failure) -> Duration {
    let slow = |reason| matches!(reason, Reason::CredentialsRefused | Reason::HostKeyChanged);
    if failure.faults().any(|fault| slow(fault.reason())) { SLOW_CAP } else { CAP }
}
