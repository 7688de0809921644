//! The metrics of the stores, from their snapshots.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::encoder::MetricsEncoder;
use super::families as family;
use crate::agent::{DaemonConditions, StoreService, StoreSnapshot, active_conditions};
use crate::common::Timestamp;
use crate::model::{Condition, LimitOutlook, SpaceForecast, Status, UseForecast, UtcDay};

/// All stores at a scrape.
#[derive(Debug)]
pub(super) struct StoresSample {
    stores: Vec<StoreSample>,
    /// Number of workers that cannot be killed: those of stores, and those that removed stores and
    /// failed adds left.
    stuck_workers: usize,
}

/// One store at a scrape.
#[derive(Debug)]
struct StoreSample {
    /// The uuid: the label of every series.
    uuid: String,
    snapshot: Arc<StoreSnapshot>,
    conditions: BTreeSet<Condition>,
}

impl StoresSample {
    /// Takes a sample of every store.
    pub(super) fn read(service: &impl StoreService, daemon: &DaemonConditions) -> Self {
        let sample = |snapshot: Arc<StoreSnapshot>| {
            let active = active_conditions(&snapshot, &service.space_sharers(&snapshot), daemon);
            let conditions = active.into_iter().map(|active| active.condition).collect();
            StoreSample { uuid: snapshot.store.uuid.to_string(), snapshot, conditions }
        };
        let stores: Vec<_> = service.snapshots().into_iter().map(sample).collect();
        let of_stores = stores.iter().filter(|store| store.snapshot.stuck_worker.is_some()).count();
        Self { stores, stuck_workers: of_stores.saturating_add(service.left_workers()) }
    }

    /// Writes all families of the stores.
    pub(super) fn encode(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        encode_identity(encoder, &self.stores)?;
        encode_status(encoder, &self.stores)?;
        encode_times(encoder, &self.stores)?;
        encode_space(encoder, &self.stores)?;
        encode_forecast(encoder, &self.stores)?;
        encoder.write_gauge(&family::STUCK_WORKERS, Some(self.stuck_workers))
    }
}

fn encode_identity(encoder: &mut MetricsEncoder<'_>, all: &[StoreSample]) -> fmt::Result {
    let mut family = encoder.begin(&family::STORE)?;
    all.iter().try_for_each(|StoreSample { uuid, snapshot, .. }| {
        let store = &snapshot.store;
        family.info(&[
            ("store", uuid),
            ("name", &store.name),
            ("path", store.image_dir.as_str()),
            ("fstype", &store.mount.fs_type),
            ("device", &store.mount.device),
        ])
    })
}

fn encode_status(encoder: &mut MetricsEncoder<'_>, all: &[StoreSample]) -> fmt::Result {
    let mut family = encoder.begin(&family::STORE_STATUS)?;
    for StoreSample { uuid, snapshot, .. } in all {
        for (status, word) in STATUS_WORDS {
            let is_current = snapshot.durable.status == status;
            family.gauge(&[("store", uuid), ("status", word)], u32::from(is_current))?;
        }
    }
    let mut family = encoder.begin(&family::STORE_FAULT)?;
    for StoreSample { uuid, snapshot, .. } in all {
        if let Some(failure) = &snapshot.durable.failure {
            let reason = failure.root_fault().reason();
            family.gauge(&[("store", uuid), ("reason", reason.as_str())], 1_u32)?;
        }
    }
    let mut family = encoder.begin(&family::STORE_CONDITION)?;
    for StoreSample { uuid, conditions, .. } in all {
        for condition in Condition::ALL {
            let is_active = conditions.contains(condition);
            let labels = [("store", uuid.as_str()), ("condition", condition.as_str())];
            family.gauge(&labels, u32::from(is_active))?;
        }
    }
    Ok(())
}

/// The statuses, with the value of the label `status`.
pub(super) const STATUS_WORDS: [(Status, &str); 3] = [
    (Status::Connecting, "connecting"),
    (Status::Connected, "connected"),
    (Status::Disconnected, "disconnected"),
];

fn encode_times(encoder: &mut MetricsEncoder<'_>, all: &[StoreSample]) -> fmt::Result {
    let mut family = encoder.begin(&family::STORE_STATUS_CHANGED)?;
    for StoreSample { uuid, snapshot, .. } in all {
        family.gauge(&[("store", uuid)], unix_seconds(snapshot.durable.since))?;
    }
    let mut family = encoder.begin(&family::STORE_LAST_GOOD)?;
    for StoreSample { uuid, snapshot, .. } in all {
        for (check, state) in snapshot.checks.all() {
            if let Some(at) = state.last_good {
                let labels = [("store", uuid.as_str()), ("check", check.as_str())];
                family.gauge(&labels, unix_seconds(at))?;
            }
        }
    }
    Ok(())
}

fn encode_space(encoder: &mut MetricsEncoder<'_>, all: &[StoreSample]) -> fmt::Result {
    type Figure = fn(&StoreSnapshot) -> Option<u64>;
    let figures: [(_, Figure); 4] = [
        (&family::STORE_CAPACITY, |it| it.durable.capacity.map(|capacity| capacity.total())),
        (&family::STORE_AVAILABLE, |it| it.durable.capacity.map(|capacity| capacity.available())),
        (&family::STORE_INODES, |it| it.durable.inodes.map(|inodes| inodes.total)),
        (&family::STORE_INODES_AVAILABLE, |it| it.durable.inodes.map(|inodes| inodes.available)),
    ];
    for (family, figure) in figures {
        let mut family = encoder.begin(family)?;
        for StoreSample { uuid, snapshot, .. } in all {
            if let Some(figure) = figure(snapshot) {
                family.gauge(&[("store", uuid)], figure)?;
            }
        }
    }
    Ok(())
}

fn encode_forecast(encoder: &mut MetricsEncoder<'_>, all: &[StoreSample]) -> fmt::Result {
    type Use = fn(&SpaceForecast) -> Option<UseForecast>;
    let uses: [(_, Use); 2] = [
        (&family::STORE_FULL_FORECAST, |forecast| Some(forecast.bytes)),
        (&family::STORE_INODES_FULL_FORECAST, |forecast| forecast.inodes),
    ];
    for (family, use_of) in uses {
        let mut family = encoder.begin(family)?;
        for StoreSample { uuid, snapshot, .. } in all {
            let Some(forecast) = &snapshot.forecast else { continue };
            for (limit, basis, at) in limit_times(forecast.as_of, use_of(forecast)) {
                let labels = [("store", uuid.as_str()), ("limit", limit), ("basis", basis)];
                family.gauge(&labels, unix_seconds(at))?;
            }
        }
    }
    Ok(())
}

/// Returns the times at which the use reaches its limits: the limit, the assumption and the time.
/// One that is not expected within a year is missing.
fn limit_times(
    as_of: UtcDay,
    forecast: Option<UseForecast>,
) -> impl Iterator<Item = (&'static str, &'static str, Timestamp)> {
    let limits = forecast.into_iter().flat_map(|UseForecast { near_full, full, .. }| {
        [("near_full", near_full), ("full", Some(full))]
    });
    let outlooks = limits.filter_map(|(limit, it)| Some((limit, it?.outlooks?)));
    let by_basis = outlooks.flat_map(|(limit, outlooks)| {
        [(limit, "net", outlooks.net), (limit, "without_cleanups", outlooks.without_cleanups)]
    });
    by_basis.filter_map(move |(limit, basis, outlook)| {
        Some((limit, basis, time_of_limit(as_of, outlook)?))
    })
}

/// Returns the time of a limit. It begins with the day of the forecast, so that it stays the same
/// during the day, and also from one day to the next if the use grows as expected.
fn time_of_limit(as_of: UtcDay, outlook: LimitOutlook) -> Option<Timestamp> {
    let days = match outlook {
        LimitOutlook::Reached => 0,
        LimitOutlook::Within { days } => days,
        LimitOutlook::NotWithinAYear | LimitOutlook::NotGrowing => return None,
    };
    Some(as_of.plus(i64::from(days)).start())
}

/// Returns a time as Prometheus has it: in seconds since 1970.
pub(super) fn unix_seconds(at: Timestamp) -> f64 {
    Duration::from_millis(at.unix_ms()).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LimitOutlooks, UseForecast, UseLimit};

    #[test]
    fn a_limit_is_reached_the_days_after_the_day_of_the_forecast() {
        let day = UtcDay(20_000);
        for (outlook, expected) in [
            (LimitOutlook::Reached, Some(day)),
            (LimitOutlook::Within { days: 1 }, Some(UtcDay(20_001))),
            (LimitOutlook::Within { days: 365 }, Some(UtcDay(20_365))),
            (LimitOutlook::NotWithinAYear, None),
            (LimitOutlook::NotGrowing, None),
        ] {
            assert_eq!(time_of_limit(day, outlook), expected.map(UtcDay::start), "{outlook:?}");
        }
    }

    #[test]
    fn a_limit_that_is_not_known_has_no_time() {
        let limit = |outlooks| UseLimit { used: 90, outlooks };
        let within = |days| LimitOutlook::Within { days };
        let outlooks = LimitOutlooks { net: within(9), without_cleanups: LimitOutlook::NotGrowing };
        let forecast = |near_full, full| {
            Some(UseForecast { used: 50, total: 100, near_full, full, known_days: 28 })
        };
        let times = |forecast| limit_times(UtcDay(20_000), forecast).collect::<Vec<_>>();
        let at = UtcDay(20_009).start();
        assert_eq!(times(None), []);
        assert_eq!(times(forecast(None, limit(None))), []);
        assert_eq!(times(forecast(None, limit(Some(outlooks)))), [("full", "net", at)]);
        let both = forecast(Some(limit(Some(outlooks))), limit(Some(outlooks)));
        assert_eq!(times(both), [("near_full", "net", at), ("full", "net", at)]);
    }
}
