//! An HTTP client that limits the duration of each request and the size of each reply.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::common::{Timestamp, root_cause, sanitize_line};
use crate::delivery::{ReceiverReply, retry_after};

/// Maximum number of idle connections per host. Four keep the cost of a receiver low, and further
/// concurrent requests open connections of their own.
const MAX_IDLE_CONNECTIONS: usize = 4;
/// Time for which an idle connection is kept. 4 s is less than common servers use (Node.js: 5 s).
/// Few requests therefore meet a connection that the peer is closing, or one whose peer lost power.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of bytes that are read of a response other than 2xx. A short body is read to its
/// end, so that the connection can be reused.
const MAX_DRAINED_BYTES: usize = 4096;
/// Maximum number of bytes that are read of a 2xx response. 64 KiB hold more than a thousand uuids.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Maximum number of bytes of an error response that are kept as evidence.
const MAX_ERROR_BYTES: usize = 512;

/// The value of `User-Agent`.
pub(super) const USER_AGENT_NAME: &str = concat!("imagestore-agent/", env!("CARGO_PKG_VERSION"));

/// Timeouts of one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeouts {
    /// Maximum time until the TCP connection is established.
    pub connect: Duration,
    /// Maximum time from the start of the request to the end of the reply.
    pub total: Duration,
}

impl Default for RequestTimeouts {
    /// Returns 5 s for `connect` and 10 s for `whole`.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(10) }
    }
}

/// Sends requests over pooled connections.
#[derive(Clone, Debug)]
pub(super) struct BoundedClient<C> {
    client: Client<C, Full<Bytes>>,
    total: Duration,
}

impl<C: Connect + Clone + Send + Sync + 'static> BoundedClient<C> {
    pub(super) fn new(connector: C, timeouts: RequestTimeouts) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(connector);
        Self { client, total: timeouts.total }
    }

    /// Sends a request, and returns the reply with the body of a 2xx, at most 64 KiB of it. Ends
    /// within [`RequestTimeouts::total`]. Redirects are not followed.
    pub(super) async fn send_request(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        now: Timestamp,
    ) -> (ReceiverReply, Vec<u8>) {
        self.send_within(self.total, request, now).await
    }

    /// Sends a request as [`BoundedClient::send_request`] does, but also ends within `limit`.
    pub(super) async fn send_within(
        &self,
        limit: Duration,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        now: Timestamp,
    ) -> (ReceiverReply, Vec<u8>) {
        let unreached = |cause: String| (ReceiverReply::NoResponse(cause), Vec::new());
        let request = match request {
            Ok(request) => request,
            Err(error) => return unreached(error.to_string()),
        };
        let limit = limit.min(self.total);
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => read_body(response, now, deadline).await,
            // The text of hyper is only "client error (Connect)". The root cause helps an operator.
            Ok(Err(error)) => unreached(root_cause(&error).to_string()),
            Err(_) => unreached(format!("no response within {} ms", limit.as_millis())),
        }
    }
}

/// Reads a response. The status alone decides the outcome: a body that stalls or ends early only
/// shortens the evidence.
async fn read_body(
    response: Response<Incoming>,
    now: Timestamp,
    deadline: Instant,
) -> (ReceiverReply, Vec<u8>) {
    let status = response.status();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after(value, now));
    let mut body = response.into_body();
    // The body of an error is only evidence, while the body of a success may contain requests.
    let limit = if status.is_success() { MAX_RESPONSE_BYTES } else { MAX_DRAINED_BYTES };
    let mut content = Vec::new();
    while content.len() < limit
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let remaining = limit.saturating_sub(content.len());
        content.extend(frame.data_ref().into_iter().flatten().take(remaining));
    }
    let is_success = status.is_success();
    let excerpt_bytes = content.get(..MAX_ERROR_BYTES).unwrap_or(&content);
    let excerpt =
        if is_success { String::new() } else { sanitize_line(excerpt_bytes, MAX_ERROR_BYTES) };
    let reply = ReceiverReply::Response { status: status.as_u16(), retry_after, excerpt };
    (reply, if is_success { content } else { Vec::new() })
}
