//! Posts the replies to asynchronous calls of the agent protocol. Each call names a URL for its
//! reply, and the management node matches the reply by `taskuuid`.
//!
//! A reply is useful only while the management node waits for it, and the node repeats the call
//! later. A reply that cannot be posted within a minute is therefore dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::http_client::{BoundedClient, RequestTimeouts, USER_AGENT_NAME};
use super::url_guard::{GuardedResolver, UrlGuard};
use crate::common::{Backoff, Clock, Random};
use crate::delivery::{DeliveryOutcome, classify};
use crate::wire::headers::TASK_UUID;

/// Maximum number of replies that are being posted, and maximum number that are queued behind them.
/// The only call with an asynchronous reply is the ping, which ZStack sends once a minute for each
/// store.
const MAX_IN_FLIGHT: usize = 64;
/// Time for which the posting of a reply is retried.
const REPLY_TTL: Duration = Duration::from_secs(60);
/// Backoff between retries of a post. The limit of the random delay grows from 200 ms to 5 s.
const REPLY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// A reply to post.
#[derive(Clone, Debug)]
pub struct TaskReply {
    /// The URL of the reply, validated by [`UrlGuard::validate`].
    pub url: Uri,
    /// The `taskuuid` by which the management node identifies the call. It is a legal header value.
    pub task: String,
    /// The body of the reply, as JSON.
    pub body: Vec<u8>,
}

/// The queue of replies is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Queues replies for the [`ReplyPosterTask`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplyQueue {
    url_guard: UrlGuard,
    inbox: mpsc::Sender<TaskReply>,
}

/// The task that posts the queued replies.
pub struct ReplyPosterTask {
    inbox: mpsc::Receiver<TaskReply>,
    poster: ReplyPoster,
}

impl ReplyQueue {
    /// Creates the queue and its task. Replies are posted only to addresses in `networks`.
    pub fn new(
        url_guard: UrlGuard,
        timeouts: RequestTimeouts,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> (Self, ReplyPosterTask) {
        let mut http = HttpConnector::new_with_resolver(GuardedResolver(url_guard.clone()));
        http.set_connect_timeout(Some(timeouts.connect));
        http.set_nodelay(true);
        let (sender, inbox) = mpsc::channel(MAX_IN_FLIGHT);
        let poster = ReplyPoster { client: BoundedClient::new(http, timeouts), clock, random };
        (Self { url_guard, inbox: sender }, ReplyPosterTask { inbox, poster })
    }

    /// Returns the guard that limits the callers and the URLs of replies.
    pub fn url_guard(&self) -> &UrlGuard {
        &self.url_guard
    }

    /// Queues a reply. It is dropped if a reply with the same `taskuuid` is already being posted.
    ///
    /// # Errors
    /// [`QueueFull`] if too many replies are queued. The caller should try again later.
    pub fn enqueue_reply(&self, reply: TaskReply) -> Result<(), QueueFull> {
        self.inbox.try_send(reply).map_err(|_| QueueFull)
    }
}

impl ReplyPosterTask {
    /// Runs until `stop` is cancelled. Replies that are not posted by then are dropped.
    pub async fn run_poster(mut self, stop: CancellationToken) {
        let mut posts = JoinSet::new();
        let mut posts_by_task = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(result) = posts.join_next_with_id() => {
                    let finished = result.map(|(id, ())| id).unwrap_or_else(|error| {
                        error!(error = %error, "reply task panicked");
                        error.id()
                    });
                    posts_by_task.retain(|_, id| *id != finished);
                }
                Some(reply) = self.inbox.recv(), if posts.len() < MAX_IN_FLIGHT => {
                    if !posts_by_task.contains_key(&reply.task) {
                        let task = reply.task.clone();
                        posts_by_task.insert(task, posts.spawn(self.poster.clone().post_reply(reply)).id());
                    }
                }
            }
        }
    }
}

#[derive(Clone)]
struct ReplyPoster {
    client: BoundedClient<HttpConnector<GuardedResolver>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl ReplyPoster {
    /// Posts one reply, and retries until it is delivered, rejected or expired.
    async fn post_reply(self, reply: TaskReply) {
        let deadline = Instant::now() + REPLY_TTL;
        let TaskReply { url, task, body } = reply;
        let body = Bytes::from(body);
        let mut failures = 0;
        loop {
            let now = self.clock.now();
            let (reply, _) =
                self.client.send_request(build_request(&url, &task, body.clone()), now).await;
            // A 404 means that the management node no longer waits for this `taskuuid`.
            let min_delay = match classify(&reply, true) {
                DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => {
                    debug!(task, reply = %reply, "reply posted");
                    return;
                }
                DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {
                    warn!(task, reply = %reply, "reply rejected by management node");
                    return;
                }
                DeliveryOutcome::Retry(min_delay) => min_delay,
            };
            failures += 1;
            let delay = REPLY_BACKOFF.delay(failures, self.random.next_u64()).max(min_delay);
            if Instant::now() + delay >= deadline {
                warn!(task, reply = %reply, "reply dropped, not posted in time");
                return;
            }
            sleep(delay).await;
        }
    }
}

fn build_request(url: &Uri, task: &str, body: Bytes) -> hyper::http::Result<Request<Full<Bytes>>> {
    Request::post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, USER_AGENT_NAME)
        .header(TASK_UUID, task)
        .body(Full::new(body))
}
