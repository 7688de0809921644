//! The use of a store's space by day.

use std::fmt;

use super::{Capacity, InodeCounts};
use crate::common::Timestamp;

/// Milliseconds of a day of UTC, which has no leap second.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Seconds of a day.
pub const DAY_SECONDS: u32 = 24 * 60 * 60;

/// A day of UTC, as the number of days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDay(pub i64);

impl UtcDay {
    /// Returns the day that contains a time.
    pub fn of(at: Timestamp) -> Self {
        Self(at.0.div_euclid(DAY_MS))
    }

    /// Returns the first time of the day.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(DAY_MS))
    }

    /// Returns the day after this number of days. A negative number leads back.
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }
}

impl fmt::Display for UtcDay {
    /// Formats the day as `2026-11-27`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start().to_string();
        f.write_str(start.split('T').next().unwrap_or(&start))
    }
}

/// An error for figures that cannot be those of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("used {min} to {max}, at the end {last}, of {total} cannot all be true")]
pub struct ImplausibleUse {
    /// The total.
    pub total: u64,
    /// The least use.
    pub min: u64,
    /// The greatest use.
    pub max: u64,
    /// The last use.
    pub last: u64,
}

/// The used part of a total over some time, in bytes or in inodes. What is not available counts as
/// used, also if it is reserved for root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedRange {
    total: u64,
    min: u64,
    max: u64,
    last: u64,
}

impl UsedRange {
    /// Creates a range from plausible figures: the last use is between the least and the greatest,
    /// and at most the total, which is at least 1. The greatest may be above the total, because the
    /// filesystem may have shrunk. No figure is above `i64::MAX`, which the ledger can hold.
    ///
    /// # Errors
    /// Returns [`ImplausibleUse`] otherwise.
    pub fn new(total: u64, min: u64, max: u64, last: u64) -> Result<Self, ImplausibleUse> {
        let fits = [total, max].into_iter().all(|figure| i64::try_from(figure).is_ok());
        if total == 0 || !fits || min > last || last > max || last > total {
            return Err(ImplausibleUse { total, min, max, last });
        }
        Ok(Self { total, min, max, last })
    }

    /// Returns the range of one measurement of bytes.
    pub fn of_capacity(capacity: Capacity) -> Self {
        let (total, used) =
            (capacity.total(), capacity.total().saturating_sub(capacity.available()));
        Self { total, min: used, max: used, last: used }
    }

    /// Returns the range of one measurement of inodes, or `None` if the figures are implausible.
    pub fn of_inodes(InodeCounts { total, available }: InodeCounts) -> Option<Self> {
        let used = total.checked_sub(available)?;
        Self::new(total, used, used, used).ok()
    }

    /// Returns the total at the end.
    pub fn total(self) -> u64 {
        self.total
    }

    /// Returns the least use.
    pub fn min(self) -> u64 {
        self.min
    }

    /// Returns the greatest use. It may be above the total if the filesystem has shrunk.
    pub fn max(self) -> u64 {
        self.max
    }

    /// Returns the use at the end; at most the total.
    pub fn last(self) -> u64 {
        self.last
    }

    /// Returns what was available at the end.
    pub fn available(self) -> u64 {
        self.total.saturating_sub(self.last)
    }

    /// Returns the range of both times.
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        Self { min: self.min.min(later.min), max: self.max.max(later.max), ..later }
    }
}

/// The figures of one day, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayFigures {
    /// The day.
    pub day: UtcDay,
    /// The bytes.
    pub space: UsedRange,
    /// The inodes, if the filesystem counts them.
    pub inodes: Option<UsedRange>,
    /// The seconds of the day for which a good figure is known; at most [`DAY_SECONDS`].
    ///
    /// A figure counts from its measurement to the next one, or until it is lost: a probe fails, or
    /// the store becomes Disconnected. It counts for at most three intervals of the monitor.
    pub covered_seconds: u32,
}

impl DayFigures {
    /// Returns the figures of both parts of the same day.
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        let inodes = match (self.inodes, later.inodes) {
            (Some(earlier), Some(later)) => Some(earlier.merge(later)),
            (earlier, later) => later.or(earlier),
        };
        let covered = self.covered_seconds.saturating_add(later.covered_seconds);
        Self {
            day: later.day,
            space: self.space.merge(later.space),
            inodes,
            covered_seconds: covered.min(DAY_SECONDS),
        }
    }
}

/// The figures of one day, as the ledger keeps them.
///
/// A clock that was wrong may have left days after today. Days without a good figure are absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityDay {
    /// The series, which begins at 1. The next one begins when the directory moves to another
    /// device or mount, or another quota limits it. Figures of different series describe different
    /// space. If that happens during a day, the day has only the figures after it.
    pub series: u32,
    /// The figures.
    pub figures: DayFigures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_also_before_1970() {
        for (at, day, text) in [
            (0, 0, "1970-01-01"),
            (-1, -1, "1969-12-31"),
            (DAY_MS - 1, 0, "1970-01-01"),
            (1_482_426_606_007, 17_157, "2016-12-22"),
        ] {
            let found = UtcDay::of(Timestamp(at));
            assert_eq!((found, found.to_string().as_str()), (UtcDay(day), text));
            assert!(found.start().0 <= at && found.plus(1).start().0 > at);
        }
        assert_eq!(UtcDay::of(Timestamp(i64::MAX)).plus(i64::MAX), UtcDay(i64::MAX));
    }

    #[test]
    fn only_plausible_figures_are_a_range() {
        for (total, min, max, last, good) in [
            (10, 0, 10, 10, true),
            (10, 3, 12, 4, true),
            (10, 3, 12, 11, false),
            (10, 5, 6, 4, false),
            (10, 3, 4, 5, false),
            (0, 0, 0, 0, false),
            (1 << 63, 0, 0, 0, false),
            (10, 0, 1 << 63, 0, false),
        ] {
            assert_eq!(UsedRange::new(total, min, max, last).is_ok(), good, "{total} {last}");
        }
        let inodes = |total, available| UsedRange::of_inodes(InodeCounts { total, available });
        assert_eq!(inodes(10, 4).map(UsedRange::last), Some(6));
        assert_eq!((inodes(10, 11), inodes(0, 0), inodes(u64::MAX, 0)), (None, None, None));
    }

    #[test]
    fn parts_of_a_day_merge_to_their_extremes_and_the_last_figure() {
        let part = |total, min, max, last, inodes, covered_seconds| DayFigures {
            day: UtcDay(1),
            space: UsedRange::new(total, min, max, last).unwrap(),
            inodes,
            covered_seconds,
        };
        let inodes = UsedRange::of_inodes(InodeCounts { total: 9, available: 4 });
        let merged = part(100, 20, 40, 30, inodes, 80_000).merge(part(200, 25, 35, 35, None, 9000));
        assert_eq!(merged, part(200, 20, 40, 35, inodes, DAY_SECONDS));
        assert_eq!(merged.space.available(), 165);
    }
}
