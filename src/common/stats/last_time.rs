//! The last time at which something happened.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::common::Timestamp;

/// The last time at which something happened, or none.
#[derive(Debug, Default)]
pub struct LastTime(AtomicI64);

/// The value of a time that is not known.
const NEVER: i64 = 0;

impl LastTime {
    /// Sets the time.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.0, Ordering::Relaxed);
    }

    /// Returns the time, or `None` if it was never set.
    pub fn value(&self) -> Option<Timestamp> {
        let time = self.0.load(Ordering::Relaxed);
        (time != NEVER).then_some(Timestamp(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_is_the_one_that_was_set_last() {
        let last = LastTime::default();
        assert_eq!(last.value(), None);
        // The clock of a host without a battery begins in the past.
        for time in [Timestamp(5), Timestamp(3), Timestamp(-1)] {
            last.set(time);
            assert_eq!(last.value(), Some(time));
        }
    }
}
