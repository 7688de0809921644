//! The outbox of one store as its delivery task sees it: without the notices that were already
//! delivered.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::info;

use super::DeliveryStats;
use crate::ledger::{CommitError, Ledger, LedgerChange, OutboxDepth, ReadError};
use crate::model::{Notice, Position, StoreUuid};

/// Maximum number of notices that one coalescing step reads. A notice has some kilobytes. Longer
/// queues take several steps.
const CHUNK_NOTICES: u32 = 256;

/// The failure of a ledger operation.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutboxError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl OutboxError {
    /// Returns true if the ledger is closed, because the daemon is stopping. A retry cannot succeed
    /// then.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Read(ReadError::Closed) | Self::Commit(CommitError::Closed))
    }
}

/// Reads and acknowledges the notices of one store.
pub(super) struct OutboxReader {
    ledger: Ledger,
    store: StoreUuid,
    stats: Arc<DeliveryStats>,
    /// Delivered notices whose acknowledgement is not committed yet. At most as many as the ledger
    /// holds of this store.
    unacknowledged: BTreeSet<Position>,
}

impl OutboxReader {
    pub(super) fn new(ledger: Ledger, store: StoreUuid, stats: Arc<DeliveryStats>) -> Self {
        Self { ledger, store, stats, unacknowledged: BTreeSet::new() }
    }

    /// Returns the depth of the outbox. It reuses the count `earlier`, and reads only the notices
    /// that were added since.
    pub(super) async fn depth_since(
        &self,
        earlier: OutboxDepth,
    ) -> Result<OutboxDepth, OutboxError> {
        let last = earlier.newest.unwrap_or_default();
        let added = self.ledger.outbox_depth(self.store, last).await?;
        // The notices that were counted are gone, because the store was removed.
        if added.newest < earlier.newest {
            return self.outbox_depth().await;
        }
        let count = earlier.count.saturating_add(added.count);
        Ok(OutboxDepth { count, newest: added.newest })
    }

    /// Counts all pending notices. The cost is linear in their number.
    pub(super) async fn outbox_depth(&self) -> Result<OutboxDepth, OutboxError> {
        let all = Position::default();
        let OutboxDepth { count, newest } = self.ledger.outbox_depth(self.store, all).await?;
        let outstanding = u64::try_from(self.unacknowledged.len()).unwrap_or(u64::MAX);
        Ok(OutboxDepth { count: count.saturating_sub(outstanding), newest })
    }

    /// Returns the next notice to send, or `None` if no notice is pending.
    pub(super) async fn first_notice(&self) -> Result<Option<Notice>, OutboxError> {
        Ok(self.read_chunk(1).await?.into_iter().next())
    }

    /// Records that a notice was delivered. If the ledger cannot commit this now,
    /// [`OutboxReader::flush_acknowledgements`] retries later. The notice is not returned again.
    pub(super) async fn acknowledge_notice(
        &mut self,
        position: Position,
    ) -> Result<(), OutboxError> {
        self.unacknowledged.insert(position);
        self.flush_acknowledgements().await
    }

    /// Returns true if the ledger has committed every acknowledgement.
    pub(super) fn is_settled(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// Commits the outstanding acknowledgements.
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

    /// Coalesces all pending notices into one.
    pub(super) async fn coalesce_notices(&mut self) -> Result<(), OutboxError> {
        loop {
            let notices = self.read_chunk(CHUNK_NOTICES).await?;
            let full = u32::try_from(notices.len()).is_ok_and(|read| read >= CHUNK_NOTICES);
            let Some(through) = notices.last().map(|notice| notice.position) else { return Ok(()) };
            let older = notices.len().saturating_sub(1);
            if older > 0
                && let Some(coalesced) = notices.into_iter().reduce(Notice::coalesce)
            {
                let (folded, store) = (coalesced.transition_count, self.store);
                self.ledger.commit(LedgerChange::new().coalesce(through, coalesced)).await?;
                self.stats.folded.add(u64::try_from(older).unwrap_or(u64::MAX));
                info!(%store, folded, "outbox coalesced");
                self.unacknowledged.retain(|position| *position > through);
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Returns the first notices that are not delivered yet. Notices are delivered in order, so
    /// these are behind the last delivered one.
    async fn read_chunk(&self, limit: u32) -> Result<Vec<Notice>, OutboxError> {
        let delivered = self.unacknowledged.last().copied().unwrap_or_default();
        Ok(self.ledger.notices_behind(self.store, delivered, limit).await?)
    }
}
