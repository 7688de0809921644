//! Changes to the ledger. The operations of one change commit together or not at all.

use crate::common::Timestamp;
use crate::lifecycle::{DurableRecord, HistoryEntry};
use crate::model::{
    DayFigures, JobHook, JobId, JobRequest, JobResult, LoginDigest, LoginRejections, MountLocation,
    Notice, Position, ProcessId, SshCredentials, Store, StoreUuid, TrialRejections,
};

/// Operations that commit together. Each method appends one operation. An empty change need not be
/// committed.
#[derive(Debug, Default)]
#[must_use]
pub struct LedgerChange(Vec<Operation>);

/// One operation on the ledger.
#[derive(Debug)]
pub(super) enum Operation {
    AddStore {
        store: Box<Store>,
        credentials: SshCredentials,
        durable: Box<DurableRecord>,
    },
    SaveStore(Box<Store>),
    ReplaceSecrets(StoreUuid, SshCredentials),
    SaveRecord(StoreUuid, Box<DurableRecord>),
    RemoveStore(StoreUuid, Box<HistoryEntry>),
    Enqueue(Box<Notice>),
    Acknowledge(StoreUuid, Position),
    Coalesce {
        through: Position,
        into: Box<Notice>,
    },
    AddHistory(StoreUuid, Box<HistoryEntry>),
    AddCapacity {
        store: StoreUuid,
        figures: Box<DayFigures>,
        place: Box<MountLocation>,
    },
    SaveStuckWorker(StoreUuid, ProcessId),
    ClearStuckWorker(StoreUuid),
    SaveRejections(StoreUuid, Option<Box<LoginRejections>>),
    SaveTrialRejections {
        digest: Box<LoginDigest>,
        rejections: Option<Box<TrialRejections>>,
        expired: Timestamp,
    },
    AddJob(Box<JobRequest>),
    MarkJobChange(JobId),
    FinishJob(JobId, Box<JobResult>),
    RemoveJob(JobId),
    OweHook(Box<(JobRequest, JobHook)>),
    RemoveHook(JobId, u32),
}

impl LedgerChange {
    /// Creates an empty change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns true if the change has no operations.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the store of the first operation, or `None` if it has none.
    pub(super) fn first_store(&self) -> Option<StoreUuid> {
        Some(match self.0.first()? {
            Operation::AddStore { store, .. } | Operation::SaveStore(store) => store.uuid,
            Operation::Enqueue(notice) | Operation::Coalesce { into: notice, .. } => notice.store,
            Operation::SaveRecord(store, _)
            | Operation::ReplaceSecrets(store, _)
            | Operation::RemoveStore(store, _)
            | Operation::AddCapacity { store, .. }
            | Operation::Acknowledge(store, _)
            | Operation::AddHistory(store, _)
            | Operation::SaveStuckWorker(store, _)
            | Operation::ClearStuckWorker(store)
            | Operation::SaveRejections(store, _) => *store,
            Operation::SaveTrialRejections { .. }
            | Operation::AddJob(_)
            | Operation::MarkJobChange(_)
            | Operation::FinishJob(..)
            | Operation::RemoveJob(_)
            | Operation::OweHook(..)
            | Operation::RemoveHook(..) => return None,
        })
    }

    pub(super) fn operations(&self) -> &[Operation] {
        &self.0
    }

    fn with_operation(mut self, operation: Operation) -> Self {
        self.0.push(operation);
        self
    }

    /// Adds a store with its secrets and its first durable record. The commit fails with a conflict
    /// if its uuid or its image directory is already in the ledger.
    pub fn add_store(
        self,
        store: Store,
        credentials: SshCredentials,
        durable: DurableRecord,
    ) -> Self {
        let (store, durable) = (Box::new(store), Box::new(durable));
        self.with_operation(Operation::AddStore { store, credentials, durable })
    }

    /// Replaces the definition of a store. The commit fails with a conflict if the store is absent.
    pub fn save_store(self, store: Store) -> Self {
        self.with_operation(Operation::SaveStore(Box::new(store)))
    }

    /// Replaces all secrets of a store. The commit fails with a conflict if the store is absent.
    pub fn replace_secrets(self, store: StoreUuid, credentials: SshCredentials) -> Self {
        self.with_operation(Operation::ReplaceSecrets(store, credentials))
    }

    /// Replaces the durable record of a store. The commit fails with a conflict if the store is
    /// absent.
    pub fn save_record(self, store: StoreUuid, durable: DurableRecord) -> Self {
        self.with_operation(Operation::SaveRecord(store, Box::new(durable)))
    }

    /// Removes a store with its secrets, its history, its figures and its undelivered notices. Only
    /// `removed` stays, a line of the history. A store that is absent is not an error.
    pub fn remove_store(self, store: StoreUuid, removed: HistoryEntry) -> Self {
        self.with_operation(Operation::RemoveStore(store, Box::new(removed)))
    }

    /// Adds a notice to the outbox. The commit fails with a conflict if its position is taken.
    pub fn enqueue(self, notice: Notice) -> Self {
        self.with_operation(Operation::Enqueue(Box::new(notice)))
    }

    /// Removes a delivered notice from the outbox. A notice that is already gone is not an error.
    pub fn acknowledge(self, store: StoreUuid, position: Position) -> Self {
        self.with_operation(Operation::Acknowledge(store, position))
    }

    /// Replaces all notices of the store up to and including `through` with one notice.
    pub fn coalesce(self, through: Position, into: Notice) -> Self {
        self.with_operation(Operation::Coalesce { through, into: Box::new(into) })
    }

    /// Adds a line to the history of a store.
    pub fn add_history(self, store: StoreUuid, entry: HistoryEntry) -> Self {
        self.with_operation(Operation::AddHistory(store, Box::new(entry)))
    }

    /// Adds figures to those of their day. If the place does not continue that of the figures
    /// before, they begin a new series, and the figures of the same day are replaced.
    pub fn add_capacity(self, store: StoreUuid, figures: DayFigures, place: MountLocation) -> Self {
        let (figures, place) = (Box::new(figures), Box::new(place));
        self.with_operation(Operation::AddCapacity { store, figures, place })
    }

    /// Records a worker process of the store that could not be killed, so that a restarted daemon
    /// knows it.
    pub fn save_stuck_worker(self, store: StoreUuid, worker: ProcessId) -> Self {
        self.with_operation(Operation::SaveStuckWorker(store, worker))
    }

    /// Replaces the rejected logins of a store, or removes them. The commit fails with a conflict
    /// if the store is absent.
    pub fn save_rejections(self, store: StoreUuid, rejections: Option<LoginRejections>) -> Self {
        self.with_operation(Operation::SaveRejections(store, rejections.map(Box::new)))
    }

    /// Replaces the rejections of a trial login, or removes them. Those of all trial logins whose
    /// last rejection is before `expired` are removed too.
    pub fn save_trial_rejections(
        self,
        digest: LoginDigest,
        rejections: Option<TrialRejections>,
        expired: Timestamp,
    ) -> Self {
        let (digest, rejections) = (Box::new(digest), rejections.map(Box::new));
        self.with_operation(Operation::SaveTrialRejections { digest, rejections, expired })
    }

    /// Removes the record of the store's stuck worker.
    pub fn clear_stuck_worker(self, store: StoreUuid) -> Self {
        self.with_operation(Operation::ClearStuckWorker(store))
    }

    /// Adds a job that begins. The commit fails with a conflict if its id is taken.
    pub fn add_job(self, request: JobRequest) -> Self {
        self.with_operation(Operation::AddJob(Box::new(request)))
    }

    /// Records that a running job has changed the definition of a store. A job that is gone is not
    /// an error.
    pub fn mark_job_change(self, job: JobId) -> Self {
        self.with_operation(Operation::MarkJobChange(job))
    }

    /// Records the result of a job. The first result stays. A job that is gone is not an error.
    pub fn finish_job(self, job: JobId, result: JobResult) -> Self {
        self.with_operation(Operation::FinishJob(job, Box::new(result)))
    }

    /// Removes a job and its web hook. A job that is gone is not an error.
    pub fn remove_job(self, job: JobId) -> Self {
        self.with_operation(Operation::RemoveJob(job))
    }

    /// Records that a caller is referred to the job, and that its result is owed to this web hook.
    /// It is no error if the job is gone, or if its id stands for the job of another request.
    pub fn owe_hook(self, request: &JobRequest, hook: JobHook) -> Self {
        self.with_operation(Operation::OweHook(Box::new((*request, hook))))
    }

    /// Removes the web hook of a job, unless a caller was referred to the job again after this
    /// turn.
    pub fn remove_hook(self, job: JobId, turn: u32) -> Self {
        self.with_operation(Operation::RemoveHook(job, turn))
    }
}
