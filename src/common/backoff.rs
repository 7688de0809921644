//! The delay before the next try.

use std::time::Duration;

/// Exponential backoff with full jitter. A delay is drawn uniformly between zero and a limit that
/// doubles with each failure. The draw starts at zero, so that thousands of clients do not retry at
/// the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Creates a backoff whose limit is `base` after the first failure, and never above `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the maximum delay after this many failures in a row.
    pub fn ceiling(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Returns the delay after this many failures in a row, chosen by the random number.
    pub fn delay(self, failures: u32, random: u64) -> Duration {
        let limit = u64::try_from(self.ceiling(failures).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product spreads the whole range of `random` evenly over the limit.
        let nanos = (u128::from(random) * (u128::from(limit) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));

    #[test]
    fn the_limit_doubles_up_to_the_cap() {
        let limits: Vec<u64> = (0..=7).map(|n| BACKOFF.ceiling(n).as_secs()).collect();
        assert_eq!(limits, [10, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), Duration::from_secs(300));
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_nothing_and_the_limit(failures: u32, random: u64) {
            prop_assert!(BACKOFF.delay(failures, random) <= BACKOFF.ceiling(failures));
        }
    }

    #[test]
    fn the_whole_range_is_used() {
        assert_eq!(BACKOFF.delay(1, 0), Duration::ZERO);
        assert_eq!(BACKOFF.delay(1, u64::MAX), Duration::from_secs(10));
        assert_eq!(BACKOFF.delay(1, u64::MAX / 2).as_secs(), 5);
    }
}
