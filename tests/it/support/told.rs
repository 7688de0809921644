//! What a management node makes of its deliveries: each at least once, in order, none missing, and
//! never two tales of one position.

use std::collections::BTreeMap;

use super::management_node::Received;

/// What the management node was told so far.
#[derive(Default)]
pub(crate) struct Told {
    bodies: BTreeMap<String, Vec<u8>>,
    /// Of each store, what it heard for the first time, in the order of coming.
    stores: BTreeMap<String, Vec<(u64, u64, String)>>,
}

impl Told {
    /// Takes one delivery: the same as before, or the next transition of its store.
    pub(crate) fn take(&mut self, received: &Received) {
        let known = self.bodies.insert(received.id().to_owned(), received.body.clone());
        if let Some(known) = known {
            assert_eq!(known, received.body, "one position, two tales: {}", received.id());
            return;
        }
        let data = &received.json["data"];
        let word = |key: &str| data[key].as_str().unwrap().to_owned();
        let position = (data["epoch"].as_u64().unwrap(), received.seq());
        let heard = self.stores.entry(received.store().to_owned()).or_default();
        if let Some((epoch, seq, status)) = heard.last() {
            assert!(position > (*epoch, *seq), "out of order: {}", received.id());
            assert_eq!(*status, word("oldStatus"), "something is missing before {}", received.id());
        }
        heard.push((position.0, position.1, word("newStatus")));
    }

    /// The status that was told last of a store.
    pub(crate) fn last(&self, store: &str) -> Option<&str> {
        self.stores.get(store)?.last().map(|(.., status)| status.as_str())
    }
}
