//! How others speak to the ledger's thread.

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, debug_span};

use super::{CommitError, LedgerChange, OutboxDepth};
use crate::common::Timestamp;
use crate::lifecycle::StoreHistory;
use crate::model::{Epoch, Fault, Notice, Position, Reason, SshCredentials, StoreUuid};

/// Jobs that may wait. A commit takes well under a millisecond, so that this many mean a disk that
/// hangs: callers are told to come back instead of filling memory.
pub(super) const MAX_QUEUED_REQUESTS: usize = 1024;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A row does not match its checksum, or the disk refuses.
    #[error("the ledger cannot be read: {0}")]
    Unreadable(String),
    /// Too many jobs wait.
    #[error("too many jobs wait for the state disk")]
    Busy,
    /// The ledger has been closed.
    #[error("the ledger is closed")]
    Closed,
}

pub(super) type ReplySender<T> = oneshot::Sender<T>;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum LedgerRequest {
    Commit(LedgerChange, ReplySender<Result<(), CommitError>>),
    NextEpoch(Timestamp, ReplySender<Result<Epoch, CommitError>>),
    CheckWritable(ReplySender<Result<(), CommitError>>),
    Credentials(StoreUuid, ReplySender<Result<SshCredentials, Fault>>),
    Pending(StoreUuid, u32, ReplySender<Result<Vec<Notice>, ReadError>>),
    Waiting(StoreUuid, Position, ReplySender<Result<OutboxDepth, ReadError>>),
    Backlog(ReplySender<Result<Vec<StoreUuid>, ReadError>>),
    History(StoreUuid, u32, ReplySender<Result<StoreHistory, ReadError>>),
    Close,
}

/// The ledger, as others hold it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) jobs: mpsc::Sender<LedgerRequest>,
}

impl Ledger {
    /// Makes a change durable, all of it or nothing. Changes that wait together share one
    /// transaction, each still by itself whole or absent.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing of it was made.
    ///
    /// # Cancel safety
    /// A change that is dropped while it waits may still be made.
    pub async fn commit(&self, change: LedgerChange) -> Result<(), CommitError> {
        let span = debug_span!("commit", store = change.find_store().map(tracing::field::display));
        let committing = async {
            let asked = Instant::now();
            let done = self.send_request(|reply| LedgerRequest::Commit(change, reply)).await?;
            // With the wait in the queue; why it was refused is for the caller to tell.
            debug!(took = ?asked.elapsed(), made = done.is_ok(), "committed");
            done
        };
        committing.instrument(span).await
    }

    /// Begins a new epoch, for a store that is added: its positions start above those of a store of
    /// the same uuid that was removed before.
    ///
    /// # Errors
    /// [`CommitError`].
    ///
    /// # Cancel safety
    /// An epoch may be skipped.
    pub async fn next_epoch(&self, now: Timestamp) -> Result<Epoch, CommitError> {
        self.send_request(|reply| LedgerRequest::NextEpoch(now, reply)).await?
    }

    /// Proves that the state disk takes a commit.
    ///
    /// # Errors
    /// [`CommitError`] says why it does not.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn check_writable(&self) -> Result<(), CommitError> {
        self.send_request(LedgerRequest::CheckWritable).await?
    }

    /// The secrets of a store, unsealed.
    ///
    /// # Errors
    /// `secret_unreadable` without the master key that sealed them; `state_disk_trouble`, `agent_busy`,
    /// `agent_stopping`.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn credentials(&self, store: StoreUuid) -> Result<SshCredentials, Fault> {
        let asked = self.send_request(|reply| LedgerRequest::Credentials(store, reply)).await;
        asked.unwrap_or_else(|error| {
            let reason = match error {
                SendError::Full => Reason::AgentBusy,
                SendError::Closed => Reason::AgentStopping,
            };
            Err(Fault::new(reason, "the stored secrets could not be asked for"))
        })
    }

    /// The first notices of a store that wait, lowest position first.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn pending_notices(
        &self,
        store: StoreUuid,
        limit: u32,
    ) -> Result<Vec<Notice>, ReadError> {
        self.send_request(|reply| LedgerRequest::Pending(store, limit, reply)).await?
    }

    /// How many notices of a store wait behind this place, and the place of the newest of all. Costs time
    /// for each that is counted.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn outbox_depth(
        &self,
        store: StoreUuid,
        behind: Position,
    ) -> Result<OutboxDepth, ReadError> {
        self.send_request(|reply| LedgerRequest::Waiting(store, behind, reply)).await?
    }

    /// The stores for which notices wait.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn stores_with_pending(&self) -> Result<Vec<StoreUuid>, ReadError> {
        self.send_request(LedgerRequest::Backlog).await?
    }

    /// The newest lines of a store's history, and how many are gone.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn history(&self, store: StoreUuid, limit: u32) -> Result<StoreHistory, ReadError> {
        self.send_request(|reply| LedgerRequest::History(store, limit, reply)).await?
    }

    pub(super) fn new(jobs: mpsc::Sender<LedgerRequest>) -> Self {
        Self { jobs }
    }

    async fn send_request<T>(
        &self,
        job: impl FnOnce(ReplySender<T>) -> LedgerRequest,
    ) -> Result<T, SendError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })?;
        answer.await.map_err(|_| SendError::Closed)
    }
}

/// The thread did not take the job.
enum SendError {
    Full,
    Closed,
}

impl From<SendError> for CommitError {
    fn from(unasked: SendError) -> Self {
        match unasked {
            SendError::Full => Self::Busy,
            SendError::Closed => Self::Closed,
        }
    }
}

impl From<SendError> for ReadError {
    fn from(unasked: SendError) -> Self {
        match unasked {
            SendError::Full => Self::Busy,
            SendError::Closed => Self::Closed,
        }
    }
}
