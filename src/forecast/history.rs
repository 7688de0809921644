//! The growth of a store from the days that the ledger keeps.

use super::growth::{DayUse, WINDOW_DAYS};
use super::outlook::{SpaceLimits, UseGrowth};
use crate::model::{
    Capacity, CapacityDay, DAY_SECONDS, InodeCounts, SpaceForecast, UsedRange, UtcDay,
};

/// Seconds of a day for which figures must be known. With fewer, the highest use of the day may be
/// unknown.
const MIN_COVERED_SECONDS: u32 = DAY_SECONDS / 2;
/// Days before today that [`StoreGrowth::of_days`] uses: the window as of yesterday begins one day
/// earlier.
const USED_DAYS: i64 = WINDOW_DAYS;

/// The growth of a store's space as of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceGrowth {
    as_of: UtcDay,
    bytes: UseGrowth,
    inodes: UseGrowth,
}

impl SpaceGrowth {
    /// Computes the growth in the 28 days that end with `as_of`. Only days of `series` count.
    fn of_days(days: &[CapacityDay], series: Option<u32>, as_of: UtcDay) -> Self {
        let known = days.iter().filter(|day| {
            let CapacityDay { series: of, figures } = day;
            Some(*of) == series
                && figures.covered_seconds >= MIN_COVERED_SECONDS
                && figures.day <= as_of
                && figures.day > as_of.plus(-WINDOW_DAYS)
        });
        let (mut bytes, mut inodes) = (Vec::new(), Vec::new());
        for CapacityDay { figures, .. } in known {
            let day_use = |used: UsedRange| DayUse { day: figures.day, max_used: used.max() };
            bytes.push(day_use(figures.space));
            inodes.extend(figures.inodes.map(day_use));
        }
        Self { as_of, bytes: UseGrowth::of_days(&bytes), inodes: UseGrowth::of_days(&inodes) }
    }

    /// Returns the forecast from figures of the space. `limits` returns the limits of a total of
    /// bytes.
    pub fn forecast(
        &self,
        space: Capacity,
        inodes: Option<InodeCounts>,
        limits: impl Fn(u64) -> SpaceLimits,
    ) -> SpaceForecast {
        let inodes = inodes.and_then(UsedRange::of_inodes);
        self.forecast_use(UsedRange::of_capacity(space), inodes, limits)
    }

    fn forecast_use(
        &self,
        space: UsedRange,
        inodes: Option<UsedRange>,
        limits: impl Fn(u64) -> SpaceLimits,
    ) -> SpaceForecast {
        let (used, total) = (space.last(), space.total());
        SpaceForecast {
            as_of: self.as_of,
            bytes: self.bytes.forecast(used, total, limits(total)),
            inodes: inodes.map(|inodes| {
                let (used, total) = (inodes.last(), inodes.total());
                self.inodes.forecast(used, total, SpaceLimits::of_inodes(total))
            }),
        }
    }
}

/// The growth of a store's space as of today and as of the day before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreGrowth {
    /// The day as of which the growth was computed.
    pub today: UtcDay,
    /// The growth as of today.
    pub growth: SpaceGrowth,
    day_before: Option<DayBefore>,
}

/// The growth as of the day before, with the last figures of that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DayBefore {
    growth: SpaceGrowth,
    space: UsedRange,
    inodes: Option<UsedRange>,
}

impl StoreGrowth {
    /// Returns the first day that [`StoreGrowth::of_days`] uses.
    pub fn first_day(today: UtcDay) -> UtcDay {
        today.plus(-USED_DAYS)
    }

    /// Computes the growth from the days of a store, which are sorted by day. Only those of the
    /// newest series count, because those of another one describe other space.
    pub fn of_days(days: &[CapacityDay], today: UtcDay) -> Self {
        let series = days.iter().map(|day| day.series).max();
        let yesterday = today.plus(-1);
        let day_before =
            days.iter().find(|day| Some(day.series) == series && day.figures.day == yesterday);
        Self {
            today,
            growth: SpaceGrowth::of_days(days, series, today),
            day_before: day_before.map(|CapacityDay { figures, .. }| DayBefore {
                growth: SpaceGrowth::of_days(days, series, yesterday),
                space: figures.space,
                inodes: figures.inodes,
            }),
        }
    }

    /// Returns the forecast as of the day before, or `None` if that day has no figures of the same
    /// space.
    pub fn forecast_of_day_before(
        &self,
        limits: impl Fn(u64) -> SpaceLimits,
    ) -> Option<SpaceForecast> {
        let before = self.day_before?;
        Some(before.growth.forecast_use(before.space, before.inodes, limits))
    }
}
