//! The wall clock against the epoch of this run and against the time that has passed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::common::{Clock, Timestamp, lock_unpoisoned};
use crate::diagnosis::ClockFacts;

/// Time for which a jump is shown after it was seen. A clock that is right again needs no restart.
const SHOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// The wall clock since the start. Cheap to clone.
#[derive(Clone)]
pub struct ClockWatch {
    clock: Arc<dyn Clock>,
    /// The epoch of this run, which is not before any time in the ledger.
    epoch: Timestamp,
    seen: Arc<Mutex<SeenClock>>,
}

impl ClockWatch {
    /// Begins to compare the clocks.
    pub fn start(clock: Arc<dyn Clock>, epoch: Timestamp) -> Self {
        let seen = SeenClock { wall: clock.now(), passed: time_since_boot(), jump: None };
        Self { clock, epoch, seen: Arc::new(Mutex::new(seen)) }
    }

    /// Returns the present time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the facts for the diagnosis.
    pub(super) fn facts(&self) -> ClockFacts {
        let now = self.clock.now();
        let jump = lock_unpoisoned(&self.seen).look(now, time_since_boot());
        ClockFacts { now, newest_record: Some(self.epoch), jump: Some(jump) }
    }
}

/// Returns the time since the boot of the host, in which it may have been suspended
/// (`clock_getres(2)`).
fn time_since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Both clocks when they were last compared.
struct SeenClock {
    wall: Timestamp,
    /// The time since the boot.
    passed: Duration,
    /// The largest jump of the last hour in milliseconds, and the time since the boot when it was
    /// seen.
    jump: Option<(i64, Duration)>,
}

impl SeenClock {
    /// Compares the clocks again. Returns the largest difference that was seen within an hour, in
    /// milliseconds: positive if the wall clock was set forward.
    fn look(&mut self, wall: Timestamp, passed: Duration) -> i64 {
        let between = passed.saturating_sub(self.passed).as_millis();
        let between = i64::try_from(between).unwrap_or(i64::MAX);
        let step = wall.0.saturating_sub(self.wall.0).saturating_sub(between);
        (self.wall, self.passed) = (wall, passed);
        let shown = self.jump.filter(|(_, seen)| passed.saturating_sub(*seen) < SHOWN_FOR);
        self.jump = match shown {
            Some((jump, _)) if jump.saturating_abs() > step.saturating_abs() => shown,
            _ => Some((step, passed)),
        };
        self.jump.map_or(0, |(jump, _)| jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_shown_for_an_hour_after_it_was_seen() {
        let mut seen = SeenClock { wall: Timestamp(0), passed: Duration::ZERO, jump: None };
        for (minutes, set, jump) in [
            (1, 0, 0),
            // The clock is set forward, and stays so.
            (2, 70_000, 70_000),
            (30, 70_000, 70_000),
            (61, 70_000, 70_000),
            (62, 70_000, 0),
            // It is corrected in two steps, of which the larger one counts.
            (63, 30_000, -40_000),
            (64, 0, -40_000),
            (200, 0, 0),
        ] {
            let passed = Duration::from_secs(minutes * 60);
            let wall = i64::try_from(passed.as_millis()).unwrap() + set;
            assert_eq!(seen.look(Timestamp(wall), passed), jump, "{minutes}");
        }
    }

    #[test]
    fn the_clocks_of_the_system_do_not_differ() {
        let watch = ClockWatch::start(Arc::new(crate::common::SystemClock), Timestamp(900_000));
        let facts = watch.facts();
        assert_eq!(facts.newest_record, Some(Timestamp(900_000)));
        assert!(facts.jump.unwrap().abs() < 60_000, "{facts:?}");
    }
}
