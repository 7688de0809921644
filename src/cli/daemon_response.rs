//! The response of the daemon to a client command.

use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{StatusCode, Uri};
use serde_json::Value;

use crate::common::{Clock as _, SystemClock, skip_byte_order_mark};
use crate::delivery::retry_after;

/// The maximum time of `Retry-After` that a command honours. An operator waits for it.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The response of the daemon.
#[derive(Debug)]
pub struct DaemonResponse {
    /// The status code.
    pub status: StatusCode,
    /// The body, which is always JSON.
    pub body: Value,
    /// The time after which the daemon asks for the next request.
    pub(crate) retry_after: Option<Duration>,
}

impl DaemonResponse {
    /// Creates the response with this head, or returns `None` if the body is not JSON.
    pub(super) fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let body = serde_json::from_slice(skip_byte_order_mark(body)).ok()?;
        let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| retry_after(text, SystemClock.now()));
        Some(Self { status, body, retry_after: after })
    }

    /// Returns the time after which a command repeats the request: the one that the daemon asks
    /// for, at most 5 minutes.
    pub(super) fn honoured_delay(&self) -> Option<Duration> {
        self.retry_after.map(|delay| delay.min(MAX_RETRY_AFTER))
    }

    /// Returns true if the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }

    /// Returns the path of the job that the response refers to, or `None` if it is the result
    /// itself. The host in the location is that of the request.
    pub(super) fn job_path(&self) -> Option<&str> {
        let location = self.body.get("location")?.as_str()?;
        let path = location.get(location.find("/zstack/v1/api-jobs/")?..);
        let is_path = |path: &&str| path.parse::<Uri>().is_ok();
        path.filter(|_| self.status == StatusCode::ACCEPTED).filter(is_path)
    }
}
