//! The registry of all jobs: the table, and the rows of the ledger behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::digest::JobDigests;
use super::table::{JobAdmission, JobEnding, JobLimits, JobPromise, JobTable};
use crate::common::{Clock, Random, lock_unpoisoned};
use crate::ledger::{CommitError, Ledger, LedgerChange, ReadError};
use crate::model::{JobDigest, JobId, JobRequest, JobResult, StoredJob};

/// Interval at which expired results are dropped. Results are kept for hours, so a minute more or
/// less is nothing.
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
        let committed = self.commit_with_removals(|change| change.add_job(*request)).await;
        let is_abandoned = {
            let mut table = lock_unpoisoned(&self.0.table);
            let is_abandoned = committed.is_ok() && !table.start(request.job);
            if committed.is_err() || is_abandoned {
                table.drop_job(request.job);
            }
            is_abandoned
        };
        committed.map(|()| !is_abandoned)
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
            self.record_result(job, &result).await;
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
    /// otherwise be running for ever. The next start ends a job whose result was not recorded.
    async fn record_result(&self, job: JobId, result: &JobResult) {
        loop {
            let change = LedgerChange::new().finish_job(job, result.clone());
            match self.0.ledger.commit(change).await {
                Ok(()) => return,
                // The daemon stops, and the next start ends the job.
                Err(CommitError::Closed) => return,
                Err(_) if self.0.tasks.is_closed() => return,
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
                self.record_result(job.job, &result).await;
                self.finish(job.job, &result);
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
        let dropped = lock_unpoisoned(&self.0.table).take_dropped();
        let removals =
            dropped.iter().fold(LedgerChange::new(), |change, job| change.remove_job(*job));
        let committed = self.0.ledger.commit(add(removals)).await;
        if committed.is_err() {
            lock_unpoisoned(&self.0.table).restore_dropped(dropped);
        }
        committed
    }
}
