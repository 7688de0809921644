//! Layer 7. The notifier: it delivers the outbox to the management node, one task per store, and
//! sends heartbeats.
//!
//! # Guarantees
//!
//! - A committed notice counts as pending from
//!   [`mark_pending`](crate::agent::OutboxSignal::mark_pending) until a receiver took it. A store
//!   counts as having one until the outbox was read after the start.
//! - Each notice is delivered at least once, in order per store, with retries that have no end.
//! - Stores do not wait for each other.
//! - This process does not send a delivered notice again, even if the acknowledgement cannot be
//!   committed.
//!
//! # Never
//!
//! - Loses or reorders a notice.
//! - Decides what a reply means; `delivery` does.
//! - Runs longer than [`NotifierContext::last_delivery_timeout`] after its stop.

mod endpoints;
mod handle;
mod heartbeat;
mod outbox_reader;
mod stats;
mod status;
mod store_delivery;

pub use handle::NotifierHandle;
pub use heartbeat::HeartbeatTask;
pub use stats::{DeliveryStats, DeliveryWord};
pub use status::{DeliveryStatus, NotifierStatus};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::agent::DaemonContext;
use crate::catalog::Language;
use crate::common::Backoff;
use crate::delivery::DeliveryState;
use crate::ledger::ReadError;
use crate::management::CallbackClient;
use crate::model::StoreUuid;
use crate::wire::EventFormat;
use endpoints::CallbackEndpoints;
use handle::ChangedStores;
use status::StatusPublisher;
use store_delivery::{DeliveryShared, FinishedDelivery, StoreDelivery};

/// Maximum number of deliveries that read, send or acknowledge at once. It bounds the sockets, the
/// load of the receiver and the requests in the queue of the ledger. If each request takes its
/// whole timeout of 10 s, 32 of them still serve about 1000 stores in 5 min.
const MAX_CONCURRENT_DELIVERIES: usize = 32;
/// Backoff between retries to read the backlog at the start. The limit of the random delay grows
/// from 200 ms to 60 s.
const BACKLOG_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));

/// The dependencies and settings of the notifier. `app` builds them once.
pub struct NotifierContext {
    /// The dependencies that the agent has as well. Its ledger holds the outbox.
    pub daemon: Arc<DaemonContext>,
    /// Posts events to the receivers.
    pub client: CallbackClient,
    /// The format of events.
    pub format: EventFormat,
    /// The language of the errors in events.
    pub language: Language,
    /// Maximum number of pending notices of a store. More of them are coalesced into one.
    pub max_pending: u32,
    /// The period over which the first requests of the backlog are spread.
    pub start_spread: Duration,
    /// Maximum time for which requests continue after the stop.
    pub last_delivery_timeout: Duration,
}

/// A delivery task panicked. This is an internal error, after which there are no guarantees.
#[derive(Debug, thiserror::Error)]
#[error("a delivery task panicked")]
pub struct DeliveryTaskPanicked(#[source] JoinError);

/// The task that owns the delivery tasks of all stores.
pub struct NotifierTask {
    shared: Arc<DeliveryShared>,
    changed: watch::Sender<ChangedStores>,
    changes: watch::Receiver<ChangedStores>,
    deliveries: BTreeMap<StoreUuid, watch::Sender<()>>,
    tasks: JoinSet<FinishedDelivery>,
    stop: CancellationToken,
}

impl NotifierTask {
    /// Creates a notifier for everything in the outbox. `stop` ends it.
    pub fn new(context: NotifierContext, stop: CancellationToken) -> (NotifierHandle, Self) {
        let (changed, changed_receiver) = watch::channel(ChangedStores::new());
        let (publisher, stats) = (StatusPublisher::default(), Arc::default());
        let daemon = Arc::clone(&context.daemon);
        let endpoints =
            Arc::new(CallbackEndpoints::new(context.client.clone(), context.format, daemon));
        let shared = Arc::new(DeliveryShared {
            context,
            endpoints: Arc::clone(&endpoints),
            status: publisher.clone(),
            stats: Arc::clone(&stats),
            permits: Semaphore::new(MAX_CONCURRENT_DELIVERIES),
            stop: CancellationToken::new(),
            started: Instant::now(),
        });
        let handle = NotifierHandle::new(changed.clone(), publisher, stats, endpoints);
        let (deliveries, tasks) = (BTreeMap::new(), JoinSet::new());
        (handle, Self { shared, changed, changes: changed_receiver, deliveries, tasks, stop })
    }

    /// Runs until the token is cancelled. Each delivery then makes a last try, due or not, unless
    /// the receiver rejects its notice. All of them end within
    /// [`NotifierContext::last_delivery_timeout`].
    ///
    /// # Errors
    /// [`DeliveryTaskPanicked`] if a delivery task panicked. The daemon must then exit and be
    /// restarted.
    ///
    /// # Cancel safety
    /// Dropping the future aborts all deliveries. Notices that were not acknowledged are sent again
    /// after a restart.
    pub async fn run_notifier(mut self) -> Result<(), DeliveryTaskPanicked> {
        let mut next_read = Some(Instant::now());
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.on_delivery_finished(ended)?,
                // The result is never an error, because this task keeps a sender.
                _ = self.changes.changed() => self.wake_changed(),
                () = sleep_until(next_read.unwrap_or_else(Instant::now)), if next_read.is_some() => {
                    failures += 1;
                    next_read = self.wake_backlog(failures).await;
                }
            }
        }
        self.wake_changed();
        self.shared.stop.cancel();
        let last_delivery_timeout = self.shared.context.last_delivery_timeout;
        match timeout(last_delivery_timeout, self.join_tasks()).await {
            Ok(joined) => joined,
            Err(_) => {
                debug!(deliveries = self.tasks.len(), "deliveries aborted at stop");
                self.tasks.shutdown().await;
                Ok(())
            }
        }
    }

    async fn join_tasks(&mut self) -> Result<(), DeliveryTaskPanicked> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(DeliveryTaskPanicked)?;
        }
        Ok(())
    }

    /// Starts a delivery task for each store with notices from before the start. Returns the time
    /// of the next try if the ledger cannot be read.
    async fn wake_backlog(&mut self, failures: u32) -> Option<Instant> {
        // A state disk that hangs must not delay the stop.
        let read = self
            .stop
            .run_until_cancelled(self.shared.context.daemon.ledger.stores_with_pending())
            .await;
        let error = match read {
            Some(Ok(backlog)) => {
                self.shared.status.set_backlog(&backlog);
                for store in backlog {
                    let spread = self.shared.context.start_spread;
                    let random = self.shared.context.daemon.random.next_u64();
                    let first = Backoff::new(spread, spread).delay(1, random);
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
            warn!(%error, "backlog of notices not readable");
        }
        let wait = BACKLOG_BACKOFF.delay(failures, self.shared.context.daemon.random.next_u64());
        Some(Instant::now() + wait)
    }

    fn wake_changed(&mut self) {
        let mut changed = ChangedStores::new();
        self.changed.send_if_modified(|stores| {
            std::mem::swap(stores, &mut changed);
            false
        });
        for store in changed {
            self.wake_store(store, DeliveryState::default());
        }
    }

    /// Wakes the delivery task of a store, or starts it with this state.
    fn wake_store(&mut self, store: StoreUuid, state: DeliveryState) {
        if let Some(running) = self.deliveries.get(&store) {
            running.send_replace(());
            return;
        }
        let (wake, wake_receiver) = watch::channel(());
        self.deliveries.insert(store, wake);
        self.tasks.spawn(
            StoreDelivery::new(store, Arc::clone(&self.shared), wake_receiver, state)
                .run_delivery(),
        );
    }

    fn on_delivery_finished(
        &mut self,
        ended: Result<FinishedDelivery, JoinError>,
    ) -> Result<(), DeliveryTaskPanicked> {
        let FinishedDelivery { store, wake } = ended.map_err(DeliveryTaskPanicked)?;
        // The outbox changed after the last read of the delivery task.
        let again = wake.has_changed().unwrap_or(false);
        self.deliveries.remove(&store);
        if again {
            self.wake_store(store, DeliveryState::default());
        }
        Ok(())
    }
}
