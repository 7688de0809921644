//! The three checks, each of which counts for itself: how many failures in a row, and what a person
//! wants to know of it.

use std::time::Duration;

use super::{CheckPolicy, LoginOutcome, ProbeOutcome};
use crate::common::Timestamp;
use crate::model::{Check, Fault, Reason};

/// One check as it stands since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    failing: u32,
    /// Why it failed the last time; none when it was good, or has not run yet.
    pub fault: Option<Fault>,
    /// When it turned from good to bad, or back.
    pub since: Option<Timestamp>,
    /// When it last ran to an end.
    pub last: Option<Timestamp>,
    /// When it was last good.
    pub last_good: Option<Timestamp>,
    /// How long the last one took.
    pub took: Duration,
}

impl CheckState {
    /// Failures in a row that are not decided yet.
    pub fn consecutive_failures(&self) -> u32 {
        self.failing
    }

    fn record_result(&mut self, fault: Option<&Fault>, took: Duration, at: Timestamp) {
        if self.last.is_none() || self.fault.is_some() != fault.is_some() {
            self.since = Some(at);
        }
        self.last = Some(at);
        self.took = took;
        self.fault = fault.cloned();
        match fault {
            Some(_) => self.failing = self.failing.saturating_add(1),
            None => {
                self.failing = 0;
                self.last_good = Some(at);
            }
        }
    }

    /// Whether its fault is decided: at once when hard, else after `fail_after` in a row.
    fn threshold_reached(&self, policy: &CheckPolicy) -> bool {
        let hard = self.fault.as_ref().is_some_and(|fault| !fault.reason().is_soft());
        hard || (self.fault.is_some() && self.failing >= policy.fail_after)
    }
}

/// All checks of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreChecks {
    /// Is it the right directory, and what does it measure.
    pub examine: CheckState,
    /// Can it be written.
    pub write: CheckState,
    /// Does the login work.
    pub ssh: CheckState,
    /// Good probes in a row.
    good: u32,
    /// Whether bad probes were seen since the last attempt, so that good ones after them mean that
    /// something was mended.
    saw_failure: bool,
}

impl StoreChecks {
    /// Takes note of a probe; the faults that are decided now.
    pub(super) fn on_probed(
        &mut self,
        probe: &ProbeOutcome,
        policy: &CheckPolicy,
        at: Timestamp,
    ) -> Vec<Fault> {
        self.note_probe(probe, at);
        match probe.first_fault() {
            Some(_) => (self.good, self.saw_failure) = (0, true),
            None => self.good = self.good.saturating_add(1),
        }
        // What did not run this time decides nothing this time.
        let ran = [(&self.examine, true), (&self.write, probe.concerns_writing(&self.write))];
        let decided =
            ran.into_iter().filter(|(check, ran)| *ran && check.threshold_reached(policy));
        let mut faults: Vec<Fault> = decided.filter_map(|(check, _)| check.fault.clone()).collect();
        faults.dedup();
        faults
    }

    /// Takes note of a login of the monitor; its fault, if that is decided now.
    pub(super) fn logged_in(
        &mut self,
        login: &LoginOutcome,
        policy: &CheckPolicy,
        at: Timestamp,
    ) -> Option<Fault> {
        self.ssh.record_result(login.outcome.as_ref().err(), login.took, at);
        self.ssh.fault.clone().filter(|_| self.ssh.threshold_reached(policy))
    }

    /// Takes note of an attempt, which decides by itself: all begin to count anew.
    pub(super) fn on_attempt_ended(
        &mut self,
        probe: &ProbeOutcome,
        login: &LoginOutcome,
        at: Timestamp,
    ) {
        self.note_probe(probe, at);
        self.ssh.record_result(login.outcome.as_ref().err(), login.took, at);
        for check in [&mut self.examine, &mut self.write, &mut self.ssh] {
            check.failing = 0;
        }
        (self.good, self.saw_failure) = (0, false);
    }

    /// Whether a fault of the storage counts as gone.
    pub(super) fn have_recovered(&self, policy: &CheckPolicy) -> bool {
        self.good >= policy.recover_after
    }

    /// Whether bad probes were seen since the last attempt.
    pub(super) fn saw_trouble(&self) -> bool {
        self.saw_failure
    }

    fn note_probe(&mut self, probe: &ProbeOutcome, at: Timestamp) {
        self.examine.record_result(probe.examined.as_ref().err(), probe.took, at);
        match &probe.written {
            Some(Ok(written)) => self.write.record_result(None, written.duration(), at),
            Some(Err(fault)) => self.write.record_result(Some(fault), probe.took, at),
            // A worker that hangs in a write fails that check again with each period.
            None if probe.concerns_writing(&self.write) => {
                self.write.record_result(probe.examined.as_ref().err(), probe.took, at);
            }
            None => {}
        }
    }
}

impl ProbeOutcome {
    /// What failed, the examination first.
    pub(super) fn first_fault(&self) -> Option<&Fault> {
        let written = self.written.as_ref().and_then(|written| written.as_ref().err());
        self.examined.as_ref().err().or(written)
    }

    /// Whether the fault is the daemon's own, which says nothing about the store.
    pub(super) fn is_internal(&self) -> bool {
        self.first_fault().is_some_and(|fault| fault.reason().failed_check() == Check::Agent)
    }

    fn concerns_writing(&self, write: &CheckState) -> bool {
        let stuck = |fault: &Fault| fault.reason() == Reason::ProbeStuck;
        self.written.is_some() || (write.failing > 0 && self.examined.as_ref().is_err_and(stuck))
    }
}
