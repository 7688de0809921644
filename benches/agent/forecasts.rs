//! Compares the growth of a store, computed from 400 days, with a sort of as many values.

use std::hint::black_box;
use std::time::Instant;

use imagestore_agent::forecast::StoreGrowth;
use imagestore_agent::model::{CapacityDay, DAY_SECONDS, DayFigures, UsedRange, UtcDay};

use crate::figures;

const DAYS: u64 = 400;
const ROUNDS: usize = 1001;
const TOTAL: u64 = 1 << 44;

pub(crate) fn growth_beside_a_sort() {
    // A multiplicative hash gives values without an order.
    let used: Vec<u64> =
        (1..=DAYS).map(|day| day.wrapping_mul(0x9e37_79b9_7f4a_7c15) % TOTAL).collect();
    let days: Vec<CapacityDay> =
        (1..).zip(&used).map(|(day, used)| known_day(day, *used)).collect();
    let (mut of_growth, mut of_sort) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        black_box(StoreGrowth::of_days(black_box(&days), UtcDay(DAYS.cast_signed())));
        of_growth.push(begun.elapsed());
        let mut values = black_box(&used).clone();
        let begun = Instant::now();
        values.sort_unstable();
        of_sort.push(begun.elapsed());
        black_box(values);
    }
    let what = "growth from 400 days, as of today and of yesterday, beside a sort of 400 numbers";
    figures::compare(what, of_growth, of_sort, "goal: at most 1 ms");
}

fn known_day(day: i64, used: u64) -> CapacityDay {
    let space = UsedRange::new(TOTAL, used, used, used).unwrap();
    let figures =
        DayFigures { day: UtcDay(day), space, inodes: Some(space), covered_seconds: DAY_SECONDS };
    CapacityDay { series: 1, figures }
}
