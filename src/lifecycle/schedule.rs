//! Schedule of the checks.

use std::time::Duration;

use super::{CheckPolicy, StepTime, StoreRecord};
use crate::common::Backoff;
use crate::model::Status;

/// The next time of each check, as uptime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckSchedule {
    probe: Duration,
    write: Duration,
    login: Duration,
    /// The time of the newest probe that a caller requested.
    requested: Option<Duration>,
}

/// The checks of the monitor that are in flight outside the status machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// True if a probe is in flight.
    pub probe: bool,
    /// True if a login is in flight.
    pub login: bool,
}

impl CheckSchedule {
    /// Returns the schedule after a start. The first probes of all stores are spread over the start
    /// spread, and their logins over a whole interval.
    pub(super) fn first_checks(policy: &CheckPolicy, now: StepTime) -> Self {
        let within = |limit, random| now.uptime.saturating_add(uniform(limit, random));
        Self {
            probe: within(policy.start_spread, now.random),
            write: now.uptime,
            login: within(policy.login_interval, now.random.rotate_left(32)),
            requested: None,
        }
    }

    /// Reschedules all checks after an attempt, which has run all of them.
    pub(super) fn after_attempt(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.probe = now.uptime.saturating_add(policy.probe_interval);
        self.write_finished(policy, now);
        self.login_succeeded(policy, now);
    }

    /// Schedules the next probe when one starts. If `first` is true, it follows after a random part
    /// of the interval, so that stores that started together do not stay synchronized.
    pub(super) fn probe_started(&mut self, first: bool, policy: &CheckPolicy, now: StepTime) {
        let wait =
            if first { uniform(policy.probe_interval, now.random) } else { policy.probe_interval };
        self.probe = now.uptime.saturating_add(wait);
    }

    /// Notes that a caller requested the probe that starts, unless that is due anyway.
    pub(super) fn probe_requested(&mut self, now: StepTime) {
        if !self.probe_is_due(now) {
            self.requested = Some(now.uptime);
        }
    }

    /// Returns the time after which a caller may request a probe again, or `None` if it may now.
    /// One request in each interval doubles the number of probes at most.
    pub(super) fn wait_for_request(self, policy: &CheckPolicy, now: StepTime) -> Option<Duration> {
        let permitted = self.requested?.saturating_add(policy.probe_interval);
        let wait = permitted.checked_sub(now.uptime)?;
        Some(wait).filter(|wait| !wait.is_zero() && !self.probe_is_due(now))
    }

    /// Schedules the next write after a probe has written.
    pub(super) fn write_finished(&mut self, policy: &CheckPolicy, now: StepTime) {
        let wait = policy.write_interval.unwrap_or(Duration::MAX);
        self.write = now.uptime.saturating_add(wait);
    }

    /// Schedules the next login when one starts. Unless this one is good, the next one follows
    /// after the probe interval.
    pub(super) fn login_started(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.login = now.uptime.saturating_add(policy.probe_interval);
    }

    /// Schedules the next login after a good one.
    pub(super) fn login_succeeded(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.login = now.uptime.saturating_add(policy.login_interval);
    }

    /// Returns the time of the next probe.
    pub(super) fn next_probe(self) -> Duration {
        self.probe
    }

    /// Returns the time from which a probe writes.
    pub(super) fn next_write(self) -> Duration {
        self.write
    }

    /// Returns the time of the next login.
    pub(super) fn next_login(self) -> Duration {
        self.login
    }

    pub(super) fn probe_is_due(self, now: StepTime) -> bool {
        self.probe <= now.uptime
    }

    pub(super) fn write_is_due(self, now: StepTime) -> bool {
        self.write <= now.uptime
    }

    pub(super) fn login_is_due(self, now: StepTime) -> bool {
        self.login <= now.uptime
    }
}

impl StoreRecord {
    /// Returns the uptime at which [`StepInput::Due`](super::StepInput::Due) is due. Returns `None`
    /// if an attempt runs, or if everything that could be due is in flight. A check in flight is
    /// due once more when it becomes overdue.
    pub fn due_check(&self, in_flight: InFlight) -> Option<Duration> {
        if self.durable.status == Status::Connecting {
            return None;
        }
        let preparing = self.preparing.is_some();
        let login = !in_flight.login && !preparing && self.durable.status == Status::Connected;
        let times = [
            self.retry.due_at().filter(|_| !preparing),
            (!in_flight.probe).then_some(self.schedule.probe),
            login.then_some(self.schedule.login),
            self.next_overdue(),
        ];
        times.into_iter().flatten().min()
    }
}

fn uniform(limit: Duration, random: u64) -> Duration {
    Backoff::new(limit, limit).delay(1, random)
}
