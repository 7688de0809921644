//! The time limits of a login and of its phases. Pure: callers pass the time.
//!
//! A phase has its own limit, and the deadline of the login may leave it less. If a wait for the
//! daemon used up the difference, the server is not to blame for the timeout. If the deadline is
//! merely short, the server did not answer within the time that it was given.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Fault, Reason, Remedy};

/// Time before the first phase that is not a wait. A login that waits for nothing needs a few
/// milliseconds for its secrets and permits, and more on a loaded machine.
const NEGLIGIBLE_WAIT: Duration = Duration::from_millis(100);

/// The end of a login or of its preparation, and the time from which it counts.
#[derive(Clone, Copy, Debug)]
pub struct LoginDeadline {
    started: Instant,
    at: Instant,
    /// The setting that decides the deadline.
    setting: &'static str,
}

impl LoginDeadline {
    /// Creates the deadline of an attempt, which counts from now.
    pub fn for_attempt(timeout: Duration) -> Self {
        Self::starting(Instant::now(), timeout, "monitor.attempt_deadline")
    }

    /// Creates the deadline of a login that must end with a probe. It counts from now.
    pub(crate) fn for_probe(timeout: Duration) -> Self {
        Self::starting(Instant::now(), timeout, "monitor.probe_deadline")
    }

    fn starting(started: Instant, timeout: Duration, setting: &'static str) -> Self {
        Self { started, at: started + timeout, setting }
    }

    /// Returns the end.
    pub fn at(self) -> Instant {
        self.at
    }

    /// Returns the time since this deadline counts, without the time that the server used.
    pub(super) fn waited(self, now: Instant, used: Duration) -> Duration {
        now.saturating_duration_since(self.started).saturating_sub(used)
    }

    /// Returns the limit of a phase that begins now, after a wait within this deadline.
    pub(super) fn limit_phase(
        self,
        (own, own_setting): (Duration, &'static str),
        now: Instant,
        waited: Duration,
    ) -> PhaseLimit {
        let remaining = self.at.saturating_duration_since(now);
        PhaseLimit {
            until: now + own.min(remaining),
            given: own.min(remaining),
            own,
            setting: if own <= remaining { own_setting } else { self.setting },
            own_setting,
            waited,
        }
    }
}

/// Returns true if a wait before a phase was long enough to count.
pub(super) fn is_wait(waited: Duration) -> bool {
    waited > NEGLIGIBLE_WAIT
}

/// The limit of one phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseLimit {
    until: Instant,
    /// The time that the phase has.
    given: Duration,
    /// The time that the phase would have without the deadline of the login.
    own: Duration,
    /// The setting that decides `given`.
    setting: &'static str,
    own_setting: &'static str,
    /// The time that the login waited for the daemon within its deadline.
    waited: Duration,
}

impl PhaseLimit {
    pub(super) fn until(self) -> Instant {
        self.until
    }

    /// Explains a fault of the phase that ended now. A timeout names the time that the phase was
    /// given. If a wait for the daemon shortened that time, the fault becomes `agent_busy`.
    pub(super) fn explain(self, fault: Fault, now: Instant) -> Fault {
        if now < self.until || !depends_on_time(fault.reason()) {
            return fault;
        }
        let (given, own) = (self.given.as_millis(), self.own.as_millis());
        let is_shortened = self.given < self.own;
        if is_shortened && is_wait(self.waited) {
            let details = format!(
                "{}; a wait of {} ms for other logins left it {given} ms instead of {own} ms",
                fault.details(),
                self.waited.as_millis()
            );
            let busy = Fault::new(Reason::AgentBusy, details)
                .with_remedy(Remedy::CheckOtherLogins)
                .with_detail("waitedMilliseconds", self.waited.as_millis())
                .with_detail("givenMilliseconds", given);
            let facts = fault.facts().clone().into_iter();
            return facts.fold(busy, |busy, (name, fact)| busy.default_fact(&name, fact));
        }
        let fault = fault
            .append_details(&format!(" ({given} ms, {})", self.setting))
            .with_detail("givenMilliseconds", given);
        if is_shortened {
            fault.with_remedy(Remedy::RaiseLoginTime {
                given: given.to_string(),
                setting: self.setting.to_string(),
                own: own.to_string(),
                phase: self.own_setting.to_string(),
            })
        } else {
            fault
        }
    }
}

/// Returns true if the end of the time alone may have caused a fault with this reason.
fn depends_on_time(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NameNotFound
            | Reason::ConnectTimeout
            | Reason::BannerTimeout
            | Reason::HandshakeTimeout
            | Reason::AuthTimeout
            // The lines before an identification look like another protocol.
            | Reason::NotSsh
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};
    use crate::model::Fact;

    const SECOND: Duration = Duration::from_secs(1);
    const AUTH: (Duration, &str) = (Duration::from_secs(10), "ssh.auth_timeout");

    /// Returns the fault of a phase that began `begin` seconds after the start of a deadline of
    /// `deadline` seconds, after a wait, and that timed out.
    fn timed_out(deadline: u32, begin: u32, waited: Duration) -> Fault {
        let started = Instant::now();
        let of_attempt =
            LoginDeadline::starting(started, SECOND * deadline, "monitor.attempt_deadline");
        let limit = of_attempt.limit_phase(AUTH, started + SECOND * begin, waited);
        let fault = Fault::new(Reason::AuthTimeout, "no decision").with_detail("phase", "x");
        limit.explain(fault, limit.until())
    }

    #[test]
    fn a_timeout_is_the_servers_unless_a_wait_took_its_time() {
        let none = Duration::ZERO;
        for (deadline, begin, waited, reason, given, named) in [
            (30, 0, none, Reason::AuthTimeout, 10_000, "(10000 ms, ssh.auth_timeout)"),
            (30, 20, SECOND * 20, Reason::AuthTimeout, 10_000, "(10000 ms, ssh.auth_timeout)"),
            (3, 0, none, Reason::AuthTimeout, 3000, "(3000 ms, monitor.attempt_deadline)"),
            // The phases before this one took the time, or the preparation without a wait.
            (12, 9, none, Reason::AuthTimeout, 3000, "(3000 ms, monitor.attempt_deadline)"),
            (9, 0, NEGLIGIBLE_WAIT, Reason::AuthTimeout, 9000, "(9000 ms, monitor.attempt"),
            (30, 25, SECOND * 25, Reason::AgentBusy, 5000, "wait of 25000 ms for other logins"),
            (12, 5, SECOND * 5, Reason::AgentBusy, 7000, "7000 ms instead of 10000 ms"),
            (1, 3, SECOND * 3, Reason::AgentBusy, 0, "left it 0 ms"),
        ] {
            let fault = timed_out(deadline, begin, waited);
            assert_eq!(fault.reason(), reason, "{fault}");
            assert_eq!(fault.facts()["givenMilliseconds"], Fact::Number(given), "{fault}");
            assert!(fault.details().contains(named), "{fault}");
            assert_eq!(fault.facts()["phase"], Fact::from("x"));
        }
        let short = timed_out(3, 0, none);
        assert!(
            fault_action(&short, Language::English).contains("raise monitor.attempt_deadline"),
            "{}",
            fault_action(&short, Language::English)
        );
        assert!(timed_out(30, 0, none).own_remedy().is_none());
    }

    #[test]
    fn an_answer_stays_as_it_is() {
        let started = Instant::now();
        let limit =
            LoginDeadline::starting(started, SECOND, "x").limit_phase(AUTH, started, SECOND);
        for (reason, now) in [
            (Reason::CredentialsRefused, limit.until()),
            (Reason::ConnectionLost, limit.until()),
            (Reason::ConnectTimeout, started),
            (Reason::NameNotFound, started),
        ] {
            let fault = limit.explain(Fault::new(reason, "d"), now);
            assert_eq!((fault.reason(), fault.details()), (reason, "d"));
        }
    }
}
