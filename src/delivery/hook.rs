//! The next step for the web hook of a job after a reply of its receiver.

use std::time::Duration;

use super::state::{REJECTED_RETRY_DELAY, RETRY_BACKOFF};
use super::{DeliveryOutcome, ReceiverReply, classify};

/// The next step for a web hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookStep {
    /// The result was delivered.
    Delivered,
    /// The receiver does not know the job (404), or is gone (410). The result is not posted again.
    GivenUp,
    /// The result is posted again after this delay, if it is still kept then.
    RetryAfter(Duration),
}

/// Returns the next step after this reply to a post, with which `failures` posts in a row have
/// failed. `random` is a random number.
pub fn next_hook_step(reply: &ReceiverReply, failures: u32, random: u64) -> HookStep {
    match classify(reply, true) {
        DeliveryOutcome::Delivered => HookStep::Delivered,
        DeliveryOutcome::NoHandler | DeliveryOutcome::Gone => HookStep::GivenUp,
        DeliveryOutcome::Retry(at_least) => {
            HookStep::RetryAfter(hook_retry_delay(failures, random).max(at_least))
        }
        DeliveryOutcome::Rejected => HookStep::RetryAfter(REJECTED_RETRY_DELAY),
    }
}

/// Returns the delay after this many failures in a row without a reply.
pub fn hook_retry_delay(failures: u32, random: u64) -> Duration {
    RETRY_BACKOFF.delay(failures, random)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(status: u16, retry_after: Option<u64>) -> ReceiverReply {
        let retry_after = retry_after.map(Duration::from_secs);
        ReceiverReply::Response { status, retry_after, excerpt: String::new() }
    }

    #[test]
    fn each_reply_has_one_next_step() {
        let (none, longest) = (Duration::ZERO, Duration::from_millis(200));
        let rejected = HookStep::RetryAfter(REJECTED_RETRY_DELAY);
        for status in 100..600 {
            let expected = match status {
                200..=299 => HookStep::Delivered,
                404 | 410 => HookStep::GivenUp,
                408 | 425 | 429 | 500..=599 => HookStep::RetryAfter(none),
                // Other rejections, and redirects, which are not followed.
                _ => rejected,
            };
            assert_eq!(next_hook_step(&response(status, None), 1, 0), expected, "{status}");
        }
        let unreached = ReceiverReply::NoResponse("connection refused".to_owned());
        let step = next_hook_step(&unreached, 1, u64::MAX);
        assert_eq!(step, HookStep::RetryAfter(longest));
    }

    #[test]
    fn the_receiver_may_ask_for_a_longer_delay_of_at_most_five_minutes() {
        for (asked, expected) in [(1, 1), (300, 300), (86_400, 300)] {
            let step = next_hook_step(&response(503, Some(asked)), 1, 0);
            assert_eq!(step, HookStep::RetryAfter(Duration::from_secs(expected)));
        }
    }

    proptest! {
        #[test]
        fn a_retry_comes_within_five_minutes(
            status in 100_u16..600,
            asked in any::<Option<u64>>(),
            failures: u32,
            random: u64,
        ) {
            let step = next_hook_step(&response(status, asked), failures, random);
            if let HookStep::RetryAfter(delay) = step {
                prop_assert!(delay <= Duration::from_secs(300));
            }
            prop_assert_eq!(step == HookStep::Delivered, (200..300).contains(&status));
            prop_assert!(hook_retry_delay(failures, random) <= Duration::from_secs(60));
        }
    }
}
