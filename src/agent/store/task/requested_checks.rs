//! The checks of the monitor that callers request.

use std::sync::Arc;

use super::StoreTask;
use crate::agent::store::check_callers::{CheckRefusal, CheckReply};
use crate::lifecycle::{AttemptOutcome, RequestDecision, RequestedCheck, StepInput};
use crate::model::{Fault, Status};

impl StoreTask {
    /// Starts a check for a caller, or lets it wait for the one that runs.
    pub(super) async fn run_check(&mut self, check: RequestedCheck, reply: CheckReply) {
        let (in_flight, now) = (self.checks.in_flight(), self.context.step_time());
        match self.record.decide_request(check, in_flight, &self.context.policy, now) {
            RequestDecision::Wait(wait) => {
                let _ = reply.send(Err(CheckRefusal::TooSoon(wait)));
            }
            RequestDecision::Join => {
                self.check_callers.add_caller(check, reply);
            }
            RequestDecision::Start => {
                let rejection = match check {
                    RequestedCheck::Probe => None,
                    RequestedCheck::Login => self.checks.reserved_rejection(),
                };
                if let Some(fault) = rejection {
                    let _ = reply.send(Err(fault.into()));
                } else if self.check_callers.add_caller(check, reply)
                    && let Err(fault) =
                        self.apply_input(StepInput::CheckRequested(check, in_flight)).await
                {
                    self.check_callers.notify(check, &Err(fault.into()));
                }
            }
        }
    }

    /// Notifies the callers of a check of the monitor that ended. `obstacle` is the fault for which
    /// it could not be made. A running attempt supersedes the check, so that its callers wait for
    /// the attempt.
    pub(super) fn complete_check(&mut self, check: RequestedCheck, obstacle: Option<Fault>) {
        if self.record.durable.status != Status::Connecting {
            let seen = || Arc::clone(&self.snapshot.borrow());
            let result = obstacle.map_or_else(|| Ok(seen()), |fault| Err(fault.into()));
            self.check_callers.notify(check, &result);
        }
    }

    /// Notifies the callers that wait for the checks of the attempt that ended.
    pub(super) fn complete_checks_of_attempt(&mut self) {
        let Some(ended) = &self.record.last_attempt else { return };
        let (probe, login) = match &ended.outcome {
            Ok(AttemptOutcome { probe, login }) => {
                (probe.obstacle().cloned(), login.obstacle().cloned())
            }
            Err(fault) => (Some(fault.clone()), Some(fault.clone())),
        };
        self.complete_check(RequestedCheck::Probe, probe);
        self.complete_check(RequestedCheck::Login, login);
    }

    /// Notifies the callers that wait for the checks of an attempt that does not start.
    pub(super) fn fail_checks_of_attempt(&mut self, fault: &Fault) {
        self.check_callers.notify(RequestedCheck::Login, &Err(fault.clone().into()));
        if !self.checks.in_flight().probe {
            self.check_callers.notify(RequestedCheck::Probe, &Err(fault.clone().into()));
        }
    }
}
