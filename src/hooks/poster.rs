//! The task that posts the results of jobs to their web hooks. Each post is one request; a web hook
//! that waits for its retry holds no place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::queue::HookQueueState;
use super::table::{HookId, HookTable, StartedHook};
use crate::common::{Random, crash_point, lock_unpoisoned};
use crate::delivery::{HookStep, hook_retry_delay, next_hook_step};
use crate::ledger::LedgerChange;
use crate::management::{HookMessage, LossLog, UrlError};
use crate::model::OwedHook;

/// Delay before a post is repeated that panicked, which is an internal error.
const PANIC_RETRY_DELAY: Duration = Duration::from_secs(5 * 60);

/// Interval at which the web hooks of dropped results are removed, and minimum time between two
/// lines about them. Results are kept for hours, and one line of the log counts all of them.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The task that posts the owed results.
pub struct HookPosterTask {
    poster: HookPoster,
    next_sweep: Instant,
    next_report: Instant,
    posts: JoinSet<()>,
    running: HashMap<Id, (HookId, AbortHandle)>,
}

impl HookPosterTask {
    pub(super) fn new(state: Arc<HookQueueState>, random: Arc<dyn Random>) -> Self {
        let poster = HookPoster { state, random, losses: Arc::default() };
        let now = Instant::now();
        let (next_sweep, next_report) = (now + SWEEP_INTERVAL, now);
        Self { poster, next_sweep, next_report, posts: JoinSet::new(), running: HashMap::new() }
    }

    /// Runs until `stop` is cancelled. Results that are not delivered by then are posted after the
    /// next start.
    ///
    /// # Cancel safety
    /// Dropping the future loses no result.
    pub async fn run_poster(mut self, stop: CancellationToken) {
        let state = Arc::clone(&self.poster.state);
        loop {
            let next_due = self.start_posts();
            let sweep_due = self.sweep();
            self.poster.summarize_losses();
            let summary_due = lock_unpoisoned(&self.poster.losses).summary_due();
            let next_event = next_due.into_iter().chain(sweep_due).chain(summary_due).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(result) = self.posts.join_next_with_id() => self.on_post_ended(result),
                () = state.wait_for_change() => {}
                () = state.jobs.wait_for_end() => {}
                () = sleep_until(next_event.unwrap_or_else(Instant::now)), if next_event.is_some() => {}
            }
        }
    }

    /// Ends the posts of earlier jobs whose ids stand for other jobs by now, and starts the posts
    /// that are due and have a place. Returns the time at which the next one is due.
    fn start_posts(&mut self) -> Option<Instant> {
        let (started, next_due) = self.poster.state.with_table(|table| {
            let stale = self.running.values().filter(|(id, _)| !table.is_owed(*id));
            stale.for_each(|(_, post)| post.abort());
            table.release(|job| self.poster.state.jobs.has_ended(job));
            let now = Instant::now();
            let started: Vec<_> = std::iter::from_fn(|| table.start_next(now)).collect();
            (started, table.next_due())
        });
        for hook in started {
            let post = self.posts.spawn(self.poster.clone().post_result(hook));
            self.running.insert(post.id(), (hook.id, post));
        }
        next_due
    }

    /// Removes the web hooks of dropped results, and logs their number, each at most once a minute.
    /// Returns the time of the next call, if one is needed.
    fn sweep(&mut self) -> Option<Instant> {
        let (state, now) = (&self.poster.state, Instant::now());
        let (sweeps, reports) = (self.next_sweep <= now, self.next_report <= now);
        let (dropped, is_needed) = state.with_table(|table| {
            if sweeps {
                table.remove_gone(|job| state.jobs.has_ended(job).is_some());
            }
            let dropped = if reports { table.take_dropped() } else { 0 };
            (dropped, table.needs_sweep())
        });
        if sweeps {
            self.next_sweep = now + SWEEP_INTERVAL;
        }
        if dropped > 0 {
            warn!(hooks = dropped, "web hooks dropped with their results");
            self.next_report = now + SWEEP_INTERVAL;
        }
        is_needed.then_some(self.next_sweep)
    }

    fn on_post_ended(&mut self, result: Result<(Id, ()), JoinError>) {
        let error = match result {
            Ok((task, ())) => {
                self.running.remove(&task);
                return;
            }
            Err(error) => error,
        };
        let Some((id, _)) = self.running.remove(&error.id()) else { return };
        if error.is_panic() {
            error!(%error, "web hook task panicked");
            let due = Instant::now() + PANIC_RETRY_DELAY;
            self.poster.state.with_table(|table| table.retry_at(id, due));
        }
    }
}

#[derive(Clone)]
struct HookPoster {
    state: Arc<HookQueueState>,
    random: Arc<dyn Random>,
    losses: Arc<Mutex<LossLog>>,
}

impl HookPoster {
    /// Posts a result once, and records the next step.
    async fn post_result(self, StartedHook { id, failures }: StartedHook) {
        let job = id.job;
        let owed = match self.state.ledger.owed_hook(job).await {
            Ok(Some(owed)) => owed,
            // The result has expired, or the job was dropped for a newer one.
            Ok(None) => {
                self.state.with_table(|table| table.lose_result(id));
                return;
            }
            Err(error) => {
                if failures == 0 && self.logs_loss() {
                    warn!(%error, "web hook not read, retried while the result is kept");
                } else {
                    debug!(%error, "web hook not read, retried later");
                }
                return self.retry_after(id, self.backoff(failures));
            }
        };
        let OwedHook { hook, turn, result } = owed;
        let Some(result) = result else {
            return self.retry_after(id, self.backoff(failures));
        };
        let destination = hook.destination.as_str();
        crash_point("hook.before");
        let message = HookMessage { job, result: &result, failures };
        let posted = self.state.client.post_result(&hook.url, message).await;
        crash_point("hook.after");
        let (step, reply) = match posted {
            Ok(reply) => {
                let random = self.random.next_u64();
                // The body may repeat the URL or the id of the job.
                let reply = reply.without_body();
                (next_hook_step(&reply, failures.saturating_add(1), random), reply.to_string())
            }
            Err(error @ (UrlError::Unresolved(_) | UrlError::UnknownAddresses(_))) => {
                (HookStep::RetryAfter(self.backoff(failures)), error.to_string())
            }
            // The name leads elsewhere by now, or the settings have changed.
            Err(error) => (HookStep::GivenUp, format!("not sent: {error}")),
        };
        match step {
            HookStep::Delivered => {
                debug!(destination, reply, "web hook delivered");
                self.state.jobs.mark_given(job);
                self.end(id, turn, |table| table.finish(id).then_some(())).await;
            }
            HookStep::GivenUp => {
                let given_up = self.end(id, turn, |table| table.give_up(id)).await;
                match given_up {
                    // A later response made it owed again, or its job is gone and counted.
                    None => debug!(destination, reply, "web hook not delivered, not given up"),
                    Some(given_up) if self.logs_loss() => {
                        warn!(destination, reply, given_up, "web hook given up");
                    }
                    Some(_) => {}
                }
            }
            HookStep::RetryAfter(delay) => {
                if failures == 0 && self.logs_loss() {
                    warn!(
                        destination,
                        reply, "web hook not delivered, retried while the result is kept"
                    );
                } else {
                    debug!(destination, reply, ?delay, "web hook not delivered, retried later");
                }
                self.retry_after(id, delay);
            }
        }
    }

    /// Removes a web hook that `finish` has ended. `finish` returns `None` if it is owed again. If
    /// the removal cannot be recorded, the next start posts the result again.
    async fn end<T>(
        &self,
        id: HookId,
        turn: u32,
        finish: impl FnOnce(&mut HookTable) -> Option<T>,
    ) -> Option<T> {
        let (finished, removing) = self.state.with_table(|table| {
            let finished = finish(table)?;
            let removal = LedgerChange::new().remove_hook(id.job, turn);
            // Queued under the lock, so that it precedes the record of a later job with this id.
            Some((finished, self.state.ledger.queue_commit(removal)))
        })?;
        if let Err(error) = removing.await {
            debug!(%error, "finished web hook not removed");
        }
        Some(finished)
    }

    fn retry_after(&self, id: HookId, delay: Duration) {
        let due = Instant::now() + delay;
        self.state.with_table(|table| table.retry_at(id, due));
    }

    fn backoff(&self, failures: u32) -> Duration {
        hook_retry_delay(failures.saturating_add(1), self.random.next_u64())
    }

    /// Returns true if a failure now gets a line in the log.
    fn logs_loss(&self) -> bool {
        lock_unpoisoned(&self.losses).record_loss(Instant::now())
    }

    /// Logs the number of failures without a line, once a minute.
    fn summarize_losses(&self) {
        let unlogged = lock_unpoisoned(&self.losses).end_minute(Instant::now());
        if let Some(failures) = unlogged {
            warn!(failures, "failures of web hooks not logged");
        }
    }
}
