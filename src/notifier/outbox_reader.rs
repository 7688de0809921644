//! One store's part of the outbox, as its lane sees it: without what has been delivered already.

use std::collections::BTreeSet;

use tracing::info;

use crate::ledger::{CommitError, Ledger, LedgerChange, OutboxDepth, ReadError};
use crate::model::{Notice, Position, StoreUuid};

/// Notices that one fold reads at a time, some kilobytes each; longer queues fold in several goes.
const CHUNK_NOTICES: u32 = 256;

/// The ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutboxError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl OutboxError {
    /// Whether it will never do it: the daemon is stopping.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Read(ReadError::Closed) | Self::Commit(CommitError::Closed))
    }
}

/// What waits of one store.
pub(super) struct OutboxReader {
    ledger: Ledger,
    store: StoreUuid,
    /// Delivered, but the ledger could not be told. Never more than the ledger holds of this store.
    unacknowledged: BTreeSet<Position>,
}

impl OutboxReader {
    pub(super) fn new(ledger: Ledger, store: StoreUuid) -> Self {
        Self { ledger, store, unacknowledged: BTreeSet::new() }
    }

    /// How many wait behind those that were counted, and the newest of them.
    pub(super) async fn depth_since(
        &self,
        counted: OutboxDepth,
    ) -> Result<OutboxDepth, OutboxError> {
        let last = counted.newest.unwrap_or_default();
        let more = self.ledger.outbox_depth(self.store, last).await?;
        // What was counted is gone: the store was removed.
        if more.newest < counted.newest {
            return self.outbox_depth().await;
        }
        let count = counted.count.saturating_add(more.count);
        Ok(OutboxDepth { count, newest: more.newest })
    }

    /// How many wait, and the newest of them. Costs time for each that waits.
    pub(super) async fn outbox_depth(&self) -> Result<OutboxDepth, OutboxError> {
        let all = Position::default();
        let OutboxDepth { count, newest } = self.ledger.outbox_depth(self.store, all).await?;
        let owed = u64::try_from(self.unacknowledged.len()).unwrap_or(u64::MAX);
        Ok(OutboxDepth { count: count.saturating_sub(owed), newest })
    }

    /// The notice to send next.
    pub(super) async fn first_notice(&self) -> Result<Option<Notice>, OutboxError> {
        Ok(self.read_chunk(1).await?.into_iter().next())
    }

    /// Takes note that a notice was delivered. When the ledger cannot be told now, it is told by
    /// [`OutboxReader::flush_acknowledgements`], and the notice is not seen here again.
    pub(super) async fn acknowledge_notice(
        &mut self,
        position: Position,
    ) -> Result<(), OutboxError> {
        self.unacknowledged.insert(position);
        self.flush_acknowledgements().await
    }

    /// Whether the ledger knows of everything that was delivered.
    pub(super) fn is_settled(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// Tells the ledger what could not be told before.
    pub(super) async fn flush_acknowledgements(&mut self) -> Result<(), OutboxError> {
        if self.unacknowledged.is_empty() {
            return Ok(());
        }
        let acknowledge = |change: LedgerChange, at: &Position| change.acknowledge(self.store, *at);
        self.ledger
            .commit(self.unacknowledged.iter().fold(LedgerChange::new(), acknowledge))
            .await?;
        self.unacknowledged.clear();
        Ok(())
    }

    /// Puts one notice in the place of all that wait.
    pub(super) async fn coalesce_notices(&mut self) -> Result<(), OutboxError> {
        loop {
            let notices = self.read_chunk(CHUNK_NOTICES).await?;
            let full = u32::try_from(notices.len()).is_ok_and(|read| read >= CHUNK_NOTICES);
            let Some(through) = notices.last().map(|notice| notice.position) else { return Ok(()) };
            if notices.len() > 1
                && let Some(into) = notices.into_iter().reduce(Notice::coalesce)
            {
                let (folded, store) = (into.folded, self.store);
                self.ledger.commit(LedgerChange::new().coalesce(through, into)).await?;
                info!(%store, folded, "notices are folded into one of the current state");
                self.unacknowledged.retain(|position| *position > through);
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// The first notices that are not delivered yet.
    async fn read_chunk(&self, limit: u32) -> Result<Vec<Notice>, OutboxError> {
        let owed = u32::try_from(self.unacknowledged.len()).unwrap_or(u32::MAX);
        let mut notices =
            self.ledger.pending_notices(self.store, limit.saturating_add(owed)).await?;
        notices.retain(|notice| !self.unacknowledged.contains(&notice.position));
        Ok(notices)
    }
}
