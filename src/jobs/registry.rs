//! The registry of all jobs: the table, and the rows of the ledger behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::decision::{JobAdmission, JobEnding, JobLimits, JobPromise};
use super::digest::JobDigests;
use super::table::JobTable;
use crate::common::{Clock, Random, lock_unpoisoned};
use crate::ledger::{CommitError, Ledger, LedgerChange, ReadError};
use crate::model::{JobDigest, JobId, JobRequest, JobResult, StoredJob};

/// Interval at which expired results are dropped. Results are kept for hours, so that a minute does
/// not matter.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Delay before a commit that failed is repeated.
const COMMIT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum duration of the read of a result. A read takes much less than a millisecond, so that the
/// state disk hangs after this time. The client polls again.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// A job that was running when the daemon stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptedJob {
    /// The job.
    pub job: JobId,
    /// True if it had changed the definition of a store.
    pub changed_definition: bool,
}

/// The state of a job for a client that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAccess {
    /// The job is unknown, or its result was dropped.
    Unknown,
    /// The job is running, or the state disk does not return its result in time.
    Running,
    /// The result.
    Ended(JobResult),
    /// The result cannot be read. The text is the error.
    Unreadable(String),
}

/// The registry of all jobs. Cheap to clone.
#[derive(Clone)]
pub struct JobRegistry(Arc<RegistryState>);

struct RegistryState {
    table: Mutex<JobTable>,
    ledger: Ledger,
    digests: JobDigests,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    started: Instant,
    interrupted: Mutex<Vec<InterruptedJob>>,
    /// The tasks that run operations.
    tasks: TaskTracker,
    /// Notified when a job has ended.
    ended: Notify,
}

impl JobRegistry {
    /// Creates the registry of the jobs in the ledger.
    pub fn new(
        ledger: Ledger,
        digests: JobDigests,
        stored: &[StoredJob],
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let (mut table, mut interrupted) = (JobTable::new(JobLimits::default()), Vec::new());
        let now = clock.now();
        for StoredJob { request, changed_definition, ended } in stored {
            match ended {
                Some(end) => {
                    // A clock that was set back makes no result older.
                    let age = u64::try_from(now.0.saturating_sub(end.at.0)).unwrap_or(0);
                    let age = Duration::from_millis(age);
                    table.restore_ended(request, end.bytes, age, Duration::ZERO);
                }
                None => {
                    table.restore_interrupted(request);
                    interrupted.push(InterruptedJob {
                        job: request.job,
                        changed_definition: *changed_definition,
                    });
                }
            }
        }
        Self(Arc::new(RegistryState {
            table: Mutex::new(table),
            ledger,
            digests,
            clock,
            random,
            started: Instant::now(),
            interrupted: Mutex::new(interrupted),
            tasks: TaskTracker::new(),
            ended: Notify::new(),
        }))
    }

    /// Returns a new id of 128 random bits.
    pub fn new_id(&self) -> JobId {
        JobId::new_random(self.0.random.bytes16())
    }

    /// Creates the identity of a job from the parts that identify its caller and its request.
    pub fn identify(&self, job: JobId, caller: &[&[u8]], request: &[&[u8]]) -> JobRequest {
        let digest = |parts| -> JobDigest { self.0.digests.digest_parts(parts) };
        JobRequest {
            job,
            caller: digest(caller),
            request: digest(request),
            began: self.0.clock.now(),
        }
    }

    /// Creates a result that ends now.
    pub fn new_result(&self, succeeded: bool, body: Vec<u8>) -> JobResult {
        JobResult { succeeded, body, ended: self.0.clock.now() }
    }

    /// Returns the tasks that run operations. A stop waits for them.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Decides about a request for a job. If the job begins, the caller records it.
    pub fn admit(&self, request: &JobRequest) -> JobAdmission {
        lock_unpoisoned(&self.0.table).admit(request)
    }

    /// Records a job that begins. Returns false if it was abandoned in the meantime. Then it is
    /// gone, and the caller removes the dropped jobs.
    ///
    /// # Errors
    /// [`CommitError`] if the job was not recorded. It is gone.
    ///
    /// # Cancel safety
    /// Not cancel safe: the job would stay in the table.
    pub async fn record_begin(&self, request: &JobRequest) -> Result<bool, CommitError> {
        let job = request.job;
        // The ledger may still have the row of a dropped job with the same id.
        let add = |change: LedgerChange| change.remove_job(job).add_job(*request);
        let committed = self.commit_with_removals(add).await;
        let mut table = lock_unpoisoned(&self.0.table);
        let starts = committed.is_ok() && table.start(job);
        match committed {
            Err(_) => table.forget_job(job),
            Ok(()) if !starts => table.drop_job(job),
            Ok(()) => {}
        }
        committed.map(|()| starts)
    }

    /// Decides whether a caller can be referred to the job, which then keeps its result.
    pub fn promise(&self, job: JobId) -> JobPromise {
        lock_unpoisoned(&self.0.table).promise(job)
    }

    /// Ends a job. The caller then removes the dropped jobs. `is_recorded` is true if the change
    /// that the result reports has recorded the result as well. A repeatable result is dropped
    /// unless a caller was referred to the job.
    ///
    /// # Cancel safety
    /// Not cancel safe: the job would stay in the table.
    pub async fn end_job(
        &self,
        job: JobId,
        result: JobResult,
        is_recorded: bool,
        is_repeatable: bool,
    ) -> JobEnding {
        if !is_recorded {
            let dropped = {
                let mut table = lock_unpoisoned(&self.0.table);
                let ending = table.decide_end(job, is_repeatable);
                if ending == JobEnding::Dropped {
                    table.drop_job(job);
                }
                ending
            };
            if dropped == JobEnding::Dropped {
                return JobEnding::Dropped;
            }
            if !self.record_result(job, &result).await {
                // The job stays in the table as running, and the next start ends it.
                return JobEnding::Kept;
            }
        }
        self.finish(job, &result);
        JobEnding::Kept
    }

    fn finish(&self, job: JobId, result: &JobResult) {
        let bytes = u64::try_from(result.body.len()).unwrap_or(u64::MAX);
        lock_unpoisoned(&self.0.table).finish(job, bytes, self.0.started.elapsed());
        self.0.ended.notify_one();
    }

    /// Records a result. Repeats the commit until it succeeds, because the job is durable and would
    /// otherwise be running for ever. Returns false if the daemon stops before that.
    async fn record_result(&self, job: JobId, result: &JobResult) -> bool {
        loop {
            let change = LedgerChange::new().finish_job(job, result.clone());
            match self.0.ledger.commit(change).await {
                Ok(()) => return true,
                Err(CommitError::Closed) => return false,
                Err(_) if self.0.tasks.is_closed() => return false,
                Err(error) => {
                    warn!(%error, "result of job not recorded");
                    sleep(COMMIT_RETRY_DELAY).await;
                }
            }
        }
    }

    /// Reads the result of a job. Never waits for the job.
    pub async fn read(&self, job: JobId) -> JobAccess {
        match lock_unpoisoned(&self.0.table).has_ended(job) {
            None => return JobAccess::Unknown,
            Some(false) => return JobAccess::Running,
            Some(true) => {}
        }
        match timeout(READ_TIMEOUT, self.0.ledger.job_result(job)).await {
            Ok(Ok(Some(result))) => JobAccess::Ended(result),
            // It was dropped in the meantime.
            Ok(Ok(None)) => JobAccess::Unknown,
            Ok(Err(ReadError::Unreadable(error))) => JobAccess::Unreadable(error),
            Ok(Err(ReadError::Busy | ReadError::Closed)) | Err(_) => JobAccess::Running,
        }
    }

    /// Returns true if the job has ended, false if it is running, and `None` if it is unknown.
    pub fn has_ended(&self, job: JobId) -> Option<bool> {
        lock_unpoisoned(&self.0.table).has_ended(job)
    }

    /// Returns true if the job of this request is kept, and false if it is gone or its id stands
    /// for the job of another request.
    pub fn is_known(&self, request: &JobRequest) -> bool {
        lock_unpoisoned(&self.0.table).is_known(request)
    }

    /// Waits until a job has ended. Only one task may wait.
    ///
    /// # Cancel safety
    /// No end is missed.
    pub async fn wait_for_end(&self) {
        self.0.ended.notified().await;
    }

    /// Records that a caller has been given the result.
    pub fn mark_given(&self, job: JobId) {
        lock_unpoisoned(&self.0.table).mark_given(job);
    }

    /// Ends the jobs that were running when the daemon stopped, with the results that `render`
    /// returns. Then drops expired results until `stop`, and waits for the operations that run.
    ///
    /// # Cancel safety
    /// Dropping the future loses no result.
    pub async fn run_jobs(
        self,
        render: impl Fn(InterruptedJob) -> Vec<u8> + Send,
        stop: CancellationToken,
    ) {
        let interrupted = std::mem::take(&mut *lock_unpoisoned(&self.0.interrupted));
        let ending = async {
            for job in interrupted {
                let result = self.new_result(false, render(job));
                if self.record_result(job.job, &result).await {
                    self.finish(job.job, &result);
                }
            }
            loop {
                lock_unpoisoned(&self.0.table).expire(self.0.started.elapsed());
                self.remove_dropped().await;
                sleep(SWEEP_INTERVAL).await;
            }
        };
        stop.run_until_cancelled(ending).await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Removes the dropped jobs from the ledger. If that fails, the next change repeats it.
    ///
    /// # Cancel safety
    /// Not cancel safe: the jobs may stay in the ledger until the next start.
    pub async fn remove_dropped(&self) {
        if lock_unpoisoned(&self.0.table).has_dropped()
            && let Err(error) = self.commit_with_removals(|change| change).await
        {
            debug!(%error, "dropped jobs not removed");
        }
    }

    /// Commits a change, and the removal of the dropped jobs before it.
    async fn commit_with_removals(
        &self,
        add: impl FnOnce(LedgerChange) -> LedgerChange,
    ) -> Result<(), CommitError> {
        let (dropped, committing) = {
            let mut table = lock_unpoisoned(&self.0.table);
            let dropped = table.take_dropped();
            let removals =
                dropped.iter().fold(LedgerChange::new(), |change, job| change.remove_job(*job));
            // Queued under the lock, so that a removal precedes the begin of a new job with the
            // same id.
            (dropped, self.0.ledger.queue_commit(add(removals)))
        };
        let committed = committing.await;
        if committed.is_err() {
            lock_unpoisoned(&self.0.table).restore_dropped(dropped);
        }
        committed
    }
}

#[cfg(test)]
mod tests {
    use ring::hmac;
    use tempfile::TempDir;

    use super::*;
    use crate::common::{SystemRandom, Timestamp};
    use crate::ledger::{OpenedLedger, StateDir, open_ledger};
    use crate::settings::{FilePolicy, Settings, StateSettings};

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp(1_700_000_000_000)
        }
    }

    struct TestLedger {
        opened: OpenedLedger,
        _lock: StateDir,
        _dir: TempDir,
    }

    impl TestLedger {
        fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let lock = StateDir::open(dir.path(), &FilePolicy::of_process()).unwrap();
            let state = StateSettings { dir: dir.path().to_owned(), ..Settings::built_in().state };
            let opened = open_ledger(&lock, &state, None, FixedClock.now()).unwrap();
            Self { opened, _lock: lock, _dir: dir }
        }

        fn registry(&self) -> JobRegistry {
            let digests = JobDigests::new(hmac::Key::new(hmac::HMAC_SHA256, b"key"));
            let (clock, random) = (Arc::new(FixedClock), Arc::new(SystemRandom::default()));
            JobRegistry::new(self.opened.ledger.clone(), digests, &[], clock, random)
        }

        /// Closes the ledger, which then accepts no commit.
        async fn close(self) {
            self.opened.writer.close_ledger().await;
        }
    }

    fn begun(registry: &JobRegistry, job: u128) -> JobRequest {
        let request = registry.identify(JobId::from_u128(job), &[b"caller"], &[b"request"]);
        assert_eq!(registry.admit(&request), JobAdmission::Begins);
        request
    }

    #[tokio::test]
    async fn begins_that_fail_leave_nothing_behind() {
        let ledger = TestLedger::open();
        let registry = ledger.registry();
        ledger.close().await;
        for job in 0..9 {
            let request = begun(&registry, job);
            assert!(registry.record_begin(&request).await.is_err());
            assert!(!lock_unpoisoned(&registry.0.table).has_dropped());
            assert_eq!(registry.read(request.job).await, JobAccess::Unknown);
        }
    }

    #[tokio::test]
    async fn a_job_whose_result_is_not_recorded_does_not_seem_to_have_expired() {
        let ledger = TestLedger::open();
        let registry = ledger.registry();
        let request = begun(&registry, 1);
        assert!(registry.record_begin(&request).await.unwrap());
        ledger.close().await;
        let result = registry.new_result(true, b"{}".to_vec());
        let ending = registry.end_job(request.job, result, false, false).await;
        assert_eq!(ending, JobEnding::Kept);
        assert_eq!(registry.read(request.job).await, JobAccess::Running);
    }

    #[tokio::test]
    async fn an_id_can_be_used_again_before_and_while_its_row_is_removed() {
        let ledger = TestLedger::open();
        let registry = ledger.registry();
        for _ in 0..50 {
            let request = begun(&registry, 1);
            let removing = registry.remove_dropped();
            let (started, ()) = tokio::join!(registry.record_begin(&request), removing);
            assert!(started.unwrap());
            let result = registry.new_result(false, b"{}".to_vec());
            let ending = registry.end_job(request.job, result, false, true).await;
            assert_eq!(ending, JobEnding::Dropped);
        }
        let request = begun(&registry, 1);
        assert!(registry.record_begin(&request).await.unwrap());
        let result = registry.new_result(true, b"{}".to_vec());
        registry.end_job(request.job, result.clone(), false, false).await;
        registry.remove_dropped().await;
        assert_eq!(registry.read(request.job).await, JobAccess::Ended(result));
        ledger.close().await;
    }
}
