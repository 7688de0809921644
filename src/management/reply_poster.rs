//! Answers to calls of the agent protocol that are answered later: the management node names where, and
//! waits there for its `taskuuid`.
//!
//! An answer is worth something for as long as it is waited for, and the call is made again next time:
//! what cannot be posted within a minute is dropped.

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

/// Most answers that are being posted, and most that wait behind them: a management node pings a store
/// once a minute, and asks nothing else that is answered later.
const MAX_IN_FLIGHT: usize = 64;
/// How long an answer is posted again.
const REPLY_TTL: Duration = Duration::from_secs(60);
const REPLY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// An answer to post.
#[derive(Clone, Debug)]
pub struct TaskReply {
    /// Where it is waited for, judged by [`UrlGuard::validate`].
    pub url: Uri,
    /// `taskuuid`: what the management node knows the call by. A legal header value.
    pub task: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// Too many answers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Takes answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplyQueue {
    networks: UrlGuard,
    inbox: mpsc::Sender<TaskReply>,
}

/// Posts them.
pub struct ReplyPosterTask {
    inbox: mpsc::Receiver<TaskReply>,
    poster: ReplyPoster,
}

impl ReplyQueue {
    /// Answers go into these networks and nowhere else.
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

    /// Who may ask, and be answered.
    pub fn url_guard(&self) -> &UrlGuard {
        &self.networks
    }

    /// Has an answer posted; one for a task whose answer is being posted already is dropped.
    ///
    /// # Errors
    /// [`QueueFull`]: the caller should ask again.
    pub fn enqueue_reply(&self, reply: TaskReply) -> Result<(), QueueFull> {
        self.inbox.try_send(reply).map_err(|_| QueueFull)
    }
}

impl ReplyPosterTask {
    /// Runs until `stop`, which drops what is not posted yet.
    pub async fn run_poster(mut self, stop: CancellationToken) {
        let mut posting = JoinSet::new();
        let mut tasks = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(result) = posting.join_next_with_id() => {
                    let finished = result.map(|(id, ())| id).unwrap_or_else(|broken| {
                        error!(error = %broken, "an answer broke off");
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
    /// Posts one answer, again until somebody took it or it is worth nothing any more.
    async fn post_reply(self, reply: TaskReply) {
        let until = Instant::now() + REPLY_TTL;
        let TaskReply { url, task, body } = reply;
        let body = Bytes::from(body);
        let mut failures = 0;
        loop {
            let now = self.clock.now();
            let (answer, _) =
                self.sender.send_request(build_request(&url, &task, body.clone()), now).await;
            // 404: nobody waits for this task any more.
            let at_least = match classify(&answer, true) {
                DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => {
                    debug!(task, reply = %answer, "answer posted");
                    return;
                }
                DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {
                    warn!(task, reply = %answer, "the management node refuses an answer");
                    return;
                }
                DeliveryOutcome::Retry(at_least) => at_least,
            };
            failures += 1;
            let wait = REPLY_BACKOFF.delay(failures, self.random.next_u64()).max(at_least);
            if Instant::now() + wait >= until {
                warn!(task, reply = %answer, "an answer is dropped: it could not be posted in time");
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
