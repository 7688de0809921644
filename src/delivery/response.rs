//! The reply of a receiver, and what it means for the delivery of a notice.

use std::fmt;
use std::time::Duration;

use crate::common::Timestamp;

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

impl fmt::Display for ReceiverReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response { status, excerpt, .. } if excerpt.is_empty() => {
                write!(f, "status {status}")
            }
            Self::Response { status, excerpt, .. } => write!(f, "status {status}: {excerpt}"),
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

/// Parses `Retry-After` (RFC 9110, section 10.2.3), which is a number of seconds or a date. Returns
/// `None` if the value cannot be parsed.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = at.as_millisecond().saturating_sub(now.0);
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
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
    fn retry_after_is_seconds_or_a_date_and_at_most_five_minutes() {
        let now = Timestamp(784_111_777_000);
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
        let reply = ReceiverReply::Response {
            status: 503,
            retry_after: Some(Duration::from_secs(86_400)),
            excerpt: String::new(),
        };
        assert_eq!(classify(&reply, false), DeliveryOutcome::Retry(MAX_RETRY_AFTER));
    }
}
