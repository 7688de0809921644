//! A count that only grows, and a group of such counts with labels.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::lock_unpoisoned;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One count for each label.
///
/// A label is never forgotten, so there must be a bound on the labels: words of an enum, and never
/// a text of a peer.
#[derive(Debug)]
pub struct CounterFamily<L>(Mutex<BTreeMap<L, u64>>);

impl<L> Default for CounterFamily<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Ord + Clone> CounterFamily<L> {
    /// Creates a family in which these labels begin with 0. A reader that computes the growth of a
    /// count, as Prometheus does, misses the first event of every other label.
    pub fn starting_with(labels: impl IntoIterator<Item = L>) -> Self {
        Self(Mutex::new(labels.into_iter().map(|label| (label, 0)).collect()))
    }

    /// Adds one to the count of a label.
    pub fn increment(&self, label: L) {
        let mut counts = lock_unpoisoned(&self.0);
        let count = counts.entry(label).or_default();
        *count = count.wrapping_add(1);
    }

    /// Returns the labels that began with 0 or occurred, in their order, and their counts.
    pub fn values(&self) -> Vec<(L, u64)> {
        lock_unpoisoned(&self.0).iter().map(|(label, count)| (label.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_up_what_all_threads_add() {
        let (counter, family) = (Counter::default(), CounterFamily::default());
        assert_eq!((counter.value(), family.values()), (0, vec![]));
        std::thread::scope(|scope| {
            for label in [1, 2, 2] {
                let (counter, family) = (&counter, &family);
                scope.spawn(move || {
                    for _ in 0..1000 {
                        counter.increment();
                        counter.add(2);
                        family.increment(label);
                    }
                });
            }
        });
        assert_eq!(counter.value(), 9000);
        assert_eq!(family.values(), [(1, 1000), (2, 2000)]);
    }

    #[test]
    fn known_labels_begin_with_zero() {
        let family = CounterFamily::starting_with(["b", "a"]);
        family.increment("b");
        family.increment("c");
        assert_eq!(family.values(), [("a", 0), ("b", 1), ("c", 1)]);
    }
}
