//! The counts of deliveries since the start of the daemon, for metrics.

use std::time::Duration;

use crate::common::{Counter, CounterFamily, Histogram, string_enum};
use crate::delivery::DeliveryOutcome;

/// Upper bounds of the durations of requests to the callback, in seconds. A request has a time
/// limit of 10 s.
const BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

string_enum! {
    /// The meaning of the reply to one request, or of no reply.
    pub DeliveryWord {
        /// The notice was delivered.
        Delivered = "delivered",
        /// The receiver has no handler for it. It counts as delivered.
        NoHandler = "no_handler",
        /// The notice is sent again, to this receiver or to the next one.
        Retry = "retry",
        /// The receiver rejects the notice.
        Rejected = "rejected",
        /// The receiver is gone (410).
        Gone = "gone",
    }
}

impl From<DeliveryOutcome> for DeliveryWord {
    fn from(outcome: DeliveryOutcome) -> Self {
        match outcome {
            DeliveryOutcome::Delivered => Self::Delivered,
            DeliveryOutcome::NoHandler => Self::NoHandler,
            DeliveryOutcome::Retry(_) => Self::Retry,
            DeliveryOutcome::Rejected => Self::Rejected,
            DeliveryOutcome::Gone => Self::Gone,
        }
    }
}

/// The counts of deliveries. All begin at 0 with the process.
///
/// A delivery is one request for a notice of the outbox to one receiver. A notice may take several:
/// retries, a request to the next receiver, or the parts of an event. Heartbeats, and the states
/// that a reply to a heartbeat requests, are no deliveries.
#[derive(Debug)]
pub struct DeliveryStats {
    /// The requests that ended, by the meaning of their replies.
    pub deliveries: CounterFamily<DeliveryWord>,
    /// The durations of these requests.
    pub durations: Histogram,
    /// The notices that were coalesced into a newer one, after the commit.
    pub folded: Counter,
}

impl Default for DeliveryStats {
    fn default() -> Self {
        Self {
            deliveries: CounterFamily::starting_with(DeliveryWord::ALL.iter().copied()),
            durations: Histogram::new(BOUNDS),
            folded: Counter::default(),
        }
    }
}

impl DeliveryStats {
    /// Counts one request.
    pub(super) fn count_request(&self, outcome: DeliveryOutcome, took: Duration) {
        self.deliveries.increment(outcome.into());
        self.durations.observe(took);
    }
}
