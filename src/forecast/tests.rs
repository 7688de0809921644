//! The shapes of use that operators know, and the properties that hold for all of them.

use proptest::prelude::*;

use super::*;
use crate::model::LimitOutlook::{self, NotGrowing, NotWithinAYear, Reached, Within};
use crate::model::{
    Capacity, CapacityDay, DAY_SECONDS, DayFigures, InodeCounts, LimitOutlooks, UseForecast,
    UsedRange, UtcDay,
};

const GIB: u64 = 1 << 30;
const DAYS: i64 = 30;

/// Returns the use of the last 30 days, in GiB of a total of 100, as a function of the age of the
/// day.
fn history(used: impl Fn(i64) -> f64) -> Vec<DayUse> {
    (0..DAYS).map(|day| day_use(20_000 + day, gib(used(DAYS - 1 - day)))).collect()
}

fn day_use(day: i64, max_used: u64) -> DayUse {
    DayUse { day: UtcDay(day), max_used }
}

fn gib(amount: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small amounts")]
    let megabytes = (amount * 1024.0) as u64;
    megabytes << 20
}

/// Returns the times until all of a total of bytes is in use: net, and without clean-ups.
fn until_full(days: &[DayUse], used: u64, total: u64) -> Option<(LimitOutlook, LimitOutlook)> {
    let limits = SpaceLimits::of_bytes(total, 0.5, 1.0, 0);
    let forecast = UseGrowth::of_days(days).forecast(used, total, limits);
    let LimitOutlooks { net, without_cleanups } = forecast.full.outlooks?;
    Some((net, without_cleanups))
}

fn outlooks(days: &[DayUse], used: f64, total: u64) -> (LimitOutlook, LimitOutlook) {
    until_full(days, gib(used), total * GIB).unwrap()
}

/// Asserts that the time is the expected number of days, or one more or less.
fn assert_about(found: LimitOutlook, expected: Option<u32>, shape: &str) {
    match (found, expected) {
        (Within { days }, Some(expected)) => {
            assert!(days.abs_diff(expected) <= 1, "{shape}: {days} instead of {expected}");
        }
        (NotGrowing, None) => {}
        other => panic!("{shape}: {other:?}"),
    }
}

/// Returns a use that grows by 2 a day to `now`. A clean-up each week leaves only the `net` growth.
/// The last one was this number of days ago.
#[allow(clippy::cast_precision_loss, reason = "ages of at most 30 days")]
fn weekly(now: f64, net: f64, days_ago: i64) -> impl Fn(i64) -> f64 {
    let from_cleanup = move |age: i64| {
        let days = days_ago - age;
        net * days.div_euclid(7) as f64 + 2.0 * days.rem_euclid(7) as f64
    };
    move |age| now - from_cleanup(0) + from_cleanup(age)
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "ages of at most 30 days")]
fn the_shapes_that_mislead_other_forecasts_have_true_ones() {
    let steady = |age: i64| 80.0 - age as f64;
    let recent_cleanup = |age: i64| 59.0 - 1.5 * age as f64 + if age >= 6 { 36.0 } else { 0.0 };
    let early_cleanup = |age: i64| 73.0 - 1.5 * age as f64 + if age >= 15 { 22.0 } else { 0.0 };
    let weekly_at = |now: f64, net| weekly(now, net, 3);
    let burst = |age: i64| if age == 0 { 71.0 } else { 59.0 };
    let noise =
        |age: i64| 60.0 + [0.3, -0.4, 0.1, 0.4, -0.2, -0.3, 0.2][usize::try_from(age % 7).unwrap()];
    for (shape, days, used, total, net, without_cleanups) in [
        ("steady", history(steady), 80.0, 100, Some(20), Some(20)),
        ("recent clean-up", history(recent_cleanup), 59.0, 100, Some(28), Some(28)),
        // The window of 28 days alone gives 45 days.
        ("early clean-up", history(early_cleanup), 73.0, 100, Some(47), Some(18)),
        ("weekly, no net growth", history(weekly_at(64.0, 0.0)), 64.0, 100, None, Some(18)),
        ("weekly, some net growth", history(weekly_at(72.0, 2.0)), 72.0, 100, Some(98), Some(14)),
        ("a burst today", history(burst), 71.0, 100, None, None),
        ("the disk was doubled", history(steady), 80.0, 200, Some(120), Some(120)),
        ("flat with noise", history(noise), 60.0, 100, None, None),
    ] {
        let found = outlooks(&days, used, total);
        assert_about(found.0, net, shape);
        assert_about(found.1, without_cleanups, shape);
    }
}

#[test]
fn weekly_cleanups_are_no_growth_on_any_day_of_the_week() {
    for days_ago in 0..7 {
        let shape = format!("clean-up {days_ago} days ago");
        let found = outlooks(&history(weekly(64.0, 0.0, days_ago)), 64.0, 100);
        assert!(found.0 >= NotWithinAYear, "{shape}: {found:?}");
        assert_about(found.1, Some(18), &shape);
        let (net, _) = outlooks(&history(weekly(72.0, 2.0, days_ago)), 72.0, 100);
        let Within { days } = net else { panic!("{shape}: {net:?}") };
        assert!((86..=99).contains(&days), "{shape}: {days}");
    }
}

#[test]
fn little_history_gives_no_forecast_and_slow_growth_is_none() {
    let days = history(|_| 50.0);
    for known in 0..3_u32 {
        let growth = UseGrowth::of_days(&days[..usize::try_from(known).unwrap()]);
        let limits = SpaceLimits::of_bytes(100 * GIB, 0.5, 1.0, 0);
        let forecast = growth.forecast(50 * GIB, 100 * GIB, limits);
        assert_eq!((forecast.full.outlooks, forecast.known_days), (None, known));
        assert_eq!(forecast.near_full.unwrap().outlooks, None);
    }
    let rising = |per_day: u64| -> Vec<DayUse> {
        let used = |day: u64| 50 * GIB + day * per_day;
        (0..28).map(|day: u64| day_use(day.cast_signed(), used(day))).collect()
    };
    let (slow, fast) = (100 * GIB / 200 / 28 - 1, 100 * GIB / 200 / 28 + 1);
    assert_eq!(outlooks(&rising(slow), 50.0, 100), (NotGrowing, NotGrowing));
    assert_eq!(outlooks(&rising(fast), 50.0, 100), (NotWithinAYear, NotWithinAYear));
    assert_eq!(outlooks(&rising(fast), 99.9, 100), (Within { days: 6 }, Within { days: 6 }));
    assert_eq!(outlooks(&rising(fast), 100.0, 100), (Reached, Reached));
}

#[test]
fn a_change_over_a_gap_is_not_the_growth_of_one_day() {
    // Two weeks at 20, ten days without figures, four days at 60.
    let days: Vec<DayUse> = (0..14)
        .map(|day| day_use(day, 20 * GIB))
        .chain((24..28).map(|day| day_use(day, 60 * GIB)))
        .collect();
    assert_eq!(outlooks(&days, 60.0, 100).1, NotGrowing);
}

#[test]
fn the_limits_are_those_of_the_settings() {
    let limits = |near_full, full, reserved| {
        let growth = UseGrowth::of_days(&history(|_| 50.0));
        let limits = SpaceLimits::of_bytes(100 * GIB, near_full, full, reserved);
        let forecast = growth.forecast(50 * GIB, 100 * GIB, limits);
        (forecast.near_full.unwrap().used / GIB, forecast.full.used / GIB)
    };
    assert_eq!(limits(0.75, 0.95, GIB), (75, 95));
    assert_eq!(limits(0.75, 0.95, 20 * GIB), (75, 80));
    assert_eq!(limits(0.75, 0.95, 40 * GIB), (60, 60));
    assert_eq!(limits(0.75, 0.95, 200 * GIB), (0, 0));
    let largest = UseGrowth::default().forecast(0, u64::MAX, SpaceLimits::of_inodes(u64::MAX));
    assert_eq!((largest.full.used, largest.near_full), (u64::MAX, None));
}

const TODAY: i64 = 20_000;

/// Returns a day with this use of bytes, of a total of 100 GiB, and the same use of 100 inodes.
fn day(age: i64, used: u64) -> CapacityDay {
    let figures = DayFigures {
        day: UtcDay(TODAY - age),
        space: UsedRange::new(100 * GIB, 0, used * GIB, used * GIB).unwrap(),
        inodes: Some(UsedRange::new(100, 0, used, used).unwrap()),
        covered_seconds: DAY_SECONDS,
    };
    CapacityDay { series: 1, figures }
}

/// Returns 28 days that end with this age. The use grows by 1 a day, to `last`.
fn growing(last_age: i64, last: u64) -> Vec<CapacityDay> {
    (0..28_u64).rev().map(|age| day(last_age + age.cast_signed(), last - age)).collect()
}

/// Returns the days with figures and the times until full: of bytes and of inodes.
fn known_and_until_full(days: &[CapacityDay]) -> [(u32, Option<LimitOutlook>); 2] {
    let growth = StoreGrowth::of_days(days, UtcDay(TODAY));
    let capacity = Capacity::new(100 * GIB, 50 * GIB).unwrap();
    let inodes = Some(InodeCounts { total: 100, available: 50 });
    let limits = |total| SpaceLimits::of_bytes(total, 0.5, 1.0, 0);
    let forecast = growth.growth.forecast(capacity, inodes, limits);
    let later = |of: UseForecast| (of.known_days, of.full.outlooks.map(LimitOutlooks::later));
    [later(forecast.bytes), later(forecast.inodes.unwrap())]
}

#[test]
fn only_well_known_days_of_the_newest_series_count() {
    let steady = growing(0, 50);
    let both = |found| [found, found];
    assert_eq!(known_and_until_full(&steady), both((28, Some(Within { days: 50 }))));
    let with = |change: &dyn Fn(usize, &mut CapacityDay)| {
        let mut days = steady.clone();
        days.iter_mut().enumerate().for_each(|(at, day)| change(at, day));
        known_and_until_full(&days)
    };
    // The first 26 days are another disk, also if the newest day is hardly known yet.
    let moved = with(&|at, day| day.series = if at < 26 { 1 } else { 2 });
    assert_eq!(moved, both((2, None)));
    let moved_today = with(&|at, day| {
        if at == 27 {
            (day.series, day.figures.covered_seconds) = (2, 60);
        }
    });
    assert_eq!(moved_today, both((0, None)));
    // Without two consecutive days there is no daily change.
    let poorly_known = with(&|at, day| {
        if at % 2 == 0 {
            day.figures.space = UsedRange::new(100 * GIB, 0, 99 * GIB, 1).unwrap();
            day.figures.covered_seconds = DAY_SECONDS / 2 - 1;
        }
    });
    assert_eq!(poorly_known, both((14, Some(NotGrowing))));
    let no_inodes = with(&|_, day| day.figures.inodes = None);
    assert_eq!(no_inodes, [(28, Some(Within { days: 50 })), (0, None)]);
    // Days that a wrong clock left after today, and days before the window.
    let mut days: Vec<_> = (28..60).rev().map(|age| day(age, 3)).collect();
    days.extend(steady.iter().copied());
    days.extend((1..9).map(|ahead| day(-ahead, 99)));
    assert_eq!(known_and_until_full(&days), both((28, Some(Within { days: 50 }))));
    // The growth before a long outage says nothing.
    assert_eq!(known_and_until_full(&growing(40, 50)), both((0, None)));
    assert_eq!(known_and_until_full(&[]), both((0, None)));
}

#[test]
fn the_day_before_is_judged_by_its_own_figures() {
    let limits = |total| SpaceLimits::of_bytes(total, 0.5, 1.0, 0);
    let days = growing(0, 50);
    let before = |days: &[CapacityDay]| {
        let forecast = StoreGrowth::of_days(days, UtcDay(TODAY)).forecast_of_day_before(limits);
        forecast.map(|forecast| forecast.bytes.full.outlooks.map(LimitOutlooks::later))
    };
    assert_eq!(before(&days), Some(Some(Within { days: 51 })));
    // Figures of today change nothing.
    let mut jump = days.clone();
    *jump.last_mut().unwrap() = day(0, 99);
    assert_eq!(before(&jump), before(&days));
    assert_eq!(before(&days[..26]), None);
    let mut moved = days.clone();
    moved.last_mut().unwrap().series = 2;
    assert_eq!(before(&moved), None);
    assert_eq!(before(&[]), None);
}

proptest! {
    #[test]
    fn scale_and_time_change_nothing(
        used in proptest::collection::vec(0_u64..1 << 40, 3..40),
        shift in -10_000_i64..10_000,
        scale in 1_u64..1000,
    ) {
        let total = 1_u64 << 41;
        let days: Vec<DayUse> =
            (0..).zip(&used).map(|(day, used)| day_use(day, *used)).collect();
        let last = *used.last().unwrap();
        let before = until_full(&days, last, total);
        let shifted: Vec<DayUse> =
            days.iter().map(|of| DayUse { day: of.day.plus(shift), ..*of }).collect();
        prop_assert_eq!(until_full(&shifted, last, total), before);
        let scaled: Vec<DayUse> =
            days.iter().map(|of| DayUse { max_used: of.max_used * scale, ..*of }).collect();
        prop_assert_eq!(until_full(&scaled, last * scale, total * scale), before);
    }

    #[test]
    fn one_unusual_day_hardly_moves_a_steady_growth(
        per_day in 1_u64..4 * GIB,
        at in 0_usize..27,
        unusual in 0_u64..200 * GIB,
    ) {
        let steady: Vec<DayUse> = (0..28_u64)
            .map(|day| day_use(day.cast_signed(), 20 * GIB + day * per_day))
            .collect();
        let mut changed = steady.clone();
        changed[at].max_used = unusual;
        let rates = |days: &[DayUse]| GrowthRates::of_days(days);
        let (before, after) = (rates(&steady), rates(&changed));
        for (before, after) in
            [(before.net, after.net), (before.without_cleanups, after.without_cleanups)]
        {
            prop_assert!((after - before).abs() * 5 < before.abs(), "{before} {after}");
        }
    }
}
