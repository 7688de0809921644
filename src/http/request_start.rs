//! The start of a request: the time from which that until its answer counts, and its source.

use std::net::IpAddr;

use tokio::time::Instant;

/// The start of a request. It is an extension of each request that may change something.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestStart {
    /// The time at which the head of the request was complete.
    pub(super) at: Instant,
    /// The network that the limits count, or `None` for the Unix socket.
    pub(super) network: Option<IpAddr>,
}
