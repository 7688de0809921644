//! The use of a store by day, and the forecast from it.

use super::StoreSnapshot;
use crate::forecast::{SpaceLimits, StoreGrowth};
use crate::lifecycle::SpaceThresholds;
use crate::model::{CapacityDay, SpaceForecast, UtcDay};

/// The use of a store by day, and its forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityHistory {
    /// The day of the request.
    pub today: UtcDay,
    /// The days with figures, oldest first.
    pub days: Vec<CapacityDay>,
    /// The forecast, or `None` before the first measurement.
    pub forecast: Option<SpaceForecast>,
}

impl CapacityHistory {
    /// Returns the first day to read for a history from `since` on.
    pub(super) fn first_day(since: UtcDay, today: UtcDay) -> UtcDay {
        since.min(StoreGrowth::first_day(today))
    }

    /// Creates the history from `since` on, with the forecast from the newest figures of a store.
    /// `days` begins early enough for the forecast, and at the latest with `since`.
    pub fn new(
        mut days: Vec<CapacityDay>,
        since: UtcDay,
        today: UtcDay,
        snapshot: &StoreSnapshot,
        thresholds: SpaceThresholds,
    ) -> Self {
        let growth = StoreGrowth::of_days(&days, today).growth;
        let forecast = snapshot.durable.capacity.map(|capacity| {
            growth.forecast(capacity, snapshot.durable.inodes, space_limits(thresholds))
        });
        days.retain(|day| day.figures.day >= since);
        Self { today, days, forecast }
    }
}

/// Returns the limits of a total of bytes.
pub(super) fn space_limits(thresholds: SpaceThresholds) -> impl Fn(u64) -> SpaceLimits {
    let SpaceThresholds { reserved, near_full, full, filling_up: _ } = thresholds;
    move |total| SpaceLimits::of_bytes(total, near_full, full, reserved)
}
