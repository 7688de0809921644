//! Durations, counted by their size.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{Timestamp, lock_unpoisoned};

/// Durations, counted in buckets. A bucket has the durations up to its bound, and the bound itself,
/// that no smaller bucket has.
///
/// An observation costs two additions and no lock, except one with an exemplar.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and the last one for longer durations.
    buckets: Vec<AtomicU64>,
    /// The sum of all durations in nanoseconds. It overflows after 584 years.
    sum: AtomicU64,
    /// The newest exemplar of each bucket that has one.
    exemplars: Mutex<BTreeMap<usize, HistogramExemplar>>,
}

/// One observation, with labels that say which one it was.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramExemplar {
    /// The names and values of the labels.
    pub labels: Vec<(&'static str, String)>,
    /// The duration in seconds.
    pub seconds: f64,
    /// The time of the observation.
    pub at: Timestamp,
}

/// The state of a histogram at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// The sum of all durations in seconds. It may differ from the buckets by observations that are
    /// made at the same time.
    pub sum_seconds: f64,
    /// The number of observations, which is always the sum of the buckets.
    pub count: u64,
    /// The upper bound of each bucket in seconds, in ascending order, and the number of its
    /// observations, without those of other buckets. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The newest exemplar of each bucket that has one, with the index of the bucket.
    pub exemplars: Vec<(usize, HistogramExemplar)>,
}

impl Histogram {
    /// Creates an empty histogram. The bounds are seconds in ascending order, without infinity.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self { bounds, buckets, sum: AtomicU64::default(), exemplars: Mutex::default() }
    }

    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        if let Some(bucket) = self.buckets.get(self.bucket_of(duration)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a duration, which becomes the exemplar of its bucket.
    pub fn observe_with(
        &self,
        duration: Duration,
        labels: Vec<(&'static str, String)>,
        at: Timestamp,
    ) {
        // Counted first, so that no snapshot has an exemplar of an empty bucket.
        self.observe(duration);
        let exemplar = HistogramExemplar { labels, seconds: duration.as_secs_f64(), at };
        lock_unpoisoned(&self.exemplars).insert(self.bucket_of(duration), exemplar);
    }

    /// Returns the present state.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let exemplars = lock_unpoisoned(&self.exemplars)
            .iter()
            .map(|(bucket, exemplar)| (*bucket, exemplar.clone()))
            .collect();
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds
            .zip(&self.buckets)
            .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
            .collect();
        HistogramSnapshot {
            sum_seconds: Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            exemplars,
        }
    }

    fn bucket_of(&self, duration: Duration) -> usize {
        // In nanoseconds, because the sum 2 + 0.3 may be above the bound 2.3 as a float.
        let is_below =
            |bound: &f64| Duration::try_from_secs_f64(*bound).is_ok_and(|b| b < duration);
        self.bounds.partition_point(is_below)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: &[f64] = &[0.001, 0.1, 2.3, 10.0];

    fn counts(histogram: &Histogram) -> Vec<u64> {
        histogram.snapshot().buckets.iter().map(|(_, count)| *count).collect()
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for (nanos, bucket) in [
            (0, 0),
            (1_000_000, 0),
            (1_000_001, 1),
            (100_000_000, 1),
            (100_000_001, 2),
            (2_300_000_000, 2),
            (2_300_000_001, 3),
            (10_000_000_000, 3),
            (10_000_000_001, 4),
            (u64::MAX, 4),
        ] {
            let histogram = Histogram::new(BOUNDS);
            histogram.observe(Duration::from_nanos(nanos));
            let mut expected = vec![0; 5];
            expected[bucket] = 1;
            assert_eq!(counts(&histogram), expected, "{nanos}");
        }
        let longest = Histogram::new(BOUNDS);
        longest.observe(Duration::MAX);
        assert_eq!(counts(&longest), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn every_bound_belongs_to_its_own_bucket() {
        // Thousandths of a second, as the bounds of the product are.
        for bound in 1..100_000_u32 {
            let duration = Duration::from_millis(bound.into());
            let bounds: &'static [f64] = Box::leak(Box::new([f64::from(bound) / 1000.0]));
            assert_eq!(Histogram::new(bounds).bucket_of(duration), 0, "{bound}");
            let longer = duration + Duration::from_nanos(1);
            assert_eq!(Histogram::new(bounds).bucket_of(longer), 1, "{bound}");
        }
    }

    #[test]
    fn an_empty_histogram_has_every_bucket() {
        let snapshot = Histogram::new(BOUNDS).snapshot();
        assert_eq!((snapshot.sum_seconds, snapshot.count, snapshot.exemplars), (0.0, 0, vec![]));
        let bounds: Vec<_> = snapshot.buckets.iter().map(|(bound, _)| *bound).collect();
        assert_eq!(bounds, [0.001, 0.1, 2.3, 10.0, f64::INFINITY]);
        assert_eq!(Histogram::new(&[]).snapshot().buckets, [(f64::INFINITY, 0)]);
    }

    #[test]
    fn a_bucket_has_its_newest_exemplar() {
        let histogram = Histogram::new(BOUNDS);
        let observe = |ms, store: &str, at| {
            let labels = vec![("store", store.to_owned())];
            histogram.observe_with(Duration::from_millis(ms), labels, Timestamp(at));
        };
        observe(50, "a", 1);
        observe(60, "b", 2);
        observe(20_000, "c", 3);
        histogram.observe(Duration::from_millis(70));
        let exemplar = |store: &str, seconds, at| HistogramExemplar {
            labels: vec![("store", store.to_owned())],
            seconds,
            at: Timestamp(at),
        };
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.exemplars, [(1, exemplar("b", 0.06, 2)), (4, exemplar("c", 20.0, 3))]);
        assert_eq!(counts(&histogram), [0, 3, 0, 0, 1]);
    }

    #[test]
    fn a_snapshot_during_observations_counts_what_its_buckets_have() {
        let histogram = Histogram::new(BOUNDS);
        std::thread::scope(|scope| {
            for ms in [1, 50, 20_000] {
                let histogram = &histogram;
                scope.spawn(move || {
                    for at in 0..2000 {
                        histogram.observe_with(Duration::from_millis(ms), vec![], Timestamp(at));
                    }
                });
            }
            loop {
                let snapshot = histogram.snapshot();
                let sum: u64 = snapshot.buckets.iter().map(|(_, count)| count).sum();
                assert_eq!(snapshot.count, sum);
                for (bucket, _) in &snapshot.exemplars {
                    assert_ne!(snapshot.buckets[*bucket].1, 0);
                }
                if snapshot.count == 6000 {
                    break;
                }
            }
        });
        assert_eq!(counts(&histogram), [2000, 2000, 0, 0, 2000]);
    }

    proptest! {
        #[test]
        fn each_duration_is_counted_once_and_within_its_bucket(
            nanos in prop::collection::vec(0..20_000_000_000_u64, 0..200),
        ) {
            let histogram = Histogram::new(BOUNDS);
            nanos.iter().for_each(|nanos| histogram.observe(Duration::from_nanos(*nanos)));
            let snapshot = histogram.snapshot();
            prop_assert_eq!(snapshot.count, nanos.len() as u64);
            let seconds: Vec<_> =
                nanos.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64()).collect();
            let sum: f64 = seconds.iter().sum();
            prop_assert!((snapshot.sum_seconds - sum).abs() < 1e-6);
            let mut at_most = 0;
            for (bound, count) in snapshot.buckets {
                at_most += count;
                let expected = seconds.iter().filter(|seconds| **seconds <= bound).count();
                prop_assert_eq!(at_most, expected as u64);
            }
        }
    }
}
