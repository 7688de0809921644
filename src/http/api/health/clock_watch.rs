//! The wall clock against the epoch of this run and against the monotonic clock.

use std::sync::Arc;

use tokio::time::Instant;

use crate::common::{Clock, Timestamp};
use crate::diagnosis::ClockFacts;

/// The wall clock since the start. Cheap to clone.
#[derive(Clone)]
pub struct ClockWatch {
    clock: Arc<dyn Clock>,
    /// The epoch of this run, which is not before any time in the ledger.
    epoch: Timestamp,
    started: (Timestamp, Instant),
}

impl ClockWatch {
    /// Begins to compare the clocks.
    pub fn start(clock: Arc<dyn Clock>, epoch: Timestamp) -> Self {
        let started = (clock.now(), Instant::now());
        Self { clock, epoch, started }
    }

    /// Returns the present time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the facts for the diagnosis.
    pub(super) fn facts(&self) -> ClockFacts {
        let now = self.clock.now();
        let (started, instant) = self.started;
        let passed = i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX);
        let jump = now.0.saturating_sub(started.0).saturating_sub(passed);
        ClockFacts { now, newest_record: Some(self.epoch), jump: Some(jump) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct SetClock(AtomicI64);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_jump_is_what_the_wall_clock_advances_more_than_the_monotonic_clock() {
        let clock = Arc::new(SetClock(AtomicI64::new(1_000_000)));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let mut watch = ClockWatch::start(shared, Timestamp(900_000));
        let passed = std::time::Duration::from_secs(10);
        watch.started.1 = watch.started.1.checked_sub(passed).unwrap();
        for (wall, jump) in [(1_010_000, 0), (1_080_000, 70_000), (940_000, -70_000)] {
            clock.0.store(wall, Ordering::Relaxed);
            let facts = watch.facts();
            assert_eq!(
                (facts.now, facts.newest_record),
                (Timestamp(wall), Some(Timestamp(900_000)))
            );
            // The test itself takes time.
            let off = jump - facts.jump.unwrap();
            assert!((0..30_000).contains(&off), "{jump}: {facts:?}");
        }
    }
}
