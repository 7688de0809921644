//! Backoff between automatic attempts.

use std::time::Duration;

use super::{CheckPolicy, StepTime};
use crate::common::Backoff;
use crate::model::{AttemptFailure, Reason};

/// Maximum delay between attempts.
const MAX_DELAY: Duration = Duration::from_secs(5 * 60);
/// Maximum delay if each attempt risks a lockout or an operator must act anyway.
const MAX_SLOW_DELAY: Duration = Duration::from_secs(15 * 60);

/// The number of consecutive failed attempts, and the delay that follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RetrySchedule {
    failures: u32,
    not_before: Duration,
    due: Option<Duration>,
}

impl RetrySchedule {
    /// Records a failed attempt and delays the next one. If `timed` is true, the delay alone starts
    /// it. After a storage fault, good probes start it instead.
    pub(super) fn on_failed(
        &mut self,
        failure: &AttemptFailure,
        timed: bool,
        policy: &CheckPolicy,
        now: StepTime,
    ) {
        self.failures = self.failures.saturating_add(1);
        let backoff = Backoff::new(policy.probe_interval, max_delay(failure));
        self.not_before = now.uptime.saturating_add(backoff.delay(self.failures, now.random));
        self.due = timed.then_some(self.not_before);
    }

    /// Schedules an attempt by time alone, with the delay after a first failure. It is used for a
    /// store that is Disconnected without a scheduled attempt, such as at start.
    pub(super) fn schedule_retry(&mut self, policy: &CheckPolicy, now: StepTime) {
        let backoff = Backoff::new(policy.probe_interval, MAX_DELAY);
        self.not_before = now.uptime.saturating_add(backoff.delay(1, now.random));
        self.due = Some(self.not_before);
    }

    /// Cancels the attempt that time alone would start.
    pub(super) fn cancel_retry(&mut self) {
        self.due = None;
    }

    /// Returns true if the delay after the last failed attempt is over.
    pub(super) fn may_start(self, now: StepTime) -> bool {
        now.uptime >= self.not_before
    }

    /// Returns the uptime at which time alone starts an attempt, or `None` if it starts none.
    pub(super) fn due_at(self) -> Option<Duration> {
        self.due
    }

    /// Resets the count, so that the next failure is the first. It is used if a user requests an
    /// attempt, the store is Connected, or the fault is gone.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

fn max_delay(failure: &AttemptFailure) -> Duration {
    let slow = |reason| matches!(reason, Reason::CredentialsRefused | Reason::HostKeyChanged);
    if failure.all_faults().any(|fault| slow(fault.reason())) { MAX_SLOW_DELAY } else { MAX_DELAY }
}
