//! The queue of the hashes of logins: one is computed at a time, so that logins take neither all
//! processors nor more than the memory of one hash.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::common::{BlockingError, lock_unpoisoned, run_blocking};

/// Maximum number of logins in the queue, that of the running hash included: 8 wait. With a hash of
/// 100 ms, the last one is answered within a second.
const MAX_PLACES: u32 = 9;
/// Maximum number of them from one source, so that four sources together do not fill the queue.
const MAX_SOURCE_PLACES: u32 = 2;

/// The places in use, by the network of the source. Logins over the Unix socket have no network.
type PlaceCounts = Arc<Mutex<HashMap<Option<IpAddr>, u32>>>;

/// The queue of hashes.
pub(super) struct HashQueue {
    places: PlaceCounts,
    running: Arc<Semaphore>,
}

/// A place in the queue, which is free again when this is dropped.
pub(super) struct QueuePlace {
    places: PlaceCounts,
    source: Option<IpAddr>,
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut places = lock_unpoisoned(&self.places);
        if let Some(count) = places.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                places.remove(&self.source);
            }
        }
    }
}

impl Default for HashQueue {
    fn default() -> Self {
        Self { places: PlaceCounts::default(), running: Arc::new(Semaphore::new(1)) }
    }
}

impl HashQueue {
    /// Takes a place for a login from this source. Returns `None` if the queue, or the share of the
    /// source, is full.
    pub(super) fn enter(&self, source: Option<IpAddr>) -> Option<QueuePlace> {
        let mut places = lock_unpoisoned(&self.places);
        let own = places.get(&source).copied().unwrap_or_default();
        if own >= MAX_SOURCE_PLACES || places.values().sum::<u32>() >= MAX_PLACES {
            return None;
        }
        places.insert(source, own.saturating_add(1));
        Some(QueuePlace { places: Arc::clone(&self.places), source })
    }

    /// Waits until the place is the first one, and runs `work` on a thread for blocking work.
    ///
    /// # Errors
    /// [`BlockingError`] if the work has not ended at the deadline.
    ///
    /// # Cancel safety
    /// Work that has started continues and keeps its place. Work that has not started never runs.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        place: QueuePlace,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let turn = timeout_at(deadline, Arc::clone(&self.running).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(turn)) = turn else { return Err(BlockingError::NotStarted) };
        run_blocking(deadline, move || {
            let _held = (place, turn);
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use super::*;

    fn source(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_source_has_two_places_and_all_sources_together_nine() {
        let queue = HashQueue::default();
        let mut places: Vec<_> = (0..4)
            .flat_map(|at| [at, at])
            .map(source)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|from| queue.enter(from).unwrap())
            .collect();
        assert!(queue.enter(source(0)).is_none());
        places.push(queue.enter(None).unwrap());
        assert!(queue.enter(source(9)).is_none() && queue.enter(None).is_none());
        places.remove(0);
        assert!(queue.enter(source(9)).is_some_and(|place| place.source == source(9)));
        assert!(queue.enter(source(0)).is_some());
        drop(places);
        assert!(lock_unpoisoned(&queue.places).is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_hash_runs_at_a_time_in_the_order_of_the_queue() {
        let queue = HashQueue::default();
        let deadline = Instant::now() + Duration::from_secs(60);
        let (running, order) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let all = (0..9_u8).map(|number| {
            let (running, order) = (Arc::clone(&running), Arc::clone(&order));
            let work = move || {
                let before = running.fetch_add(1, Ordering::SeqCst);
                lock_unpoisoned(&order).push(number);
                running.fetch_sub(1, Ordering::SeqCst);
                before
            };
            queue.run(queue.enter(source(number)).unwrap(), deadline, work)
        });
        let mut tasks = Vec::new();
        for running in all {
            tasks.push(Box::pin(running));
        }
        for task in tasks {
            assert_eq!(task.await, Ok(0));
        }
        assert_eq!(*lock_unpoisoned(&order), (0..9).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_hash_that_its_client_has_left_keeps_its_place_to_its_end() {
        let queue = HashQueue::default();
        let (release, released) = sync_channel::<()>(0);
        let (started, mut has_started) = tokio::sync::mpsc::channel(1);
        let hanging = queue.run(
            queue.enter(source(1)).unwrap(),
            Instant::now() + Duration::from_secs(60),
            move || {
                started.blocking_send(()).unwrap();
                released.recv().unwrap();
            },
        );
        tokio::select! {
            _ = hanging => unreachable!("it is not released"),
            _ = has_started.recv() => {}
        }
        // The client has disconnected, and its hash still runs.
        let _second = queue.enter(source(1)).unwrap();
        assert!(queue.enter(source(1)).is_none());
        let soon = Instant::now() + Duration::from_millis(20);
        let waiting = queue.run(queue.enter(source(2)).unwrap(), soon, || ()).await;
        assert_eq!(waiting, Err(BlockingError::NotStarted));
        release.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(queue.run(queue.enter(source(2)).unwrap(), deadline, || 7).await, Ok(7));
    }
}
