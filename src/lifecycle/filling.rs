//! Decides if a store is filling up, from forecasts.

use std::time::Duration;

use super::SpaceThresholds;
use crate::model::{DAY_SECONDS, LimitOutlook, LimitOutlooks, SpaceForecast, UseForecast};

/// Use in percent, above which a store can fill up. A use below it leaves time, even if it grows
/// fast.
const MIN_USED_PERCENT: u128 = 60;
/// Use in percent, at or below which a store is no longer filling up.
const END_USED_PERCENT: u128 = 58;

/// The forecasts of a store that decide if it is filling up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillEvidence {
    /// The forecast from the newest figures.
    pub now: SpaceForecast,
    /// The forecast as of the end of the day before, or `None` if that is not known. It shows that
    /// the forecast has held for a day.
    pub day_before: Option<SpaceForecast>,
}

/// Returns true if the store is filling up: for its bytes or its inodes, the later end of the
/// forecast reaches the limit within `thresholds.filling_up`, now and the day before.
/// `holds_already` is true if the condition is active: it ends at twice the time.
pub(super) fn is_filling_up(
    evidence: &FillEvidence,
    holds_already: bool,
    thresholds: &SpaceThresholds,
) -> bool {
    let Some(limit) = thresholds.filling_up else { return false };
    let resources = |forecast: &SpaceForecast| [Some(forecast.bytes), forecast.inodes];
    let now = resources(&evidence.now);
    if holds_already {
        let limit = limit.saturating_mul(2);
        return now.iter().flatten().any(|now| fills_within(now, limit, END_USED_PERCENT));
    }
    let Some(day_before) = &evidence.day_before else { return false };
    let fills = |forecast: &UseForecast| match forecast.full.outlooks.map(LimitOutlooks::later) {
        // A store that was full the day before has room again, and loses it again.
        Some(LimitOutlook::Reached) => true,
        _ => fills_within(forecast, limit, MIN_USED_PERCENT),
    };
    now.iter().zip(resources(day_before)).any(|(now, before)| {
        now.is_some_and(|now| fills_within(&now, limit, MIN_USED_PERCENT))
            && before.is_some_and(|before| fills(&before))
    })
}

/// Returns true if more than a share is in use, and the later end of the forecast is within a time.
/// A full resource is not filling up.
fn fills_within(forecast: &UseForecast, limit: Duration, used_percent: u128) -> bool {
    let used = u128::from(forecast.used).saturating_mul(100);
    let is_used = used > u128::from(forecast.total).saturating_mul(used_percent);
    let later = forecast.full.outlooks.map(LimitOutlooks::later);
    is_used
        && matches!(later, Some(LimitOutlook::Within { days })
            if Duration::from_secs(u64::from(days).saturating_mul(u64::from(DAY_SECONDS))) <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::tests::transition_table::POLICY;
    use crate::model::{UseLimit, UtcDay};
    use LimitOutlook::{NotGrowing, NotWithinAYear, Reached, Within};

    fn resource(used: u64, outlooks: Option<(LimitOutlook, LimitOutlook)>) -> UseForecast {
        let outlooks =
            outlooks.map(|(net, without_cleanups)| LimitOutlooks { net, without_cleanups });
        let full = UseLimit { used: 95, outlooks };
        UseForecast { used, total: 100, near_full: None, full, known_days: 9 }
    }

    fn within(days: u32) -> Option<(LimitOutlook, LimitOutlook)> {
        Some((Within { days: 1 }, Within { days }))
    }

    fn thresholds(days: u64) -> SpaceThresholds {
        let filling_up = (days > 0).then(|| Duration::from_secs(days * u64::from(DAY_SECONDS)));
        SpaceThresholds { filling_up, ..POLICY.space }
    }

    fn bytes_only(bytes: UseForecast) -> SpaceForecast {
        SpaceForecast { as_of: UtcDay(9), bytes, inodes: None }
    }

    #[test]
    fn it_begins_if_the_later_end_was_near_on_both_days_and_ends_at_twice_the_time() {
        let known = |used, outlooks| Some(bytes_only(resource(used, outlooks)));
        for (now, before, begins, goes_on) in [
            (resource(80, within(7)), known(79, within(7)), true, true),
            (resource(80, within(8)), known(79, within(7)), false, true),
            (resource(80, within(7)), known(79, within(8)), false, true),
            (resource(80, within(14)), known(79, within(7)), false, true),
            (resource(80, within(15)), known(79, within(7)), false, false),
            (resource(61, within(2)), known(61, within(3)), true, true),
            (resource(61, within(2)), known(60, within(3)), false, true),
            (resource(60, within(2)), known(61, within(3)), false, true),
            (resource(58, within(2)), known(61, within(3)), false, false),
            (resource(80, within(7)), None, false, true),
            (resource(80, None), known(79, within(7)), false, false),
            (resource(80, within(7)), known(79, None), false, true),
            (resource(94, within(1)), known(97, Some((Reached, Reached))), true, true),
            (resource(96, Some((Reached, Reached))), known(90, within(1)), false, false),
            (
                resource(80, Some((NotGrowing, Within { days: 2 }))),
                known(79, within(7)),
                false,
                false,
            ),
            (
                resource(80, Some((NotWithinAYear, Within { days: 2 }))),
                known(79, within(7)),
                false,
                false,
            ),
        ] {
            let evidence = FillEvidence { now: bytes_only(now), day_before: before };
            let found = |holds| is_filling_up(&evidence, holds, &thresholds(7));
            assert_eq!((found(false), found(true)), (begins, goes_on), "{evidence:?}");
            assert!(!is_filling_up(&evidence, true, &thresholds(0)), "it is turned off");
        }
    }

    #[test]
    fn one_resource_is_enough_but_it_must_be_the_same_one_on_both_days() {
        let calm = resource(80, Some((NotGrowing, NotGrowing)));
        let scarce = resource(80, within(3));
        let forecast =
            |bytes, inodes| SpaceForecast { as_of: UtcDay(9), bytes, inodes: Some(inodes) };
        for (now, before, expected) in [
            (forecast(calm, scarce), forecast(calm, scarce), true),
            (forecast(scarce, calm), forecast(scarce, calm), true),
            (forecast(scarce, calm), forecast(calm, scarce), false),
            (forecast(calm, scarce), bytes_only(scarce), false),
            (forecast(calm, calm), forecast(scarce, scarce), false),
        ] {
            let evidence = FillEvidence { now, day_before: Some(before) };
            assert_eq!(is_filling_up(&evidence, false, &thresholds(7)), expected, "{evidence:?}");
        }
    }
}
