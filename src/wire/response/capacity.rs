//! The body of the use of a store by day, with the forecast.

use serde::Serialize;

use crate::catalog::{Language, forecast_phrase};
use crate::model::{
    CapacityDay, DayFigures, LimitOutlook, LimitOutlooks, SpaceForecast, StoreUuid, UseForecast,
    UseLimit, UsedRange, UtcDay,
};

/// The body of the use of a store by day, with the forecast.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityHistoryBody {
    /// The store.
    pub uuid: String,
    /// The other stores on the same filesystem, as a text.
    pub same_filesystem_as: Option<String>,
    /// The forecast. It is null before the first measurement, or if the days could not be read from
    /// the state disk.
    pub forecast: Option<ForecastBody>,
    /// The days, oldest first. They are null if they could not be read from the state disk.
    pub points: Option<Vec<CapacityPoint>>,
}

impl CapacityHistoryBody {
    /// Creates the body without days and forecast.
    pub fn new(store: StoreUuid, same_filesystem_as: Option<String>) -> Self {
        Self { uuid: store.to_string(), same_filesystem_as, forecast: None, points: None }
    }
}

/// The figures of one day of UTC.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityPoint {
    day: String,
    total_capacity: u64,
    available_capacity: u64,
    used_min: u64,
    used_max: u64,
    used_last: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes: Option<InodePoint>,
    covered_seconds: u32,
    series: u32,
}

/// The inodes of one day.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InodePoint {
    total: u64,
    available: u64,
    used_min: u64,
    used_max: u64,
    used_last: u64,
}

impl From<UsedRange> for InodePoint {
    fn from(used: UsedRange) -> Self {
        Self {
            total: used.total(),
            available: used.available(),
            used_min: used.min(),
            used_max: used.max(),
            used_last: used.last(),
        }
    }
}

impl From<&CapacityDay> for CapacityPoint {
    fn from(day: &CapacityDay) -> Self {
        let CapacityDay { series, figures } = day;
        let DayFigures { day, space, inodes, covered_seconds } = *figures;
        Self {
            day: day.to_string(),
            total_capacity: space.total(),
            available_capacity: space.available(),
            used_min: space.min(),
            used_max: space.max(),
            used_last: space.last(),
            inodes: inodes.map(Into::into),
            covered_seconds,
            series: *series,
        }
    }
}

/// The forecast of a store's space.
#[derive(Clone, Debug, Serialize)]
pub struct ForecastBody {
    sentence: String,
    bytes: UseForecastBody,
    inodes: Option<UseForecastBody>,
}

impl ForecastBody {
    /// Creates the body of a forecast that was made today, with its sentence in a language.
    pub fn new(forecast: &SpaceForecast, today: UtcDay, language: Language) -> Self {
        let of_use = |forecast: &UseForecast| UseForecastBody::new(forecast, today);
        Self {
            sentence: forecast_phrase(forecast, language),
            bytes: of_use(&forecast.bytes),
            inodes: forecast.inodes.as_ref().map(of_use),
        }
    }
}

/// The forecast of the bytes or of the inodes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UseForecastBody {
    used: u64,
    total: u64,
    known_days: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    near_full: Option<LimitBody>,
    full: LimitBody,
}

impl UseForecastBody {
    fn new(forecast: &UseForecast, today: UtcDay) -> Self {
        let UseForecast { used, total, near_full, full, known_days } = *forecast;
        let limit = |limit: UseLimit| LimitBody {
            used: limit.used,
            net: limit.outlooks.map(|LimitOutlooks { net, .. }| OutlookBody::new(net, today)),
            without_cleanups: limit.outlooks.map(|LimitOutlooks { without_cleanups, .. }| {
                OutlookBody::new(without_cleanups, today)
            }),
        };
        Self { used, total, known_days, near_full: near_full.map(limit), full: limit(full) }
    }
}

/// A limit, and the times until the use reaches it. They are null if there is too little history.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitBody {
    used: u64,
    net: Option<OutlookBody>,
    without_cleanups: Option<OutlookBody>,
}

/// The time until a limit, under one assumption.
#[derive(Clone, Debug, Serialize)]
struct OutlookBody {
    outlook: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
}

impl OutlookBody {
    fn new(outlook: LimitOutlook, today: UtcDay) -> Self {
        let (outlook, days) = match outlook {
            LimitOutlook::Reached => ("reached", None),
            LimitOutlook::Within { days } => ("within", Some(days)),
            LimitOutlook::NotWithinAYear => ("not_within_a_year", None),
            LimitOutlook::NotGrowing => ("not_growing", None),
        };
        Self { outlook, days, date: days.map(|days| today.plus(days.into()).to_string()) }
    }
}
