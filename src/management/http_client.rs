//! An HTTP client that limits the duration of each request and the size of each reply.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};

use crate::common::{Timestamp, root_cause, sanitize_line};
use crate::delivery::{ReceiverReply, retry_after};

/// Maximum number of idle connections per host. Four keep the cost of a receiver low, and further
/// concurrent requests open connections of their own.
const MAX_IDLE_CONNECTIONS: usize = 4;
/// Time for which an idle connection is kept. 4 s is less than common servers use (Node.js: 5 s).
/// Few requests therefore meet a connection that the peer is closing, or one whose peer lost power.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of headers of a response. A chain of gateways adds some tens of them. The space
/// for 512 takes 16 KiB while the head is read.
const MAX_RESPONSE_HEADERS: usize = 512;
/// Maximum number of bytes that are read of a response other than 2xx. A short body is read to its
/// end, so that the connection can be reused.
const MAX_DRAINED_BYTES: usize = 4096;
/// Time after the head of a response for the rest of a body that is not used or is only evidence.
/// The status is known by then. A connection with an unread body is closed, which costs a new one.
const UNUSED_BODY_TIMEOUT: Duration = Duration::from_millis(250);
/// Time after the head of a response for the rest of a body that is used. The body of a heartbeat
/// response has at most 64 bytes for each store.
const USED_BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of bytes of an error response that are kept as evidence.
const MAX_ERROR_BYTES: usize = 512;

/// Maximum number of characters of the name of a content coding in a text.
const MAX_CODING_CHARS: usize = 32;

/// The use of the body of a 2xx response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyUse {
    /// At most this many bytes of the body are returned.
    Returned {
        /// The bound.
        max_bytes: usize,
    },
    /// The body is ignored.
    Ignored,
}

/// The reason why a response is not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    /// There was no response. The text is the cause.
    Unreached(String),
    /// The response was not complete within this time.
    TimedOut(Duration),
    /// The connection ended within the body.
    Interrupted,
    /// The body has more bytes than this.
    TooLarge(usize),
}

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

impl BoundedClient<HttpConnector> {
    /// Creates a client of URLs that name addresses, so that it looks no name up.
    pub(super) fn of_addresses(timeouts: RequestTimeouts) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(timeouts.connect));
        connector.set_nodelay(true);
        Self::new(connector, timeouts)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> BoundedClient<C> {
    pub(super) fn new(connector: C, timeouts: RequestTimeouts) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            // RFC 9112 section 5.2: a client replaces the line break in a folded header.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            // A client of RFC 9112 may be as liberal as it is able to. The status counts, and a
            // reply that is not read is repeated without end.
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_max_headers(MAX_RESPONSE_HEADERS)
            .build(connector);
        Self { client, total: timeouts.total }
    }

    /// Sends a request, and returns the reply. With [`BodyUse::Returned`], also returns the body of
    /// a 2xx, up to its bound. Ends within [`RequestTimeouts::total`]. Redirects are not
    /// followed.
    pub(super) async fn send_request(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        now: Timestamp,
        body_use: BodyUse,
    ) -> (ReceiverReply, Vec<u8>) {
        self.send_within(self.total, request, now, body_use).await
    }

    /// Sends a request as [`BoundedClient::send_request`] does, but also ends within `limit`.
    pub(super) async fn send_within(
        &self,
        limit: Duration,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        now: Timestamp,
        body_use: BodyUse,
    ) -> (ReceiverReply, Vec<u8>) {
        let limit = limit.min(self.total);
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, self.request_head(request)).await {
            Ok(Ok(response)) => read_body(response, now, deadline, body_use).await,
            Ok(Err(cause)) => (ReceiverReply::NoResponse(cause), Vec::new()),
            Err(_) => {
                let cause = format!("no response within {} ms", limit.as_millis());
                (ReceiverReply::NoResponse(cause), Vec::new())
            }
        }
    }

    /// Sends a request, and returns the status of the response and the complete body of a 200.
    /// Ends within [`RequestTimeouts::total`]. Redirects are not followed.
    ///
    /// # Errors
    /// [`FetchError`] if there is no complete response, or if the body is larger than `max_bytes`.
    pub(super) async fn fetch_body(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        max_bytes: usize,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let fetch = async {
            let response = self.request_head(request).await.map_err(FetchError::Unreached)?;
            let status = response.status();
            let mut content = Vec::new();
            if status != StatusCode::OK {
                return Ok((status, content));
            }
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| FetchError::Interrupted)?;
                content.extend(frame.data_ref().into_iter().flatten());
                if content.len() > max_bytes {
                    return Err(FetchError::TooLarge(max_bytes));
                }
            }
            Ok((status, content))
        };
        timeout(self.total, fetch).await.unwrap_or(Err(FetchError::TimedOut(self.total)))
    }

    /// Sends a request, and returns the response with its body unread, or the cause of a failure.
    async fn request_head(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<Response<Incoming>, String> {
        let request = request.map_err(|error| error.to_string())?;
        // The text of hyper is only "client error (Connect)". The root cause helps an operator.
        self.client.request(request).await.map_err(|error| root_cause(&error).to_string())
    }
}

/// Reads a response. The status alone decides the outcome: a body that stalls or ends early only
/// shortens the evidence.
async fn read_body(
    response: Response<Incoming>,
    now: Timestamp,
    deadline: Instant,
    body_use: BodyUse,
) -> (ReceiverReply, Vec<u8>) {
    let status = response.status();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after(value, now));
    let coding = response.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes());
    let coding = coding.filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    let coding = coding.map(|coding| sanitize_line(coding, MAX_CODING_CHARS));
    let mut body = response.into_body();
    // The body of an error is only evidence, while the body of a success may contain requests.
    let (is_returned, limit, moment) = match body_use {
        BodyUse::Returned { max_bytes } if status.is_success() && coding.is_none() => {
            (true, max_bytes, USED_BODY_TIMEOUT)
        }
        _ => (false, MAX_DRAINED_BYTES, UNUSED_BODY_TIMEOUT),
    };
    let deadline = deadline.min(Instant::now() + moment);
    let mut content = Vec::new();
    while content.len() < limit
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let remaining = limit.saturating_sub(content.len());
        content.extend(frame.data_ref().into_iter().flatten().take(remaining));
    }
    let excerpt_bytes = content.get(..MAX_ERROR_BYTES).unwrap_or(&content);
    let excerpt = match coding {
        _ if status.is_success() => String::new(),
        // The daemon asks for no coding, and the bytes would say nothing.
        Some(coding) => format!("body with the content coding {coding}, not shown"),
        None => sanitize_line(excerpt_bytes, MAX_ERROR_BYTES),
    };
    let reply = ReceiverReply::Response { status: status.as_u16(), retry_after, excerpt };
    (reply, if is_returned { content } else { Vec::new() })
}
