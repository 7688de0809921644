//! The queue of the owed web hooks: it records a web hook before its caller is referred to the job.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::poster::HookPosterTask;
use super::table::{HookCounts, HookId, HookRoute, HookTable};
use crate::common::{Random, lock_unpoisoned};
use crate::jobs::JobRegistry;
use crate::ledger::{CommitError, Ledger, LedgerChange};
use crate::management::{HookClient, UrlError};
use crate::model::{JobHook, JobId, JobRequest, StoredHook, StoredJob};

/// Delay of the first post after the response that refers the caller to the job. ZStack's SDK needs
/// the response first: it rejects a result that precedes it, and then waits for the whole time-out
/// of the call. 250 ms are enough for it; the rest is for a slow network.
pub(super) const FIRST_POST_DELAY: Duration = Duration::from_millis(500);
/// Maximum duration of the record of a web hook. It takes some milliseconds, so that the state disk
/// hangs after this time. With `api.answer_within` of 9 s, the caller is answered within the 10 s
/// of ZStack's SDK.
const RECORD_TIMEOUT: Duration = Duration::from_millis(500);
/// Number of web hooks in memory from which those of dropped jobs are removed at once. As many jobs
/// are kept, so that the others are fewer.
const MAX_HOOKS: usize = 10_000;

/// The state that the queue and the poster share.
pub(super) struct HookQueueState {
    table: Mutex<HookTable>,
    changed: Notify,
    pub(super) ledger: Ledger,
    pub(super) jobs: JobRegistry,
    pub(super) client: HookClient,
}

impl HookQueueState {
    /// Runs `f` on the table.
    pub(super) fn with_table<T>(&self, f: impl FnOnce(&mut HookTable) -> T) -> T {
        f(&mut lock_unpoisoned(&self.table))
    }

    /// Waits until the table has changed.
    ///
    /// # Cancel safety
    /// No change is missed.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }
}

/// Owes results to web hooks, which the [`HookPosterTask`] posts. Cheap to clone.
#[derive(Clone)]
pub struct HookQueue(Arc<HookQueueState>);

impl fmt::Debug for HookQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookQueue")
    }
}

impl HookQueue {
    /// Creates the queue and its task, with the web hooks that an earlier run owes.
    pub fn new(
        client: HookClient,
        ledger: Ledger,
        jobs: JobRegistry,
        random: Arc<dyn Random>,
        (stored_jobs, stored_hooks): (&[StoredJob], Vec<StoredHook>),
    ) -> (Self, HookPosterTask) {
        let requests = stored_jobs.iter().map(|stored| (stored.request.job, stored.request));
        let requests: HashMap<JobId, JobRequest> = requests.collect();
        let (mut table, now) = (HookTable::new(), Instant::now());
        for StoredHook { job, destination } in stored_hooks {
            // The foreign key of the ledger leaves no web hook without its job.
            let Some(request) = requests.get(&job) else { continue };
            let route = HookRoute { caller: request.caller, destination: destination.into() };
            table.restore(job, route, request.began, now);
        }
        let (table, changed) = (Mutex::new(table), Notify::new());
        let state = Arc::new(HookQueueState { table, changed, ledger, jobs, client });
        (Self(Arc::clone(&state)), HookPosterTask::new(state, random))
    }

    /// Checks the URL of a caller in the network `caller`, which is `None` if it has no address.
    ///
    /// # Errors
    /// [`UrlError`] says why the URL is rejected. No request was sent to it.
    pub async fn check_url(&self, url: &str, caller: Option<IpAddr>) -> Result<JobHook, UrlError> {
        self.0.client.check_url(url, caller).await
    }

    /// Returns the counts for the health view.
    pub fn counts(&self) -> HookCounts {
        self.0.with_table(|table| table.counts())
    }

    /// Ends the web hook of an earlier job with the id of a job that begins. No result of the
    /// earlier job is posted after that.
    pub fn forget_earlier(&self, job: JobId) {
        if self.0.with_table(|table| table.forget_earlier(job)) {
            self.0.changed.notify_one();
        }
    }

    /// Records that the result of a job is owed to a web hook, because a response is about to refer
    /// the caller to the job. Returns `None` if the job is gone.
    ///
    /// # Errors
    /// [`CommitError`] if the web hook was not recorded. The caller is then not referred to a job.
    ///
    /// # Cancel safety
    /// If the future is dropped, the result may be posted after the next start.
    pub async fn promise_hook(
        &self,
        request: &JobRequest,
        hook: JobHook,
    ) -> Result<Option<HookPromise>, CommitError> {
        let promised = self.0.with_table(|table| {
            if table.len() >= MAX_HOOKS {
                table.remove_gone(|job| self.0.jobs.has_ended(job).is_some());
            }
            // The id may already stand for the job of another request.
            self.0.jobs.is_known(request).then(|| {
                let destination = hook.destination.as_str().into();
                let route = HookRoute { caller: request.caller, destination };
                let hook_id = table.promise(request.job, route, request.began, Instant::now());
                let change = LedgerChange::new().owe_hook(request, hook);
                // Queued under the lock, so that it follows the removal by an earlier turn.
                (hook_id, self.0.ledger.queue_commit(change))
            })
        });
        let Some((hook_id, committing)) = promised else { return Ok(None) };
        let promise = HookPromise { state: Arc::clone(&self.0), hook_id, is_kept: false };
        match timeout(RECORD_TIMEOUT, committing).await {
            Ok(recorded) => recorded.map(|()| Some(promise)),
            Err(_) => Err(CommitError::StateDisk("it does not respond".to_owned())),
        }
    }
}

/// A response that refers a caller to a job, on its way. The web hook of the job is posted some
/// time after the value is dropped, if the promise is kept.
pub struct HookPromise {
    state: Arc<HookQueueState>,
    hook_id: HookId,
    is_kept: bool,
}

impl fmt::Debug for HookPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookPromise")
    }
}

impl HookPromise {
    /// Keeps the promise: the caller gets the response, which is sent when the result is dropped.
    #[must_use]
    pub fn keep(self) -> Self {
        let mut kept = self;
        kept.is_kept = true;
        kept
    }
}

impl Drop for HookPromise {
    fn drop(&mut self) {
        let not_before = Instant::now() + FIRST_POST_DELAY;
        self.state.with_table(|table| match self.is_kept {
            true => table.answer(self.hook_id, not_before),
            false => table.withdraw(self.hook_id),
        });
        self.state.changed.notify_one();
    }
}
