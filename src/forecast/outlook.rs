//! The times until the use of a store reaches its limits.

use super::growth::{DayUse, GrowthRates, RATE_FRACTION_BITS};
use crate::model::{LimitOutlook, LimitOutlooks, UseForecast, UseLimit};

/// Days of history without which there is no forecast.
const MIN_DAYS: u32 = 3;
/// Longest time until a limit that is reported, in days.
const MAX_DAYS: u32 = 365;

/// The limits of the use of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceLimits {
    near_full: Option<u64>,
    full: u64,
}

impl SpaceLimits {
    /// Returns the limits of the bytes: the shares of the total from which a store is near full and
    /// full, and the available bytes below which it is full.
    pub fn of_bytes(total: u64, near_full: f64, full: f64, reserved: u64) -> Self {
        let full = share_of(total, full).min(total.saturating_sub(reserved));
        Self { near_full: Some(share_of(total, near_full).min(full)), full }
    }

    /// Returns the limit of the inodes, which are full if none is left.
    pub fn of_inodes(total: u64) -> Self {
        Self { near_full: None, full: total }
    }
}

/// Returns a share of a total, rounded to millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is between 0 and 1"
)]
fn share_of(total: u64, share: f64) -> u64 {
    const WHOLE: u128 = 1_000_000;
    let millionths = (share.clamp(0.0, 1.0) * 1e6).round() as u128;
    let part = u128::from(total).saturating_mul(millionths) / WHOLE;
    u64::try_from(part).unwrap_or(total)
}

/// The growth of the use of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UseGrowth {
    /// The number of days that the rates are computed from.
    known_days: u32,
    rates: GrowthRates,
}

impl UseGrowth {
    /// Computes the growth of the last 28 days. `days` is sorted, with at most one entry a day; it
    /// has no day of other space, and none of which most is not known.
    pub fn of_days(days: &[DayUse]) -> Self {
        Self {
            known_days: u32::try_from(days.len()).unwrap_or(u32::MAX),
            rates: GrowthRates::of_days(days),
        }
    }

    /// Returns the forecast from a use.
    pub fn forecast(&self, used: u64, total: u64, limits: SpaceLimits) -> UseForecast {
        let rates = self.rates.without_slow_growth(total);
        let limit = |limit| UseLimit {
            used: limit,
            outlooks: (self.known_days >= MIN_DAYS).then(|| LimitOutlooks {
                net: outlook(used, limit, rates.net),
                without_cleanups: outlook(used, limit, rates.without_cleanups),
            }),
        };
        UseForecast {
            used,
            total,
            near_full: limits.near_full.map(limit),
            full: limit(limits.full),
            known_days: self.known_days,
        }
    }
}

fn outlook(used: u64, limit: u64, rate: i128) -> LimitOutlook {
    let Some(left) = limit.checked_sub(used).filter(|left| *left > 0) else {
        return LimitOutlook::Reached;
    };
    if rate <= 0 {
        return LimitOutlook::NotGrowing;
    }
    let left = i128::from(left) << RATE_FRACTION_BITS;
    let days = left.saturating_add(rate.saturating_sub(1)) / rate;
    match u32::try_from(days) {
        Ok(days) if days <= MAX_DAYS => LimitOutlook::Within { days: days.max(1) },
        _ => LimitOutlook::NotWithinAYear,
    }
}
