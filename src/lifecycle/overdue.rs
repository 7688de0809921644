//! Checks that do not end: a check is overdue if it was due and has no result `fail_after` of its
//! own intervals later. Its state is then unknown.
//!
//! A check that is not due is not overdue. That is a login while the store is Disconnected, a write
//! while the examination fails, and every check while an attempt runs.

use std::time::Duration;

use super::{CheckPolicy, ProbeOutcome, StepTime, StoreRecord};
use crate::model::Status;

/// The time by which a check must have ended, as uptime, and whether that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckWatch {
    limit: Option<Duration>,
    overdue: bool,
}

impl CheckWatch {
    /// Starts to watch a check that is due at `due` and every `interval` after that.
    fn expecting(due: Duration, interval: Duration, policy: &CheckPolicy) -> Self {
        let patience = interval.saturating_mul(policy.fail_after);
        Self { limit: Some(due.saturating_add(patience)), overdue: false }
    }

    /// Returns the time at which the check becomes overdue, or `None` if it is overdue or not due.
    fn next_limit(self) -> Option<Duration> {
        self.limit.filter(|_| !self.overdue)
    }

    fn evaluate(&mut self, now: StepTime) {
        self.overdue |= self.limit.is_some_and(|limit| limit <= now.uptime);
    }
}

impl super::CheckState {
    /// Returns true if the check was due and has not ended in time.
    pub fn is_overdue(&self) -> bool {
        self.watch.overdue
    }

    /// Makes the check overdue.
    #[cfg(test)]
    pub(crate) fn set_overdue(&mut self) {
        self.watch.overdue = true;
    }
}

impl StoreRecord {
    /// Watches all checks anew, because they have just been scheduled.
    pub(super) fn watch_all(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.watch_examine(policy, now);
        self.watch_write(policy, now);
        self.watch_login(policy.login_interval, policy, now);
    }

    /// Watches the checks whose result a probe has brought.
    pub(super) fn watch_probed(
        &mut self,
        probe: &ProbeOutcome,
        policy: &CheckPolicy,
        now: StepTime,
    ) {
        self.watch_examine(policy, now);
        if probe.concludes_write() {
            self.watch_write(policy, now);
        }
    }

    /// Watches the logins, the next of which follows after `interval`.
    pub(super) fn watch_login(&mut self, interval: Duration, policy: &CheckPolicy, now: StepTime) {
        let due = self.schedule.next_login().max(now.uptime);
        self.checks.ssh.watch = CheckWatch::expecting(due, interval, policy);
    }

    fn watch_examine(&mut self, policy: &CheckPolicy, now: StepTime) {
        let due = self.schedule.next_probe().max(now.uptime);
        self.checks.examine.watch = CheckWatch::expecting(due, policy.probe_interval, policy);
    }

    fn watch_write(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.checks.write.watch = match policy.write_interval {
            // Only a probe can write, so writes are not more frequent than probes.
            Some(interval) => CheckWatch::expecting(
                self.schedule.next_write().max(now.uptime),
                interval.max(policy.probe_interval),
                policy,
            ),
            None => CheckWatch::default(),
        };
    }

    /// Finds the checks that are overdue now.
    pub(super) fn evaluate_overdue(&mut self, now: StepTime) {
        let logs_in = self.durable.status == Status::Connected;
        self.checks.examine.watch.evaluate(now);
        self.checks.write.watch.evaluate(now);
        if logs_in {
            self.checks.ssh.watch.evaluate(now);
        }
    }

    /// Stops to watch the logins of a store that has none, because it is Disconnected.
    pub(super) fn stop_watching_logins(&mut self) {
        self.checks.ssh.watch = CheckWatch::default();
    }

    /// Returns the time at which the next check becomes overdue.
    pub(super) fn next_overdue(&self) -> Option<Duration> {
        let checks = &self.checks;
        let watches = [checks.examine.watch, checks.write.watch, checks.ssh.watch];
        watches.into_iter().filter_map(CheckWatch::next_limit).min()
    }

    /// Returns true if any check is overdue.
    pub(super) fn any_overdue(&self) -> bool {
        let checks = &self.checks;
        [&checks.examine, &checks.write, &checks.ssh].iter().any(|check| check.is_overdue())
    }
}
