//! The rates at which the use of a store grows.

use crate::model::UtcDay;

/// Days of history that a rate is computed from. Older use tells little about the present.
pub(super) const WINDOW_DAYS: i64 = 28;
/// Days of the shortest window of the net rate. Together with the longer ones, the windows begin on
/// each day of a week, so that one of them begins and ends in the same phase of weekly clean-ups.
const MIN_WINDOW_DAYS: i64 = WINDOW_DAYS - 6;
/// Fraction bits of a rate, so that small resources such as inodes have exact rates too.
pub(super) const RATE_FRACTION_BITS: u32 = 20;
/// Growth of this share of the total within [`WINDOW_DAYS`] is not reported as growth: 1/200, which
/// is 0.5 %.
const MIN_GROWTH_DIVISOR: i128 = 200;

/// The use of a store on one day, in bytes or inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayUse {
    /// The day.
    pub day: UtcDay,
    /// The highest use on this day.
    pub max_used: u64,
}

/// The growth of a day, in units of 2^-20 bytes or inodes. It is negative if the use shrinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrowthRates {
    /// The growth with clean-ups that are regular: the median of the slopes between all pairs of
    /// days (Theil-Sen estimator), for the window of 22 to 28 days in which it is least. If a
    /// window begins after a clean-up and ends before the next one, it contains one clean-up too
    /// few.
    pub net: i128,
    /// The median of the changes from one day to the next. It contains no clean-up if fewer than
    /// half of the days have one.
    pub without_cleanups: i128,
}

impl GrowthRates {
    /// Computes the rates of the last 28 days. `days` is sorted, with at most one entry a day.
    pub fn of_days(days: &[DayUse]) -> Self {
        let days = last_days(days, WINDOW_DAYS);
        let consecutive = days.windows(2).filter_map(|pair| match pair {
            // A change over a gap is not that of one day.
            [before, after] if after.day == before.day.plus(1) => Some(slope(before, after)),
            _ => None,
        });
        let windows = MIN_WINDOW_DAYS..=WINDOW_DAYS;
        let net = windows.map(|window| median_slope(last_days(days, window))).min();
        Self { net: net.unwrap_or_default(), without_cleanups: median(consecutive.collect()) }
    }

    /// Returns the rates that are reported: slow growth, less than 0.5 % of `total` in 28 days, is
    /// 0.
    pub(super) fn without_slow_growth(self, total: u64) -> Self {
        let least = (i128::from(total) << RATE_FRACTION_BITS) / MIN_GROWTH_DIVISOR;
        let reported = |rate: i128| {
            let in_window = rate.saturating_mul(i128::from(WINDOW_DAYS));
            if in_window >= least.max(1) { rate } else { 0 }
        };
        Self { net: reported(self.net), without_cleanups: reported(self.without_cleanups) }
    }
}

/// Returns those of the days that are in a window of days that ends with the last one.
fn last_days(days: &[DayUse], window: i64) -> &[DayUse] {
    let Some(last) = days.last() else { return days };
    let first = last.day.plus(1_i64.saturating_sub(window));
    let older = days.partition_point(|of| of.day < first);
    days.get(older..).unwrap_or_default()
}

/// Returns the median of the slopes between all pairs of days.
fn median_slope(days: &[DayUse]) -> i128 {
    let pairs = days.iter().enumerate().flat_map(|(at, before)| {
        days.iter().skip(at.saturating_add(1)).map(move |after| slope(before, after))
    });
    median(pairs.collect())
}

/// Returns the change of a day between two days.
fn slope(before: &DayUse, after: &DayUse) -> i128 {
    let change = i128::from(after.max_used).saturating_sub(i128::from(before.max_used));
    let days = i128::from(after.day.0).saturating_sub(i128::from(before.day.0)).max(1);
    (change << RATE_FRACTION_BITS) / days
}

/// Returns the median, the mean of the middle two if their number is even, or 0 of no values.
fn median(mut values: Vec<i128>) -> i128 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0;
    }
    let is_even = values.len().is_multiple_of(2);
    let (lower, upper, _) = values.select_nth_unstable(middle);
    match lower.iter().max().filter(|_| is_even) {
        Some(lower) => lower.midpoint(*upper),
        None => *upper,
    }
}
