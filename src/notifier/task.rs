//! The task that owns the lanes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::context::NotifierContext;
use super::endpoints::CallbackEndpoints;
use super::handle::{ChangedStores, NotifierHandle};
use super::status::{NotifierStatus, StatusPublisher};
use super::store_delivery::{DeliveryShared, FinishedDelivery, StoreDelivery};
use crate::common::Backoff;
use crate::delivery::DeliveryState;
use crate::ledger::ReadError;
use crate::model::StoreUuid;

/// Lanes that read, send or acknowledge at once. Bounds the sockets, the receiver's load and the
/// places taken in the ledger's queue; a receiver that lets each request hang its 10 s is still tried
/// by thousands of stores within their backoff's minutes.
const MAX_CONCURRENT_DELIVERIES: usize = 32;
/// Between tries to read the backlog at the start.
const BACKLOG_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));

/// A lane broke off: a fault of ours, after which nothing can be promised.
#[derive(Debug, thiserror::Error)]
#[error("a lane of the notifier broke off")]
pub struct BrokenOff(#[source] JoinError);

/// Owns the lanes.
pub struct NotifierTask {
    shared: Arc<DeliveryShared>,
    moved: watch::Sender<ChangedStores>,
    changes: watch::Receiver<ChangedStores>,
    lanes: BTreeMap<StoreUuid, watch::Sender<()>>,
    tasks: JoinSet<FinishedDelivery>,
    stop: CancellationToken,
}

impl NotifierTask {
    /// A notifier of everything in the outbox. `stop` ends it.
    pub fn new(means: NotifierContext, stop: CancellationToken) -> (NotifierHandle, Self) {
        let (moved, news) = watch::channel(ChangedStores::new());
        let (status, shown) = watch::channel(NotifierStatus::default());
        let (clock, random) = (Arc::clone(&means.clock), Arc::clone(&means.random));
        let destinations =
            Arc::new(CallbackEndpoints::new(means.client.clone(), means.format, clock, random));
        let shared = Arc::new(DeliveryShared {
            means,
            destinations: Arc::clone(&destinations),
            board: StatusPublisher::new(status),
            permits: Semaphore::new(MAX_CONCURRENT_DELIVERIES),
            stop: CancellationToken::new(),
            started: Instant::now(),
        });
        let handle = NotifierHandle::new(moved.clone(), shown, destinations);
        let (lanes, tasks) = (BTreeMap::new(), JoinSet::new());
        (handle, Self { shared, moved, changes: news, lanes, tasks, stop })
    }

    /// Runs until the token is cancelled; then each lane has a last try, due or not, unless the receiver
    /// refuses it, and all end within [`NotifierContext::last_try`].
    ///
    /// # Errors
    /// [`BrokenOff`] when a lane panicked: the daemon is to end and be started anew.
    ///
    /// # Cancel safety
    /// Dropping the future aborts all lanes; what was not acknowledged is sent again after a start.
    pub async fn run_notifier(mut self) -> Result<(), BrokenOff> {
        let mut look_at = Some(Instant::now());
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.on_delivery_finished(ended)?,
                // Never an error: a sender is kept.
                _ = self.changes.changed() => self.wake_changed(),
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                    failures += 1;
                    look_at = self.wake_backlog(failures).await;
                }
            }
        }
        self.wake_changed();
        self.shared.stop.cancel();
        let last_try = self.shared.means.last_try;
        match timeout(last_try, self.join_tasks()).await {
            Ok(joined) => joined,
            Err(_) => {
                debug!(lanes = self.tasks.len(), "requests cut off by the stop");
                self.tasks.shutdown().await;
                Ok(())
            }
        }
    }

    async fn join_tasks(&mut self) -> Result<(), BrokenOff> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(BrokenOff)?;
        }
        Ok(())
    }

    /// Starts a lane for each store that has something waiting from before the start; says when to try
    /// again if the ledger cannot tell.
    async fn wake_backlog(&mut self, failures: u32) -> Option<Instant> {
        // A state disk that hangs must not hold the stop.
        let read =
            self.stop.run_until_cancelled(self.shared.means.ledger.stores_with_pending()).await;
        let error = match read {
            Some(Ok(backlog)) => {
                for store in backlog {
                    let spread = self.shared.means.start_spread;
                    let roll = self.shared.means.random.next_u64();
                    let first = Backoff::new(spread, spread).delay(1, roll);
                    self.wake_store(
                        store,
                        DeliveryState::starting_at(self.shared.started.elapsed() + first),
                    );
                }
                return None;
            }
            None | Some(Err(ReadError::Closed)) => return None,
            Some(Err(error)) => error,
        };
        if failures == 1 {
            warn!(%error, "the backlog of notices cannot be read yet");
        }
        let wait = BACKLOG_BACKOFF.delay(failures, self.shared.means.random.next_u64());
        Some(Instant::now() + wait)
    }

    fn wake_changed(&mut self) {
        let mut moved = ChangedStores::new();
        self.moved.send_if_modified(|waiting| {
            std::mem::swap(waiting, &mut moved);
            false
        });
        for store in moved {
            self.wake_store(store, DeliveryState::default());
        }
    }

    /// Wakes a store's lane, or starts this one.
    fn wake_store(&mut self, store: StoreUuid, lane: DeliveryState) {
        if let Some(running) = self.lanes.get(&store) {
            running.send_replace(());
            return;
        }
        let (wake, woken) = watch::channel(());
        self.lanes.insert(store, wake);
        self.tasks
            .spawn(StoreDelivery::new(store, Arc::clone(&self.shared), woken, lane).run_delivery());
    }

    fn on_delivery_finished(
        &mut self,
        ended: Result<FinishedDelivery, JoinError>,
    ) -> Result<(), BrokenOff> {
        let FinishedDelivery { store, wake } = ended.map_err(BrokenOff)?;
        // It moved when the lane had looked for the last time.
        let again = wake.has_changed().unwrap_or(false);
        self.lanes.remove(&store);
        if again {
            self.wake_store(store, DeliveryState::default());
        }
        Ok(())
    }
}
