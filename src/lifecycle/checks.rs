//! The three checks of a store. Each has its own count of consecutive failures and its own state
//! for display.

use std::time::Duration;

use super::overdue::CheckWatch;
use super::{CheckPolicy, LoginOutcome, ProbeOutcome};
use crate::common::Timestamp;
use crate::model::{Check, Fault, Reason, StoreCheck};

/// The state of one check since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    consecutive_failures: u32,
    /// The fault of the last run, or `None` if it was good or the check has not run yet.
    pub fault: Option<Fault>,
    /// The time of the last change from good to bad, or back.
    pub since: Option<Timestamp>,
    /// The time at which it last finished.
    pub last: Option<Timestamp>,
    /// The time at which it was last good.
    pub last_good: Option<Timestamp>,
    /// The duration of the last run.
    pub took: Duration,
    /// The fault of the daemon that prevented the newest run, if that has no result.
    pub obstacle: Option<Box<Fault>>,
    pub(super) watch: CheckWatch,
}

impl CheckState {
    /// Returns the number of consecutive failures since the last good run or the last attempt.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    fn record_result(&mut self, fault: Option<&Fault>, took: Duration, at: Timestamp) {
        if self.last.is_none() || self.fault.is_some() != fault.is_some() {
            self.since = Some(at);
        }
        self.last = Some(at);
        self.obstacle = None;
        self.took = took;
        self.fault = fault.cloned();
        match fault {
            Some(_) => self.consecutive_failures = self.consecutive_failures.saturating_add(1),
            None => {
                self.consecutive_failures = 0;
                self.last_good = Some(at);
            }
        }
    }

    /// Returns true if the fault is decided: a hard fault at once, a soft one after `fail_after` in
    /// a row.
    fn threshold_reached(&self, policy: &CheckPolicy) -> bool {
        let hard = self.fault.as_ref().is_some_and(|fault| !fault.reason().is_soft());
        hard || (self.fault.is_some() && self.consecutive_failures >= policy.fail_after)
    }
}

/// All checks of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreChecks {
    /// The check of the directory and its figures.
    pub examine: CheckState,
    /// The check that the directory can be written.
    pub write: CheckState,
    /// The check that the login works.
    pub ssh: CheckState,
    /// Consecutive good probes.
    good_probes: u32,
    /// True if a probe has failed since the last attempt. Good probes after it mean that the fault
    /// was repaired.
    saw_failure: bool,
}

impl StoreChecks {
    /// Returns each check with its state.
    pub fn all(&self) -> [(StoreCheck, &CheckState); 3] {
        let Self { examine, write, ssh, .. } = self;
        [(StoreCheck::Examine, examine), (StoreCheck::Write, write), (StoreCheck::Ssh, ssh)]
    }

    /// Records a probe and returns the faults that are now decided.
    pub(super) fn on_probed(
        &mut self,
        probe: &ProbeOutcome,
        policy: &CheckPolicy,
        at: Timestamp,
    ) -> Vec<Fault> {
        self.record_probe(probe, at);
        match probe.first_fault() {
            Some(_) => (self.good_probes, self.saw_failure) = (0, true),
            None => self.good_probes = self.good_probes.saturating_add(1),
        }
        // A check that did not run this time decides nothing.
        let ran = [(&self.examine, true), (&self.write, probe.affects_write_check(&self.write))];
        let decided =
            ran.into_iter().filter(|(check, ran)| *ran && check.threshold_reached(policy));
        let mut faults: Vec<Fault> = decided.filter_map(|(check, _)| check.fault.clone()).collect();
        faults.dedup();
        faults
    }

    /// Records a login of the monitor. Returns its fault if that is now decided.
    pub(super) fn on_login_finished(
        &mut self,
        login: &LoginOutcome,
        policy: &CheckPolicy,
        at: Timestamp,
    ) -> Option<Fault> {
        self.ssh.record_result(login.outcome.as_ref().err(), login.took, at);
        self.ssh.fault.clone().filter(|_| self.ssh.threshold_reached(policy))
    }

    /// Records the results of an attempt. A fault of the daemon is no result of a check.
    pub(super) fn record_attempt(
        &mut self,
        probe: &ProbeOutcome,
        login: &LoginOutcome,
        at: Timestamp,
    ) {
        match probe.is_internal() {
            true => self.record_obstacle(probe),
            false => self.record_probe(probe, at),
        }
        match login.internal_fault() {
            Some(fault) => self.ssh.obstacle = Some(Box::new(fault.clone())),
            None => self.ssh.record_result(login.outcome.as_ref().err(), login.took, at),
        }
    }

    /// Records the fault of the daemon that prevented a probe.
    pub(super) fn record_obstacle(&mut self, probe: &ProbeOutcome) {
        for check in [&mut self.examine, &mut self.write] {
            check.obstacle = probe.first_fault().map(|fault| Box::new(fault.clone()));
        }
    }

    /// Resets all counts, because an attempt has decided.
    pub(super) fn reset_counts(&mut self) {
        for check in [&mut self.examine, &mut self.write, &mut self.ssh] {
            check.consecutive_failures = 0;
        }
        (self.good_probes, self.saw_failure) = (0, false);
    }

    /// Returns true if a storage fault counts as gone.
    pub(super) fn has_recovered(&self, policy: &CheckPolicy) -> bool {
        self.good_probes >= policy.recover_after
    }

    /// Forgets that a probe has failed, so that time and not the repair decides when the next
    /// attempt starts.
    pub(super) fn forget_failure(&mut self) {
        self.saw_failure = false;
    }

    /// Returns true if a probe has failed since the last attempt.
    pub(super) fn has_seen_failure(&self) -> bool {
        self.saw_failure
    }

    fn record_probe(&mut self, probe: &ProbeOutcome, at: Timestamp) {
        self.examine.record_result(probe.examined.as_ref().err(), probe.took, at);
        match &probe.written {
            Some(Ok(written)) => self.write.record_result(None, written.duration(), at),
            Some(Err(fault)) => self.write.record_result(Some(fault), probe.took, at),
            // A worker that hangs in a write fails this check again with each probe.
            None if probe.affects_write_check(&self.write) => {
                self.write.record_result(probe.examined.as_ref().err(), probe.took, at);
            }
            None => {}
        }
    }
}

impl LoginOutcome {
    /// Returns the fault if it is an internal error, which says nothing about the server.
    pub(super) fn internal_fault(&self) -> Option<&Fault> {
        let fault = self.outcome.as_ref().err();
        fault.filter(|fault| fault.reason().failed_check() == Check::Agent)
    }
}

impl ProbeOutcome {
    /// Returns the first fault of the probe, that of the examination before that of the write.
    pub(super) fn first_fault(&self) -> Option<&Fault> {
        let written = self.written.as_ref().and_then(|written| written.as_ref().err());
        self.examined.as_ref().err().or(written)
    }

    /// Returns true if the fault is an internal error, which says nothing about the store.
    pub(super) fn is_internal(&self) -> bool {
        self.first_fault().is_some_and(|fault| fault.reason().failed_check() == Check::Agent)
    }

    /// Returns true if the outcome shows that the write was made, or that it could not be reached.
    pub(super) fn concludes_write(&self) -> bool {
        self.written.is_some() || self.examined.is_err()
    }

    fn affects_write_check(&self, write: &CheckState) -> bool {
        let stuck = |fault: &Fault| fault.reason() == Reason::ProbeStuck;
        self.written.is_some()
            || (write.consecutive_failures > 0 && self.examined.as_ref().is_err_and(stuck))
    }
}
