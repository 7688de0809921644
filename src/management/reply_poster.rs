//! The task that posts the pending replies. Each post is one request; a reply that waits for its
//! retry holds no place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::http_client::{BodyUse, BoundedClient, RequestTimeouts};
use super::loss_log::LossLog;
use super::reply_queue::{PendingReplies, TaskReply};
use super::reply_table::{ReplyId, StartedReply};
use crate::common::{Backoff, Clock, Random, lock_unpoisoned};
use crate::delivery::{DeliveryOutcome, ReceiverReply, classify};
use crate::wire::headers::TASK_UUID;

/// Backoff between retries of a post. The limit of the random delay grows from 200 ms to 5 s.
const REPLY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// The task that posts the queued replies.
pub struct ReplyPosterTask {
    pending: Arc<PendingReplies>,
    poster: ReplyPoster,
    posts: JoinSet<FinishedPost>,
    replies: BTreeMap<Id, ReplyId>,
}

/// A post that has ended. The reply is retried at this time, or not at all.
struct FinishedPost {
    id: ReplyId,
    retry_at: Option<Instant>,
}

impl ReplyPosterTask {
    pub(super) fn new(
        pending: Arc<PendingReplies>,
        timeouts: RequestTimeouts,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let client = BoundedClient::of_addresses(timeouts);
        let poster = ReplyPoster { client, clock, random, losses: Arc::default() };
        Self { pending, poster, posts: JoinSet::new(), replies: BTreeMap::new() }
    }

    /// Runs until `stop` is cancelled. Replies that are not posted by then are dropped.
    pub async fn run_poster(mut self, stop: CancellationToken) {
        loop {
            let next_event = self.start_posts();
            self.poster.summarize_losses();
            let summary_due = lock_unpoisoned(&self.poster.losses).summary_due();
            let next_event = next_event.into_iter().chain(summary_due).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(result) = self.posts.join_next_with_id() => self.on_post_ended(result),
                () = self.pending.wait_for_change() => {}
                () = sleep_until(next_event.unwrap_or_else(Instant::now)), if next_event.is_some() => {}
            }
        }
        self.pending.close();
    }

    /// Drops the replies that have expired, and starts those that are due and have a place.
    /// Returns the time of the next change of the waiting replies.
    fn start_posts(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let (expired, started, next_event) = self.pending.with_table(|table| {
            let expired = table.expire(now);
            let started: Vec<_> = std::iter::from_fn(|| table.start_next(now)).collect();
            (expired, started, table.next_event(now))
        })?;
        for reply in expired {
            if self.poster.logs_loss() {
                warn!(task = reply.task, destination = %reply.url.destination(), "reply dropped, not posted in time");
            }
        }
        for reply in started {
            let id = reply.id;
            let post = self.posts.spawn(self.poster.clone().post_reply(reply));
            self.replies.insert(post.id(), id);
        }
        next_event
    }

    fn on_post_ended(&mut self, result: Result<(Id, FinishedPost), tokio::task::JoinError>) {
        let post = match result {
            Ok((task, post)) => {
                self.replies.remove(&task);
                Some(post)
            }
            Err(error) => {
                error!(error = %error, "reply task panicked");
                let id = self.replies.remove(&error.id());
                id.map(|id| FinishedPost { id, retry_at: None })
            }
        };
        let Some(FinishedPost { id, retry_at }) = post else { return };
        self.pending.with_table(|table| match retry_at {
            Some(due) => table.retry_at(id, due),
            None => table.remove(id),
        });
    }
}

#[derive(Clone)]
struct ReplyPoster {
    client: BoundedClient<HttpConnector>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    losses: Arc<Mutex<LossLog>>,
}

impl ReplyPoster {
    /// Returns true if a reply that is lost now gets a line in the log.
    fn logs_loss(&self) -> bool {
        lock_unpoisoned(&self.losses).record_loss(Instant::now())
    }

    /// Logs the number of the lost replies without a line, once a minute.
    fn summarize_losses(&self) {
        let unlogged = lock_unpoisoned(&self.losses).end_minute(Instant::now());
        if let Some(replies) = unlogged {
            warn!(replies, "lost replies not logged");
        }
    }

    /// Posts a reply once. Ends at its deadline, if that comes before the timeout of a request.
    async fn post_reply(self, started: StartedReply<Arc<TaskReply>>) -> FinishedPost {
        let StartedReply { id, reply, failures, deadline } = started;
        let post = reply.url.start_post(failures);
        let request = post.and_then(|post| {
            post.header(TASK_UUID, &reply.task).body(Full::new(reply.body.clone()))
        });
        let limit = deadline.saturating_duration_since(Instant::now());
        let (response, _) =
            self.client.send_within(limit, request, self.clock.now(), BodyUse::Ignored).await;
        let task = &reply.task;
        let destination = reply.url.destination();
        // A 404 means that the management node no longer waits for this `taskuuid`.
        let min_delay = match classify(&response, true) {
            DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => {
                debug!(task, reply = %response, "reply posted");
                return FinishedPost { id, retry_at: None };
            }
            DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {
                if self.logs_loss() {
                    warn!(task, %destination, reply = %response, "reply rejected by management node");
                }
                return FinishedPost { id, retry_at: None };
            }
            DeliveryOutcome::Retry(min_delay) => min_delay,
        };
        let delay = match reply.url.failed_rounds(failures.saturating_add(1)) {
            // Another address of the name has not been tried in this round.
            None if matches!(response, ReceiverReply::NoResponse(_)) => Duration::ZERO,
            rounds => {
                let backoff = REPLY_BACKOFF.delay(rounds.unwrap_or(1), self.random.next_u64());
                backoff.max(min_delay)
            }
        };
        let due = Instant::now() + delay;
        if due >= deadline {
            if self.logs_loss() {
                warn!(task, %destination, reply = %response, "reply dropped, not posted in time");
            }
            return FinishedPost { id, retry_at: None };
        }
        debug!(task, %destination, reply = %response, "reply not posted, retried later");
        FinishedPost { id, retry_at: Some(due) }
    }
}
