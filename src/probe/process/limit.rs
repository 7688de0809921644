//! The limiter of worker processes, over all stores.
//!
//! Stores whose last probe hung share a part of the permits. Disks that hang therefore never hold
//! all of them, and a healthy store waits only for probes that end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::model::{Fault, Reason, Remedy};

/// Maximum number of worker processes that are running at once. Each takes two descriptors of the
/// daemon and about a megabyte. A healthy probe takes milliseconds, so 64 suffice for thousands of
/// stores. A worker that cannot be killed does not count, because a store has at most one.
pub const MAX_WORKERS: usize = 64;
/// Maximum number of them for stores whose last probe hung. A quarter is enough to notice that a
/// disk responds again.
pub(crate) const MAX_HUNG_WORKERS: usize = MAX_WORKERS / 4;

/// Counts the running workers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerLimiter {
    all: Arc<Semaphore>,
    hung: Arc<Semaphore>,
}

/// The right to run one worker process. Dropping it releases it.
#[derive(Debug)]
pub struct WorkerPermit {
    _any: OwnedSemaphorePermit,
    _hung: Option<OwnedSemaphorePermit>,
}

impl Default for WorkerLimiter {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_WORKERS)),
            hung: Arc::new(Semaphore::new(MAX_HUNG_WORKERS)),
        }
    }
}

impl WorkerLimiter {
    /// Waits for a permit, in the order of the requests. `has_hung` is true if the last probe of
    /// the store hung.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the place in the order.
    pub async fn acquire(&self, has_hung: bool) -> WorkerPermit {
        loop {
            // The smaller share comes first, so that a store that hangs holds no other permit while
            // it waits.
            let hung = match has_hung {
                true => Some(Arc::clone(&self.hung).acquire_owned().await),
                false => None,
            };
            let any = Arc::clone(&self.all).acquire_owned().await;
            // The semaphores are never closed.
            if let (Ok(any), Ok(hung)) = (any, hung.transpose()) {
                return WorkerPermit { _any: any, _hung: hung };
            }
        }
    }

    /// Waits for a permit until `deadline`.
    ///
    /// # Errors
    /// Returns `agent_busy` if the running workers did not end in time.
    pub async fn acquire_until(
        &self,
        has_hung: bool,
        deadline: Instant,
    ) -> Result<WorkerPermit, Fault> {
        timeout_at(deadline, self.acquire(has_hung)).await.map_err(|_| {
            let limit = if has_hung { MAX_HUNG_WORKERS } else { MAX_WORKERS };
            let details = format!("{limit} other worker processes did not end in time");
            Fault::new(Reason::AgentBusy, details)
                .with_detail("running", limit)
                .with_remedy(Remedy::CheckHangingDisks)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stores_that_hang_never_hold_the_permits_of_healthy_ones() {
        let limiter = WorkerLimiter::default();
        let now = Instant::now;
        let mut held = Vec::new();
        while let Ok(permit) = limiter.acquire_until(true, now()).await {
            held.push(permit);
        }
        assert_eq!(held.len(), MAX_HUNG_WORKERS);
        while let Ok(permit) = limiter.acquire_until(false, now()).await {
            held.push(permit);
        }
        assert_eq!(held.len(), MAX_WORKERS);
        let fault = limiter.acquire_until(false, now()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy);
        // A worker that hangs gives its permit back, to whoever is next.
        held.remove(0);
        assert!(limiter.acquire_until(false, now()).await.is_ok());
        assert!(limiter.acquire_until(true, now()).await.is_ok());
    }

    #[tokio::test]
    async fn a_healthy_store_does_not_wait_behind_a_thousand_that_hang() {
        let limiter = WorkerLimiter::default();
        let (mut held, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            let mut request = Box::pin(limiter.acquire(true));
            // Those that get a permit keep it, and the others wait in the order.
            match poll_once(&mut request).await {
                Some(permit) => held.push(permit),
                None => waiting.push(request),
            }
        }
        assert_eq!((held.len(), waiting.len()), (MAX_HUNG_WORKERS, 1000 - MAX_HUNG_WORKERS));
        assert!(limiter.acquire_until(false, Instant::now()).await.is_ok());
    }

    /// Polls once.
    async fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        timeout_at(Instant::now(), future).await.ok()
    }
}
