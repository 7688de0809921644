//! The callers that wait for a check of the monitor, which they requested.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::MAX_WAITERS;
use crate::agent::{StoreSnapshot, faults};
use crate::lifecycle::RequestedCheck;
use crate::model::{AttemptFailure, Fault};

/// The reason why a requested check was not made.
#[derive(Clone, Debug)]
pub(crate) enum CheckRefusal {
    /// There was a requested probe within the probe interval. The value is the rest of it.
    TooSoon(Duration),
    /// The check could not be made, or the credentials were rejected too often.
    Failed(AttemptFailure),
}

impl From<Fault> for CheckRefusal {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

/// The result of a requested check: the store after it, whatever the check found.
pub(crate) type RequestedCheckResult = Result<Arc<StoreSnapshot>, CheckRefusal>;

/// The reply channel of a requested check.
pub(super) type CheckReply = oneshot::Sender<RequestedCheckResult>;

/// The callers that wait for each check.
#[derive(Debug, Default)]
pub(super) struct CheckCallers {
    probe: Vec<CheckReply>,
    login: Vec<CheckReply>,
}

impl CheckCallers {
    /// Adds a caller, and returns true. If there are too many, the caller gets a failure at once,
    /// and the result is false.
    pub(super) fn add_caller(&mut self, check: RequestedCheck, reply: CheckReply) -> bool {
        let callers = self.of_check(check);
        callers.retain(|caller| !caller.is_closed());
        if callers.len() < MAX_WAITERS {
            callers.push(reply);
            return true;
        }
        let _ = reply.send(Err(faults::too_many_check_callers(MAX_WAITERS).into()));
        false
    }

    /// Sends the result to all callers of a check, and removes them.
    pub(super) fn notify(&mut self, check: RequestedCheck, result: &RequestedCheckResult) {
        for caller in self.of_check(check).drain(..) {
            // A caller that disconnected has dropped its receiver and needs no result.
            let _ = caller.send(result.clone());
        }
    }

    /// Sends the fault to all callers of both checks, and removes them.
    pub(super) fn fail_all(&mut self, fault: &Fault) {
        for &check in RequestedCheck::ALL {
            self.notify(check, &Err(fault.clone().into()));
        }
    }

    fn of_check(&mut self, check: RequestedCheck) -> &mut Vec<CheckReply> {
        match check {
            RequestedCheck::Probe => &mut self.probe,
            RequestedCheck::Login => &mut self.login,
        }
    }
}
