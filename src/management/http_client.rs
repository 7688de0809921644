//! One request and what came back, in bounds of time and of bytes.

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

/// Connections that are kept idle: enough for a burst, no burden on the receiver.
const MAX_IDLE_CONNECTIONS: usize = 4;
/// How long they are kept: less than common servers do (Node.js: 5 s), so that few requests meet a
/// connection that is being closed, or one whose peer lost power.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of a reply that are read: a short one to its end, so that the connection is used again.
const MAX_DRAINED_BYTES: usize = 4096;
/// Bytes of an answer that are read where it has something to say: a thousand uuids and more.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Bytes of a refusal that are kept.
const MAX_ERROR_BYTES: usize = 512;

/// Who is named in `User-Agent`.
pub(super) const USER_AGENT_NAME: &str = concat!("imagestore-agent/", env!("CARGO_PKG_VERSION"));

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeouts {
    /// Until the TCP connection stands.
    pub connect: Duration,
    /// From its begin to the end of its reply.
    pub whole: Duration,
}

impl Default for RequestTimeouts {
    /// 5 s and 10 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(10) }
    }
}

/// Sends requests over connections that it keeps a little while.
#[derive(Clone, Debug)]
pub(super) struct BoundedClient<C> {
    client: Client<C, Full<Bytes>>,
    whole: Duration,
}

impl<C: Connect + Clone + Send + Sync + 'static> BoundedClient<C> {
    pub(super) fn new(connector: C, limits: RequestTimeouts) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(connector);
        Self { client, whole: limits.whole }
    }

    /// What the reply is, and the body of a 2xx, at most 64 KiB of it. Ends within [`RequestTimeouts::whole`].
    /// Redirects are answers like others.
    pub(super) async fn send_request(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        now: Timestamp,
    ) -> (ReceiverReply, Vec<u8>) {
        let unreached = |why: String| (ReceiverReply::Unreached(why), Vec::new());
        let request = match request {
            Ok(request) => request,
            Err(error) => return unreached(error.to_string()),
        };
        let deadline = Instant::now() + self.whole;
        match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => read_body(response, now, deadline).await,
            // hyper's own text is "client error (Connect)"; the root cause says what an operator needs.
            Ok(Err(error)) => unreached(root_cause(&error).to_string()),
            Err(_) => unreached(format!("no answer within {} ms", self.whole.as_millis())),
        }
    }
}

/// The status decides; a body that stalls or breaks off only shortens the evidence.
async fn read_body(
    response: Response<Incoming>,
    now: Timestamp,
    deadline: Instant,
) -> (ReceiverReply, Vec<u8>) {
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|value| retry_after(value, now));
    let mut body = response.into_body();
    // A refusal is only evidence; a success may have something to say.
    let most = if status.is_success() { MAX_RESPONSE_BYTES } else { MAX_DRAINED_BYTES };
    let mut seen = Vec::new();
    while seen.len() < most
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let room = most.saturating_sub(seen.len());
        seen.extend(frame.data_ref().into_iter().flatten().take(room));
    }
    let success = status.is_success();
    let evidence = seen.get(..MAX_ERROR_BYTES).unwrap_or(&seen);
    let told = if success { String::new() } else { sanitize_line(evidence) };
    let reply = ReceiverReply::Answered { status: status.as_u16(), retry_after, told };
    (reply, if success { seen } else { Vec::new() })
}
