//! Checks the deliveries to a management node.
//!
//! # Guarantees
//! * Each transition is delivered at least once and in order, and none is missing.
//! * Two deliveries of one position have the same body.
//! * No notice stands for more than one transition (no folding).

use std::collections::BTreeMap;

use super::management_node::Received;

/// The deliveries so far.
#[derive(Default)]
pub(crate) struct EventOrder {
    bodies: BTreeMap<String, Vec<u8>>,
    /// For each store its transitions by position, in the order of their first delivery.
    stores: BTreeMap<String, Vec<(u64, u64, String)>>,
    /// Number of repeated deliveries.
    pub(crate) duplicates: usize,
}

impl EventOrder {
    /// Records one delivery. Panics unless it repeats an earlier one or is the next transition of
    /// its store.
    pub(crate) fn record(&mut self, received: &Received) {
        let earlier = self.bodies.insert(received.id().to_owned(), received.body.clone());
        if let Some(earlier) = earlier {
            assert_eq!(earlier, received.body, "one position has two bodies: {}", received.id());
            self.duplicates += 1;
            return;
        }
        let data = &received.json["data"];
        let word = |key: &str| data[key].as_str().unwrap().to_owned();
        let position = (data["epoch"].as_u64().unwrap(), received.seq());
        let transitions = self.stores.entry(received.store().to_owned()).or_default();
        if let Some((epoch, seq, status)) = transitions.last() {
            let next = position == (*epoch, seq + 1) || (position.0 > *epoch && position.1 == 1);
            assert!(next, "out of order after {epoch}.{seq}: {}", received.id());
            assert_eq!(*status, word("oldStatus"), "something is missing before {}", received.id());
        }
        transitions.push((position.0, position.1, word("newStatus")));
    }

    /// Returns the number of delivered transitions of a store.
    pub(crate) fn transition_count(&self, store: &str) -> u32 {
        self.stores.get(store).map_or(0, |events| events.len().try_into().unwrap())
    }

    /// Returns the position of the newest delivery of a store.
    pub(crate) fn last_position(&self, store: &str) -> Option<(u64, u64)> {
        self.stores.get(store)?.last().map(|(epoch, seq, _)| (*epoch, *seq))
    }

    /// Returns the status in the newest delivery of a store.
    pub(crate) fn last_status(&self, store: &str) -> Option<&str> {
        self.stores.get(store)?.last().map(|(.., status)| status.as_str())
    }
}
