//! The start of a request, from which the time until its answer counts.

use tokio::time::Instant;

/// The time at which the head of a request was complete. It is an extension of each request that
/// may change something.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestStart(pub(super) Instant);
