//! When the next attempt may start by itself.

use std::time::Duration;

use super::{CheckPolicy, StepTime};
use crate::common::Backoff;
use crate::model::{AttemptFailure, Reason};

/// Longest wait between attempts.
const MAX_DELAY: Duration = Duration::from_secs(5 * 60);
/// Longest wait where each try risks a lockout or needs a person anyway.
const MAX_SLOW_DELAY: Duration = Duration::from_secs(15 * 60);

/// Failed attempts in a row and the wait that follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RetrySchedule {
    failures: u32,
    not_before: Duration,
    due: Option<Duration>,
}

impl RetrySchedule {
    /// An attempt failed: the next one waits. `timed` says whether time alone starts it; a fault of
    /// the storage is waited out by the probes instead.
    pub(super) fn on_failed(
        &mut self,
        failure: &AttemptFailure,
        timed: bool,
        policy: &CheckPolicy,
        now: StepTime,
    ) {
        self.failures = self.failures.saturating_add(1);
        let backoff = Backoff::new(policy.interval, cap_for(failure));
        self.not_before = now.uptime.saturating_add(backoff.delay(self.failures, now.roll));
        self.due = timed.then_some(self.not_before);
    }

    /// A store was found Disconnected at start: time alone starts the next attempt, as after a first
    /// failure.
    pub(super) fn schedule_retry(&mut self, policy: &CheckPolicy, now: StepTime) {
        let backoff = Backoff::new(policy.interval, MAX_DELAY);
        self.not_before = now.uptime.saturating_add(backoff.delay(1, now.roll));
        self.due = Some(self.not_before);
    }

    /// Time alone starts nothing any more.
    pub(super) fn cancel_retry(&mut self) {
        self.due = None;
    }

    /// Whether the wait after the last failed attempt is over.
    pub(super) fn may_start(self, now: StepTime) -> bool {
        now.uptime >= self.not_before
    }

    /// When time alone starts an attempt, as uptime.
    pub(super) fn due_at(self) -> Option<Duration> {
        self.due
    }

    /// A person asked, the store connected, or the fault is gone: the next failure is the first.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

fn cap_for(failure: &AttemptFailure) -> Duration {
    let slow = |reason| matches!(reason, Reason::CredentialsRefused | Reason::HostKeyChanged);
    if failure.all_faults().any(|fault| slow(fault.reason())) { MAX_SLOW_DELAY } else { MAX_DELAY }
}
