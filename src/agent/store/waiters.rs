//! The callers that wait for the running attempt of a store.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agent::{StoreSnapshot, faults};
use crate::model::AttemptFailure;

/// Maximum number of callers that wait for one attempt. 1024 is above the connection limit of the
/// HTTP server.
const MAX_WAITERS: usize = 1024;

/// The result of an attempt, which every waiting caller receives.
pub(super) type AttemptResult = Result<Arc<StoreSnapshot>, AttemptFailure>;

pub(super) type Waiter = oneshot::Sender<AttemptResult>;

/// The callers that receive the same result.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Adds a caller, and returns true. If there are too many, the caller gets a failure at once,
    /// and the result is false.
    pub(super) fn add_waiter(&mut self, caller: Waiter, beside: &Self) -> bool {
        if self.0.len() + beside.0.len() < MAX_WAITERS {
            self.0.push(caller);
            return true;
        }
        let _ = caller.send(Err(faults::too_many_callers(MAX_WAITERS).into()));
        false
    }

    /// Appends the callers of another value.
    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Removes the callers that disconnected.
    pub(super) fn prune_closed(&mut self) {
        self.0.retain(|caller| !caller.is_closed());
    }

    /// Sends the result to all callers, and removes them.
    pub(super) fn notify_all(&mut self, answer: &AttemptResult) {
        for caller in self.0.drain(..) {
            // A caller that disconnected has dropped its receiver and needs no result.
            let _ = caller.send(answer.clone());
        }
    }
}
