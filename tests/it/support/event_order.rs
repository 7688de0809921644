//! What a management node makes of its deliveries: each at least once, in order, none missing, and
//! never two tales of one position. Nothing folds.

use std::collections::BTreeMap;

use super::management_node::Received;

/// What the management node was told so far.
#[derive(Default)]
pub(crate) struct Told {
    bodies: BTreeMap<String, Vec<u8>>,
    /// Of each store, what it heard for the first time, in the order of coming.
    stores: BTreeMap<String, Vec<(u64, u64, String)>>,
    /// How many came again.
    pub(crate) doubles: usize,
}

impl Told {
    /// Takes one delivery: the same as before, or the next transition of its store.
    pub(crate) fn take(&mut self, received: &Received) {
        let known = self.bodies.insert(received.id().to_owned(), received.body.clone());
        if let Some(known) = known {
            assert_eq!(known, received.body, "one position, two tales: {}", received.id());
            self.doubles += 1;
            return;
        }
        let data = &received.json["data"];
        let word = |key: &str| data[key].as_str().unwrap().to_owned();
        let position = (data["epoch"].as_u64().unwrap(), received.seq());
        let heard = self.stores.entry(received.store().to_owned()).or_default();
        if let Some((epoch, seq, status)) = heard.last() {
            let next = position == (*epoch, seq + 1) || (position.0 > *epoch && position.1 == 1);
            assert!(next, "out of order after {epoch}.{seq}: {}", received.id());
            assert_eq!(*status, word("oldStatus"), "something is missing before {}", received.id());
        }
        heard.push((position.0, position.1, word("newStatus")));
    }

    /// How many transitions of a store were told.
    pub(crate) fn count(&self, store: &str) -> u32 {
        self.stores.get(store).map_or(0, |told| told.len().try_into().unwrap())
    }

    /// The place of what was told last of a store.
    pub(crate) fn place(&self, store: &str) -> Option<(u64, u64)> {
        self.stores.get(store)?.last().map(|(epoch, seq, _)| (*epoch, *seq))
    }

    /// The status that was told last of a store.
    pub(crate) fn last(&self, store: &str) -> Option<&str> {
        self.stores.get(store)?.last().map(|(.., status)| status.as_str())
    }
}
