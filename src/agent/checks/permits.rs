//! The order in which an attempt acquires the permits that all stores share.
//!
//! # Never
//! - It never holds one of them while it waits for the other.

use tokio::time::Instant;

use crate::model::Fault;

/// A permit for which the attempts of several stores compete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedPermit {
    /// The permit for logins on the server.
    Server,
    /// The permit for a worker.
    Worker,
}

impl SharedPermit {
    /// Returns the permit that is probably taken. The stores whose last probe hung share a few
    /// workers, while all stores share the permits of a server.
    pub(super) fn likely_taken(has_hung: bool) -> Self {
        if has_hung { Self::Worker } else { Self::Server }
    }
}

/// Acquires both permits, and holds neither of them while it waits for the other. Stores on disks
/// that hang therefore delay no login on their server, and a server that does not answer delays no
/// probe. `first` is the permit to wait for first. Each function waits for its permit until the
/// given time, and returns a free permit also after it.
///
/// An attempt that needs a permit of a busy server and a busy worker may lose its places, and then
/// fails at the deadline.
///
/// # Errors
/// The error of the permit that was not free by `deadline`.
pub(crate) async fn acquire_together<S, W, ServerWait, WorkerWait>(
    first: SharedPermit,
    acquire_server: impl Fn(Instant) -> ServerWait,
    acquire_worker: impl Fn(Instant) -> WorkerWait,
    deadline: Instant,
) -> Result<(S, W), Fault>
where
    ServerWait: Future<Output = Result<S, Fault>>,
    WorkerWait: Future<Output = Result<W, Fault>>,
{
    let mut awaited = first;
    loop {
        awaited = match awaited {
            SharedPermit::Server => {
                let server = acquire_server(deadline).await?;
                match acquire_worker(Instant::now()).await {
                    Ok(worker) => return Ok((server, worker)),
                    Err(_) => SharedPermit::Worker,
                }
            }
            SharedPermit::Worker => {
                let worker = acquire_worker(deadline).await?;
                match acquire_server(Instant::now()).await {
                    Ok(server) => return Ok((server, worker)),
                    Err(_) => SharedPermit::Server,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{OwnedSemaphorePermit, Semaphore};
    use tokio::task::{JoinSet, yield_now};
    use tokio::time::timeout_at;

    use super::SharedPermit::{Server, Worker};
    use super::*;
    use crate::model::Reason;

    async fn acquire(
        permits: &Arc<Semaphore>,
        name: &str,
        until: Instant,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let permit = timeout_at(until, Arc::clone(permits).acquire_owned()).await;
        permit.map(Result::unwrap).map_err(|_| Fault::new(Reason::AgentBusy, name))
    }

    async fn both(
        first: SharedPermit,
        servers: &Arc<Semaphore>,
        workers: &Arc<Semaphore>,
        deadline: Instant,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Fault> {
        let server = |until| acquire(servers, "server", until);
        acquire_together(first, server, |until| acquire(workers, "worker", until), deadline).await
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn neither_permit_is_held_during_the_wait_for_the_other() {
        for first in [Server, Worker] {
            for is_server_taken in [true, false] {
                let (servers, workers) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
                let (taken, free) =
                    if is_server_taken { (&servers, &workers) } else { (&workers, &servers) };
                let held = Arc::clone(taken).acquire_owned().await.unwrap();
                let mut acquiring = Box::pin(both(first, &servers, &workers, far()));
                let polled = timeout_at(Instant::now(), &mut acquiring).await;
                assert!(polled.is_err(), "{first:?}");
                assert_eq!(free.available_permits(), 1, "{first:?}, server {is_server_taken}");
                drop(held);
                drop(acquiring.await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn the_permit_that_was_not_free_is_the_fault() {
        let permits = |count| Arc::new(Semaphore::new(count));
        for first in [Server, Worker] {
            for (servers, workers, name) in [(0, 1, "server"), (1, 0, "worker")] {
                let (servers, workers) = (permits(servers), permits(workers));
                let now = Instant::now();
                let fault = both(first, &servers, &workers, now).await.unwrap_err();
                assert_eq!(fault.details(), name, "{first:?}");
            }
            // Both are free, although the time has passed.
            drop(both(first, &permits(1), &permits(1), Instant::now()).await.unwrap());
        }
    }

    #[tokio::test]
    async fn many_attempts_with_few_permits_all_end() {
        let (servers, workers) = (Arc::new(Semaphore::new(4)), Arc::new(Semaphore::new(3)));
        let mut attempts = JoinSet::new();
        for n in 0..200_u32 {
            let (servers, workers) = (Arc::clone(&servers), Arc::clone(&workers));
            let first = if n % 3 == 0 { Worker } else { Server };
            attempts.spawn(async move {
                let held = both(first, &servers, &workers, far()).await;
                for _ in 0..n % 7 {
                    yield_now().await;
                }
                held.map(drop)
            });
        }
        while let Some(ended) = attempts.join_next().await {
            ended.unwrap().unwrap();
        }
        assert_eq!((servers.available_permits(), workers.available_permits()), (4, 3));
    }
}
