//! When each check is due.

use std::time::Duration;

use super::{CheckPolicy, StepTime, StoreRecord};
use crate::common::Backoff;
use crate::model::Status;

/// The next times, as uptime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckSchedule {
    probe: Duration,
    write: Duration,
    login: Duration,
}

/// The checks of the monitor that are under way beside the status machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// A probe.
    pub probe: bool,
    /// A login.
    pub login: bool,
}

impl CheckSchedule {
    /// After a start: the first probes of all stores are spread over the start spread, their logins
    /// over a whole interval.
    pub(super) fn first_checks(policy: &CheckPolicy, now: StepTime) -> Self {
        let within = |limit, roll| now.uptime.saturating_add(uniform(limit, roll));
        Self {
            probe: within(policy.start_spread, now.roll),
            write: now.uptime,
            login: within(policy.login_interval, now.roll.rotate_left(32)),
        }
    }

    /// An attempt has looked at everything.
    pub(super) fn after_attempt(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.probe = now.uptime.saturating_add(policy.interval);
        self.write_finished(policy, now);
        self.login_succeeded(policy, now);
    }

    /// A probe starts; whether the next one is to come after a part of the interval, so that stores
    /// that started together do not stay together.
    pub(super) fn probe_started(&mut self, first: bool, policy: &CheckPolicy, now: StepTime) {
        let wait = if first { uniform(policy.interval, now.roll) } else { policy.interval };
        self.probe = now.uptime.saturating_add(wait);
    }

    /// A probe has written.
    pub(super) fn write_finished(&mut self, policy: &CheckPolicy, now: StepTime) {
        let wait = policy.write_interval.unwrap_or(Duration::MAX);
        self.write = now.uptime.saturating_add(wait);
    }

    /// A login starts: unless it is good, the next one follows at the pace of probes.
    pub(super) fn login_started(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.login = now.uptime.saturating_add(policy.interval);
    }

    /// A login was good.
    pub(super) fn login_succeeded(&mut self, policy: &CheckPolicy, now: StepTime) {
        self.login = now.uptime.saturating_add(policy.login_interval);
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
    /// When [`StepInput::Due`](super::StepInput::Due) is to be fed, as uptime. None while an attempt runs, and
    /// when all that could be due is under way.
    pub fn due_check(&self, busy: InFlight) -> Option<Duration> {
        if self.running.is_some() {
            return None;
        }
        let login = !busy.login && self.standing.status == Status::Connected;
        let times = [
            self.retry.due_at(),
            (!busy.probe).then_some(self.agenda.probe),
            login.then_some(self.agenda.login),
        ];
        times.into_iter().flatten().min()
    }
}

fn uniform(limit: Duration, roll: u64) -> Duration {
    Backoff::new(limit, limit).delay(1, roll)
}
