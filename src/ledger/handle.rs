//! Handle to the ledger thread: sends requests to it and waits for the replies.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, debug_span};

use super::{CommitError, LedgerChange, LedgerStats, OutboxDepth};
use crate::common::Timestamp;
use crate::lifecycle::{EventPage, EventQuery, StoreHistory};
use crate::model::{
    CapacityDay, Epoch, EventCursor, Fault, JobId, JobResult, Notice, OwedHook, Position, Reason,
    SshCredentials, Store, StoreUuid, UtcDay,
};

/// Maximum number of waiting requests. A commit takes much less than a millisecond, so this many
/// mean that the disk hangs. Further requests fail with `Busy` instead of filling memory.
pub(super) const MAX_QUEUED_REQUESTS: usize = 1024;

/// An error of a read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A row does not match its checksum, or the disk returned an error.
    #[error("the ledger cannot be read: {0}")]
    Unreadable(String),
    /// Too many requests are waiting.
    #[error("too many requests are waiting for the state disk")]
    Busy,
    /// The ledger is closed.
    #[error("the ledger is closed")]
    Closed,
}

pub(super) type ReplySender<T> = oneshot::Sender<T>;

/// A request to the ledger thread.
#[derive(Debug)]
pub(super) enum LedgerRequest {
    Commit(LedgerChange, ReplySender<Result<(), CommitError>>),
    NextEpoch(Timestamp, ReplySender<Result<Epoch, CommitError>>),
    CheckWritable(ReplySender<Result<(), CommitError>>),
    Credentials(Box<Store>, ReplySender<Result<SshCredentials, Fault>>),
    PendingNotices(StoreUuid, Position, u32, ReplySender<Result<Vec<Notice>, ReadError>>),
    OutboxDepth(StoreUuid, Position, ReplySender<Result<OutboxDepth, ReadError>>),
    StoresWithPending(ReplySender<Result<Vec<StoreUuid>, ReadError>>),
    History(StoreUuid, u32, ReplySender<Result<StoreHistory, ReadError>>),
    EventsAfter(Box<EventQuery>, ReplySender<Result<EventPage, ReadError>>),
    EventsSince(Timestamp, ReplySender<Result<EventCursor, ReadError>>),
    CapacityDays(StoreUuid, UtcDay, ReplySender<Result<Vec<CapacityDay>, ReadError>>),
    JobResult(JobId, ReplySender<Result<Option<JobResult>, ReadError>>),
    OwedHook(JobId, ReplySender<Result<Option<OwedHook>, ReadError>>),
    Close,
}

/// Handle to the ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) requests: mpsc::Sender<LedgerRequest>,
    newest_event: watch::Sender<u64>,
    /// Notified of each change that the state disk has refused.
    refusals: Arc<Notify>,
    stats: Arc<LedgerStats>,
}

impl Ledger {
    /// Commits a change, all of it or nothing. Waiting changes share one transaction, but each of
    /// them succeeds or fails independently.
    ///
    /// # Errors
    /// Returns [`CommitError`] if no part of the change was made.
    ///
    /// # Cancel safety
    /// If this future is dropped, the change may still be committed.
    pub async fn commit(&self, change: LedgerChange) -> Result<(), CommitError> {
        self.queue_commit(change).await
    }

    /// Queues a change at once, and returns the wait for its commit as [`Ledger::commit`] does.
    /// Changes are made in the order in which they are queued.
    pub fn queue_commit(
        &self,
        change: LedgerChange,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let span = debug_span!("commit", store = change.first_store().map(tracing::field::display));
        let queued_at = Instant::now();
        let queued = self.queue_request(|reply| LedgerRequest::Commit(change, reply));
        let refusals = Arc::clone(&self.refusals);
        let committing = async move {
            let result = queued?.await.map_err(|_| SendError::Closed)?;
            report_refusal(&refusals, &result);
            // The time includes the wait in the queue. The caller reports the error.
            debug!(took = ?queued_at.elapsed(), made = result.is_ok(), "commit finished");
            result
        };
        committing.instrument(span)
    }

    /// Starts a new epoch for a store that is being added. Its positions start above those of a
    /// removed store with the same uuid.
    ///
    /// # Errors
    /// Returns [`CommitError`] if the epoch was not committed.
    ///
    /// # Cancel safety
    /// If this future is dropped, an epoch may be skipped.
    pub async fn next_epoch(&self, now: Timestamp) -> Result<Epoch, CommitError> {
        let result = self.send_request(|reply| LedgerRequest::NextEpoch(now, reply)).await?;
        report_refusal(&self.refusals, &result);
        result
    }

    /// Waits until the state disk refuses a change, or has refused one since the last wait. The
    /// changes of [`Ledger::check_writable`] do not count.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub async fn wait_refusal(&self) {
        self.refusals.notified().await;
    }

    /// Checks that the state disk accepts a commit.
    ///
    /// # Errors
    /// Returns [`CommitError`] if the commit failed.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub async fn check_writable(&self) -> Result<(), CommitError> {
        self.send_request(LedgerRequest::CheckWritable).await?
    }

    /// Returns the unsealed secrets of a store, if the ledger holds them for the login of this
    /// definition.
    ///
    /// # Errors
    /// Returns `agent_busy` if a change of the login was committed after this definition was read.
    /// Returns `secret_unreadable` if a secret is damaged or missing, or without the master key
    /// that sealed it. Returns `state_disk_trouble`, `agent_busy` or `agent_stopping` if the ledger
    /// cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn credentials(&self, store: &Store) -> Result<SshCredentials, Fault> {
        let store = Box::new(store.clone());
        let response = self.send_request(|reply| LedgerRequest::Credentials(store, reply)).await;
        response.unwrap_or_else(|error| {
            let reason = match error {
                SendError::Full => Reason::AgentBusy,
                SendError::Closed => Reason::AgentStopping,
            };
            Err(Fault::new(reason, "the ledger did not accept the request for the stored secrets"))
        })
    }

    /// Returns the first waiting notices of a store, lowest position first.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn pending_notices(
        &self,
        store: StoreUuid,
        limit: u32,
    ) -> Result<Vec<Notice>, ReadError> {
        self.notices_behind(store, Position::default(), limit).await
    }

    /// Returns the first waiting notices of a store behind a position, lowest position first. The
    /// notices before it are not read.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn notices_behind(
        &self,
        store: StoreUuid,
        behind: Position,
        limit: u32,
    ) -> Result<Vec<Notice>, ReadError> {
        let request = |reply| LedgerRequest::PendingNotices(store, behind, limit, reply);
        self.send_request(request).await?
    }

    /// Returns how many notices of a store wait behind this position, and the position of the
    /// newest of all. The cost grows with the number of counted notices.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn outbox_depth(
        &self,
        store: StoreUuid,
        behind: Position,
    ) -> Result<OutboxDepth, ReadError> {
        self.send_request(|reply| LedgerRequest::OutboxDepth(store, behind, reply)).await?
    }

    /// Returns the stores that have waiting notices.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn stores_with_pending(&self) -> Result<Vec<StoreUuid>, ReadError> {
        self.send_request(LedgerRequest::StoresWithPending).await?
    }

    /// Returns the newest lines of a store's history, and the number of pruned lines.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn history(&self, store: StoreUuid, limit: u32) -> Result<StoreHistory, ReadError> {
        self.send_request(|reply| LedgerRequest::History(store, limit, reply)).await?
    }

    /// Returns the events after a position, oldest first: at most the limit of the query, and at
    /// most as many as a page has. Missing events are a gap at the position of the newest of them.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn events_after(&self, query: EventQuery) -> Result<EventPage, ReadError> {
        let query = Box::new(query);
        self.send_request(|reply| LedgerRequest::EventsAfter(query, reply)).await?
    }

    /// Returns the position before the first event of this time or later. It is only nearly right
    /// for a time at which the clock was set back.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn position_before(&self, since: Timestamp) -> Result<EventCursor, ReadError> {
        self.send_request(|reply| LedgerRequest::EventsSince(since, reply)).await?
    }

    /// Returns the days of a store with figures, from this day on, oldest first. There are at most
    /// about 400. A day of another series than the last one describes other space.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn capacity_days(
        &self,
        store: StoreUuid,
        since: UtcDay,
    ) -> Result<Vec<CapacityDay>, ReadError> {
        self.send_request(|reply| LedgerRequest::CapacityDays(store, since, reply)).await?
    }

    /// Returns the result of a job, or `None` if the job is running or gone.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn job_result(&self, job: JobId) -> Result<Option<JobResult>, ReadError> {
        self.send_request(|reply| LedgerRequest::JobResult(job, reply)).await?
    }

    /// Returns the web hook that the result of a job is owed to, or `None` if there is none.
    ///
    /// # Errors
    /// Returns [`ReadError`] if the ledger cannot be read, or the URL cannot be unsealed.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn owed_hook(&self, job: JobId) -> Result<Option<OwedHook>, ReadError> {
        self.send_request(|reply| LedgerRequest::OwedHook(job, reply)).await?
    }

    /// Returns a receiver that changes after each commit with events, and once after the
    /// subscription. A reader that waits for events subscribes first, reads to the last page, and
    /// then waits for a change.
    pub fn subscribe_events(&self) -> watch::Receiver<u64> {
        self.newest_event.subscribe()
    }

    /// Returns the counts of the ledger since the start of the daemon.
    pub fn stats(&self) -> &LedgerStats {
        &self.stats
    }

    pub(super) fn new(
        requests: mpsc::Sender<LedgerRequest>,
        newest_event: watch::Sender<u64>,
        stats: Arc<LedgerStats>,
    ) -> Self {
        Self { requests, newest_event, refusals: Arc::default(), stats }
    }

    async fn send_request<T>(
        &self,
        request: impl FnOnce(ReplySender<T>) -> LedgerRequest,
    ) -> Result<T, SendError> {
        self.queue_request(request)?.await.map_err(|_| SendError::Closed)
    }

    fn queue_request<T>(
        &self,
        request: impl FnOnce(ReplySender<T>) -> LedgerRequest,
    ) -> Result<oneshot::Receiver<T>, SendError> {
        let (reply, response) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })?;
        Ok(response)
    }
}

fn report_refusal<T>(refusals: &Notify, result: &Result<T, CommitError>) {
    if let Err(CommitError::StateDisk(_) | CommitError::Displaced(_)) = result {
        refusals.notify_one();
    }
}

/// A request that the ledger thread did not accept.
enum SendError {
    Full,
    Closed,
}

impl From<SendError> for CommitError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full => Self::Busy,
            SendError::Closed => Self::Closed,
        }
    }
}

impl From<SendError> for ReadError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full => Self::Busy,
            SendError::Closed => Self::Closed,
        }
    }
}
