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
/// A management node pings each store once a minute, and makes no other asynchronous call.
const MAX_IN_FLIGHT: usize = 64;
/// Time for which the posting of a reply is retried.
const REPLY_TTL: Duration = Duration::from_secs(60);
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
    networks: UrlGuard,
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
        networks: UrlGuard,
        limits: RequestTimeouts,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> (Self, ReplyPosterTask) {
        let mut http = HttpConnector::new_with_resolver(GuardedResolver(networks.clone()));
        http.set_connect_timeout(Some(limits.connect));
        http.set_nodelay(true);
        let (sender, inbox) = mpsc::channel(MAX_IN_FLIGHT);
        let poster = ReplyPoster { sender: BoundedClient::new(http, limits), clock, random };
        (Self { networks, inbox: sender }, ReplyPosterTask { inbox, poster })
    }

    /// Returns the guard that limits the callers and the URLs of replies.
    pub fn url_guard(&self) -> &UrlGuard {
        &self.networks
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
        let mut posting = JoinSet::new();
        let mut tasks = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(result) = posting.join_next_with_id() => {
                    let finished = result.map(|(id, ())| id).unwrap_or_else(|broken| {
                        error!(error = %broken, "reply task panicked");
                        broken.id()
                    });
                    tasks.retain(|_, id| *id != finished);
                }
                Some(reply) = self.inbox.recv(), if posting.len() < MAX_IN_FLIGHT => {
                    if !tasks.contains_key(&reply.task) {
                        let task = reply.task.clone();
                        tasks.insert(task, posting.spawn(self.poster.clone().post_reply(reply)).id());
                    }
                }
            }
        }
    }
}

#[derive(Clone)]
struct ReplyPoster {
    sender: BoundedClient<HttpConnector<GuardedResolver>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl ReplyPoster {
    /// Posts one reply, and retries until it is delivered, rejected or expired.
    async fn post_reply(self, reply: TaskReply) {
        let until = Instant::now() + REPLY_TTL;
        let TaskReply { url, task, body } = reply;
        let body = Bytes::from(body);
        let mut failures = 0;
        loop {
            let now = self.clock.now();
            let (answer, _) =
                self.sender.send_request(build_request(&url, &task, body.clone()), now).await;
            // A 404 means that the management node no longer waits for this `taskuuid`.
            let at_least = match classify(&answer, true) {
                DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => {
                    debug!(task, reply = %answer, "reply posted");
                    return;
                }
                DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {
                    warn!(task, reply = %answer, "reply rejected by management node");
                    return;
                }
                DeliveryOutcome::Retry(at_least) => at_least,
            };
            failures += 1;
            let wait = REPLY_BACKOFF.delay(failures, self.random.next_u64()).max(at_least);
            if Instant::now() + wait >= until {
                warn!(task, reply = %answer, "reply dropped, not posted in time");
                return;
            }
            sleep(wait).await;
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
