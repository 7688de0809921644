//! What a receiver's reply means.

use std::fmt;
use std::time::Duration;

use crate::common::Timestamp;

/// Longest `RetrySchedule-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverReply {
    /// An HTTP answer.
    Answered {
        /// Its status code.
        status: u16,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
        /// The beginning of its body, printable: the evidence of a refusal.
        told: String,
    },
    /// There was none: why, as text for people.
    Unreached(String),
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The notice has arrived.
    Delivered,
    /// It has arrived where nobody handles it: taken as delivered, and shown.
    NoHandler,
    /// Send it again, not before this much time has passed.
    Retry(Duration),
    /// The receiver does not want it: a person must look.
    Rejected,
    /// The receiver wants nothing any more (410): nothing is sent until a person acts.
    Gone,
}

impl DeliveryOutcome {
    /// Whether the notice need not be sent again.
    pub fn is_delivery(self) -> bool {
        matches!(self, Self::Delivered | Self::NoHandler)
    }
}

impl fmt::Display for ReceiverReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, told, .. } if told.is_empty() => write!(f, "status {status}"),
            Self::Answered { status, told, .. } => write!(f, "status {status}: {told}"),
            Self::Unreached(why) => f.write_str(why),
        }
    }
}

/// The contract's table.
///
/// | reply | meaning |
/// |---|---|
/// | 2xx | delivered |
/// | 408, 425, 429, 5xx, no answer | again; `RetrySchedule-After` honoured up to 5 min |
/// | 410 | gone |
/// | 404 where `not_found_is_unhandled` (ZStack's format: the management node has no handler) | unhandled |
/// | everything else, redirects among it | refused |
pub fn classify(reply: &ReceiverReply, not_found_is_unhandled: bool) -> DeliveryOutcome {
    match reply {
        ReceiverReply::Unreached(_) => DeliveryOutcome::Retry(Duration::ZERO),
        ReceiverReply::Answered { status, retry_after, .. } => match status {
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

/// `RetrySchedule-After` (RFC 9110, 10.2.3): seconds, or a date. Nothing that cannot be read is honoured.
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
        ReceiverReply::Answered { status, retry_after: None, told: String::new() }
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
        let unreached = ReceiverReply::Unreached("connection refused".to_owned());
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
        let reply = ReceiverReply::Answered {
            status: 503,
            retry_after: Some(Duration::from_secs(86_400)),
            told: String::new(),
        };
        assert_eq!(classify(&reply, false), DeliveryOutcome::Retry(MAX_RETRY_AFTER));
    }
}
