//! The queue of the replies to asynchronous calls of the agent protocol. Each call names a URL for
//! its reply, and the management node matches the reply by `taskuuid`.
//!
//! A reply is useful only while the management node waits for it, and the node repeats the call
//! later. A reply that cannot be posted within a minute after its call is therefore dropped.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Uri;
use hyper::body::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::http_client::RequestTimeouts;
use super::reply_poster::ReplyPosterTask;
use super::reply_table::{ReplyAdmission, ReplyRoute, ReplyTable};
use super::shares::{PostShare, ShareLimits};
use super::url_guard::{ReplyUrl, UrlGuard};
use crate::common::{Clock, Random, lock_unpoisoned};

/// Maximum numbers of replies that are pending. The only call with an asynchronous reply is the
/// ping, which ZStack sends once a minute for each store. A caller with one destination has room
/// for 128, and a reply has some hundred bytes.
const PENDING_LIMITS: ShareLimits =
    ShareLimits { all: 1024, per_caller: 256, per_destination: 256 };
/// Maximum numbers of replies that are being posted. A destination that answers takes some
/// milliseconds for each, and one that is silent takes the whole timeout of a request. The numbers
/// bound the sockets.
const POSTING_LIMITS: ShareLimits = ShareLimits { all: 128, per_caller: 32, per_destination: 8 };
/// Time after its call within which a reply is posted.
const REPLY_TTL: Duration = Duration::from_secs(60);

/// A reply to post.
#[derive(Clone, Debug)]
pub struct TaskReply {
    /// The URL of the reply, with its validated addresses.
    pub url: ReplyUrl,
    /// The `taskuuid` by which the management node identifies the call. It is a legal header value.
    pub task: String,
    /// The body of the reply, as JSON.
    pub body: Bytes,
}

/// The reason why a reply is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyRefusal {
    /// Too many replies are pending. The caller should try again later.
    Full {
        /// The share that is used up.
        share: PostShare,
        /// The destination of the reply.
        destination: SocketAddr,
    },
    /// The daemon is stopping.
    Stopping,
}

/// The identity of a reply: its URL and its `taskuuid`.
type ReplyKey = (Uri, String);

/// The state that the queue and the poster share.
#[derive(Debug)]
pub(super) struct PendingReplies {
    /// `None` after the stop.
    table: Mutex<Option<ReplyTable<ReplyKey, Arc<TaskReply>>>>,
    changed: Notify,
}

impl PendingReplies {
    /// Runs `f` on the table, unless the daemon is stopping.
    pub(super) fn with_table<T>(
        &self,
        f: impl FnOnce(&mut ReplyTable<ReplyKey, Arc<TaskReply>>) -> T,
    ) -> Option<T> {
        lock_unpoisoned(&self.table).as_mut().map(f)
    }

    /// Waits until a reply was accepted.
    ///
    /// # Cancel safety
    /// No acceptance is missed.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    /// Drops all replies, and accepts no more.
    pub(super) fn close(&self) {
        *lock_unpoisoned(&self.table) = None;
    }
}

/// Queues replies for the [`ReplyPosterTask`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplyQueue {
    url_guard: UrlGuard,
    pending: Arc<PendingReplies>,
}

impl ReplyQueue {
    /// Creates the queue and its task. Replies are posted only to URLs that the guard has
    /// validated.
    pub fn new(
        url_guard: UrlGuard,
        timeouts: RequestTimeouts,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> (Self, ReplyPosterTask) {
        let table = Mutex::new(Some(ReplyTable::new(PENDING_LIMITS, POSTING_LIMITS)));
        let pending = Arc::new(PendingReplies { table, changed: Notify::new() });
        let poster = ReplyPosterTask::new(Arc::clone(&pending), timeouts, clock, random);
        (Self { url_guard, pending }, poster)
    }

    /// Returns the guard that limits the callers and the URLs of replies.
    pub fn url_guard(&self) -> &UrlGuard {
        &self.url_guard
    }

    /// Queues a reply to a caller in the network `caller`, which is `None` if the caller has no
    /// address. The reply is dropped if one with the same URL and `taskuuid` is pending.
    ///
    /// # Errors
    /// [`ReplyRefusal`] if the caller, or the destination, has too many replies pending.
    pub fn enqueue_reply(
        &self,
        caller: Option<IpAddr>,
        reply: TaskReply,
    ) -> Result<(), ReplyRefusal> {
        let destination = reply.url.destination();
        let route = ReplyRoute { caller, destination };
        let key = (reply.url.uri().clone(), reply.task.clone());
        let now = Instant::now();
        let offer = |table: &mut ReplyTable<_, _>| {
            table.offer(route, key, Arc::new(reply), now, now + REPLY_TTL)
        };
        match self.pending.with_table(offer) {
            Some(ReplyAdmission::Accepted) => {
                self.pending.changed.notify_one();
                Ok(())
            }
            Some(ReplyAdmission::Duplicate) => Ok(()),
            Some(ReplyAdmission::Refused(share)) => Err(ReplyRefusal::Full { share, destination }),
            None => Err(ReplyRefusal::Stopping),
        }
    }
}
