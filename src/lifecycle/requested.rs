//! The checks of the monitor that a caller requests: a probe or a login, now.
//!
//! A request joins the check if it runs, and an attempt, which includes both checks. The result
//! counts as one of the monitor's own.

use std::time::Duration;

use super::step::StepContext;
use super::{InFlight, LoginOutcome, ProbeOutcome, StepTime, StoreRecord};
use crate::common::string_enum;
use crate::lifecycle::CheckPolicy;
use crate::model::{Check, Fault, Reason, Status};

string_enum! {
    /// A check of the monitor that a caller requests.
    pub RequestedCheck {
        /// A probe of the image directory.
        Probe = "probe",
        /// A login.
        Login = "login",
    }
}

/// The decision on the request for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestDecision {
    /// The check runs, or an attempt that includes it does. Its result is also that of the request.
    Join,
    /// The check starts.
    Start,
    /// There was a requested probe within the probe interval. The value is the rest of it.
    Wait(Duration),
}

impl StoreRecord {
    /// Decides on the request for a check while these checks are in flight. A probe that is due
    /// anyway starts in any case.
    pub fn decide_request(
        &self,
        check: RequestedCheck,
        in_flight: InFlight,
        policy: &CheckPolicy,
        now: StepTime,
    ) -> RequestDecision {
        let connecting = self.durable.status == Status::Connecting;
        let is_joined = match check {
            RequestedCheck::Probe => connecting || in_flight.probe,
            RequestedCheck::Login => connecting || in_flight.login || self.has_attempt(),
        };
        let wait = match check {
            RequestedCheck::Probe => self.schedule.wait_for_request(policy, now),
            RequestedCheck::Login => None,
        };
        match wait {
            _ if is_joined => RequestDecision::Join,
            Some(wait) => RequestDecision::Wait(wait),
            None => RequestDecision::Start,
        }
    }
}

impl StepContext<'_> {
    /// Starts the requested check, if nothing speaks against it.
    pub(super) fn on_check_requested(
        &mut self,
        r: &mut StoreRecord,
        check: RequestedCheck,
        in_flight: InFlight,
    ) {
        if r.decide_request(check, in_flight, self.policy, self.now) != RequestDecision::Start {
            return;
        }
        match check {
            RequestedCheck::Probe => {
                r.schedule.probe_requested(self.now);
                self.start_probe(r);
            }
            RequestedCheck::Login => self.start_login(r, true),
        }
    }
}

impl ProbeOutcome {
    /// Returns the fault for which the probe could not look at the directory, if there was one: a
    /// fault of the daemon, or an earlier worker that cannot be killed.
    pub fn obstacle(&self) -> Option<&Fault> {
        let is_obstacle = |fault: &&Fault| {
            fault.reason().failed_check() == Check::Agent || fault.reason() == Reason::ProbeStuck
        };
        self.first_fault().filter(is_obstacle)
    }
}

impl LoginOutcome {
    /// Returns the fault for which no login was made, if there was one: a fault of the daemon, or
    /// earlier rejections.
    pub fn obstacle(&self) -> Option<&Fault> {
        let is_obstacle =
            |fault: &&Fault| fault.reason().failed_check() == Check::Agent || fault.is_remembered();
        self.outcome.as_ref().err().filter(is_obstacle)
    }
}
