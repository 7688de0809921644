//! What is to become durable, together or not at all.

use crate::lifecycle::{DurableRecord, HistoryEntry};
use crate::model::{Notice, Position, ProcessId, SshCredentials, Store, StoreUuid};

/// Operations that commit together. Built fluently; an empty one need not be committed.
#[derive(Debug, Default)]
#[must_use]
pub struct LedgerChange(Vec<Operation>);

/// One operation on the ledger.
#[derive(Debug)]
pub(super) enum Operation {
    AddStore { store: Box<Store>, credentials: SshCredentials, standing: Box<DurableRecord> },
    SaveStore(Box<Store>),
    ReplaceSecrets(StoreUuid, SshCredentials),
    SaveStanding(StoreUuid, Box<DurableRecord>),
    RemoveStore(StoreUuid),
    Enqueue(Box<Notice>),
    Acknowledge(StoreUuid, Position),
    Fold { through: Position, into: Box<Notice> },
    Note(StoreUuid, Box<HistoryEntry>),
    LeaveWorker(StoreUuid, ProcessId),
    ForgetWorker(StoreUuid),
}

impl LedgerChange {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose change it is, by its first operation.
    pub(super) fn find_store(&self) -> Option<StoreUuid> {
        Some(match self.0.first()? {
            Operation::AddStore { store, .. } | Operation::SaveStore(store) => store.uuid,
            Operation::Enqueue(notice) | Operation::Fold { into: notice, .. } => notice.store,
            Operation::SaveStanding(store, _)
            | Operation::ReplaceSecrets(store, _)
            | Operation::RemoveStore(store)
            | Operation::Acknowledge(store, _)
            | Operation::Note(store, _)
            | Operation::LeaveWorker(store, _)
            | Operation::ForgetWorker(store) => *store,
        })
    }

    pub(super) fn operation_list(&self) -> &[Operation] {
        &self.0
    }

    fn with_operation(mut self, operation: Operation) -> Self {
        self.0.push(operation);
        self
    }

    /// A new store with its secrets and its first standing. A conflict when its uuid or its image
    /// directory is there already.
    pub fn add_store(
        self,
        store: Store,
        credentials: SshCredentials,
        standing: DurableRecord,
    ) -> Self {
        let (store, standing) = (Box::new(store), Box::new(standing));
        self.with_operation(Operation::AddStore { store, credentials, standing })
    }

    /// The definition of a store as it is now. A conflict when it is not there.
    pub fn save_store(self, store: Store) -> Self {
        self.with_operation(Operation::SaveStore(Box::new(store)))
    }

    /// All secrets of a store, in the place of those before. A conflict when the store is not there.
    pub fn replace_secrets(self, store: StoreUuid, credentials: SshCredentials) -> Self {
        self.with_operation(Operation::ReplaceSecrets(store, credentials))
    }

    /// The standing of a store as it is now. A conflict when the store is not there.
    pub fn save_standing(self, store: StoreUuid, standing: DurableRecord) -> Self {
        self.with_operation(Operation::SaveStanding(store, Box::new(standing)))
    }

    /// Forgets a store, its secrets, its history and what the management node has not been told.
    pub fn remove_store(self, store: StoreUuid) -> Self {
        self.with_operation(Operation::RemoveStore(store))
    }

    /// A notice to deliver. A conflict when its position is taken.
    pub fn enqueue(self, notice: Notice) -> Self {
        self.with_operation(Operation::Enqueue(Box::new(notice)))
    }

    /// A notice that has been delivered; one that is not there any more is fine.
    pub fn acknowledge(self, store: StoreUuid, position: Position) -> Self {
        self.with_operation(Operation::Acknowledge(store, position))
    }

    /// Replaces all notices of the store up to and including `through` by one.
    pub fn coalesce(self, through: Position, into: Notice) -> Self {
        self.with_operation(Operation::Fold { through, into: Box::new(into) })
    }

    /// A line of history.
    pub fn add_history(self, store: StoreUuid, entry: HistoryEntry) -> Self {
        self.with_operation(Operation::Note(store, Box::new(entry)))
    }

    /// A worker of the store that would not die, to be known after a restart.
    pub fn save_stuck_worker(self, store: StoreUuid, worker: ProcessId) -> Self {
        self.with_operation(Operation::LeaveWorker(store, worker))
    }

    /// The store's worker is gone.
    pub fn clear_stuck_worker(self, store: StoreUuid) -> Self {
        self.with_operation(Operation::ForgetWorker(store))
    }
}
