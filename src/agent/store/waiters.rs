//! Who waits for a store's running attempt.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agent::{StoreView, faults};
use crate::model::AttemptFailure;

/// Callers that may wait for one attempt: above what the server has connections for.
const MOST: usize = 1024;

/// The answer to everyone who waits for an attempt.
pub(super) type Answer = Result<Arc<StoreView>, AttemptFailure>;

pub(super) type Caller = oneshot::Sender<Answer>;

/// Callers, each of whom gets the same answer.
#[derive(Debug, Default)]
pub(super) struct Callers(Vec<Caller>);

impl Callers {
    /// Takes one in; one too many is told so at once. Whether it was taken.
    pub(super) fn take(&mut self, caller: Caller, beside: &Self) -> bool {
        if self.0.len() + beside.0.len() < MOST {
            self.0.push(caller);
            return true;
        }
        let _ = caller.send(Err(faults::too_many_callers(MOST).into()));
        false
    }

    /// Takes all of them over.
    pub(super) fn join(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Lets those go who hung up.
    pub(super) fn forget_closed(&mut self) {
        self.0.retain(|caller| !caller.is_closed());
    }

    /// Answers everyone.
    pub(super) fn answer(&mut self, answer: &Answer) {
        for caller in self.0.drain(..) {
            // A caller that hung up has dropped its end; nobody misses this answer.
            let _ = caller.send(answer.clone());
        }
    }
}
