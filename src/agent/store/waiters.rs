//! Who waits for a store's running attempt.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agent::{StoreSnapshot, faults};
use crate::model::AttemptFailure;

/// Callers that may wait for one attempt: above what the server has connections for.
const MAX_WAITERS: usize = 1024;

/// The answer to everyone who waits for an attempt.
pub(super) type AttemptResult = Result<Arc<StoreSnapshot>, AttemptFailure>;

pub(super) type Waiter = oneshot::Sender<AttemptResult>;

/// Callers, each of whom gets the same answer.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Takes one in; one too many is told so at once. Whether it was taken.
    pub(super) fn add_waiter(&mut self, caller: Waiter, beside: &Self) -> bool {
        if self.0.len() + beside.0.len() < MAX_WAITERS {
            self.0.push(caller);
            return true;
        }
        let _ = caller.send(Err(faults::too_many_callers(MAX_WAITERS).into()));
        false
    }

    /// Takes all of them over.
    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Lets those go who hung up.
    pub(super) fn prune_closed(&mut self) {
        self.0.retain(|caller| !caller.is_closed());
    }

    /// Answers everyone.
    pub(super) fn notify_all(&mut self, answer: &AttemptResult) {
        for caller in self.0.drain(..) {
            // A caller that hung up has dropped its end; nobody misses this answer.
            let _ = caller.send(answer.clone());
        }
    }
}
