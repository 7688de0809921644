//! The reply of a receiver, and what it means for the delivery of a notice.

use std::fmt;
use std::time::Duration;

/// Maximum `Retry-After` that is honoured. A longer one counts as 5 min.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The reply of a receiver to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverReply {
    /// The receiver sent an HTTP response.
    Response {
        /// The status code of the response.
        status: u16,
        /// The delay that the receiver asks for with `Retry-After`.
        retry_after: Option<Duration>,
        /// The beginning of the body in printable form. It is the evidence of a rejection.
        excerpt: String,
    },
    /// The receiver sent no response. The text gives the reason to an operator.
    NoResponse(String),
}

/// The meaning of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The notice was delivered.
    Delivered,
    /// The notice was delivered, but the receiver has no handler for it. It counts as delivered,
    /// and the reply is reported.
    NoHandler,
    /// The notice is to be sent again, at the earliest after this delay.
    Retry(Duration),
    /// The receiver rejects the notice. An operator must act.
    Rejected,
    /// The receiver is gone (410). Nothing is sent until an operator acts.
    Gone,
}

impl DeliveryOutcome {
    /// Returns true if the notice need not be sent again.
    pub fn is_delivery(self) -> bool {
        matches!(self, Self::Delivered | Self::NoHandler)
    }
}

impl ReceiverReply {
    /// Returns the reply without its body, for a log that must not repeat what a receiver repeats.
    pub fn without_body(self) -> Self {
        match self {
            Self::Response { status, retry_after, .. } => {
                Self::Response { status, retry_after, excerpt: String::new() }
            }
            other => other,
        }
    }
}

impl fmt::Display for ReceiverReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response { status, excerpt, .. } => {
                write!(f, "status {status}")?;
                if matches!(status, 301..=303 | 307 | 308) {
                    f.write_str(", a redirect, which the daemon does not follow")?;
                }
                if excerpt.is_empty() { Ok(()) } else { write!(f, ": {excerpt}") }
            }
            Self::NoResponse(why) => f.write_str(why),
        }
    }
}

/// Classifies a reply according to the delivery contract.
///
/// | reply | meaning |
/// |---|---|
/// | 2xx | delivered |
/// | 408, 425, 429, 5xx, no response | retry; `Retry-After` is honoured up to 5 min |
/// | 410 | gone |
/// | 404 if `not_found_is_unhandled` (ZStack: no handler on the management node) | no handler |
/// | all others, including redirects | rejected |
pub fn classify(reply: &ReceiverReply, not_found_is_unhandled: bool) -> DeliveryOutcome {
    match reply {
        ReceiverReply::NoResponse(_) => DeliveryOutcome::Retry(Duration::ZERO),
        ReceiverReply::Response { status, retry_after, .. } => match status {
            200..=299 => DeliveryOutcome::Delivered,
            408 | 425 | 429 | 500..=599 => {
                DeliveryOutcome::Retry(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
            }
            410 => DeliveryOutcome::Gone,
            404 if not_found_is_unhandled => DeliveryOutcome::NoHandler,
            _ => DeliveryOutcome::Rejected,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> ReceiverReply {
        ReceiverReply::Response { status, retry_after: None, excerpt: String::new() }
    }

    #[test]
    fn each_status_means_one_thing() {
        for status in 100..600 {
            let expected = match status {
                200..=299 => DeliveryOutcome::Delivered,
                408 | 425 | 429 | 500..=599 => DeliveryOutcome::Retry(Duration::ZERO),
                410 => DeliveryOutcome::Gone,
                _ => DeliveryOutcome::Rejected,
            };
            assert_eq!(classify(&answered(status), false), expected, "{status}");
        }
        assert_eq!(classify(&answered(404), true), DeliveryOutcome::NoHandler);
        let unreached = ReceiverReply::NoResponse("connection refused".to_owned());
        assert_eq!(classify(&unreached, true), DeliveryOutcome::Retry(Duration::ZERO));
    }

    #[test]
    fn a_delay_that_a_receiver_asks_for_is_at_most_five_minutes() {
        let reply = ReceiverReply::Response {
            status: 503,
            retry_after: Some(Duration::MAX),
            excerpt: String::new(),
        };
        assert_eq!(classify(&reply, false), DeliveryOutcome::Retry(MAX_RETRY_AFTER));
    }

    #[test]
    fn a_redirect_is_named_as_one() {
        assert_eq!(answered(204).to_string(), "status 204");
        let redirect = answered(307).to_string();
        assert_eq!(redirect, "status 307, a redirect, which the daemon does not follow");
    }
}
