//! The stores that share a space: a filesystem, or the folder of it that has a quota.
//!
//! # Guarantees
//! - A report of one store does not depend on the number of stores. [`SpaceIndex`] is kept while
//!   stores are added, removed and moved.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

use super::StoreSnapshot;
use crate::common::lock_unpoisoned;
use crate::model::{MountLocation, StoreUuid};

/// Maximum number of other stores that `shared_filesystem` names. An operator recognizes the
/// filesystem by a few of them, and a thousand stores on one disk would name a million uuids.
const MAX_NAMED_STORES: usize = 5;

/// The other stores that share the space of a store: some of them, and the number of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpaceSharers {
    named: Vec<StoreUuid>,
    unnamed: usize,
}

impl SpaceSharers {
    /// Returns those of the stores of a space that are not `own`. The time does not depend on their
    /// number.
    fn besides(own: StoreUuid, stores: &BTreeSet<StoreUuid>) -> Self {
        let count = stores.len() - usize::from(stores.contains(&own));
        let others = stores.iter().filter(|uuid| **uuid != own);
        let named: Vec<StoreUuid> = others.take(MAX_NAMED_STORES).copied().collect();
        let unnamed = count.saturating_sub(named.len());
        Self { named, unnamed }
    }

    /// Returns true if the store has its space to itself.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl fmt::Display for SpaceSharers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self.named.iter().map(StoreUuid::to_string).collect();
        f.write_str(&named.join(", "))?;
        match self.unnamed {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The stores of each space, by device and folder with a quota.
type StoresBySpace = BTreeMap<(String, Option<String>), BTreeSet<StoreUuid>>;

/// The stores of each space now, for a report of one store.
#[derive(Debug, Default)]
pub struct SpaceIndex(Mutex<StoresBySpace>);

impl SpaceIndex {
    /// Adds a store.
    pub fn insert(&self, store: StoreUuid, mount: &MountLocation) {
        lock_unpoisoned(&self.0).entry(key_of(mount)).or_default().insert(store);
    }

    /// Removes a store that has this mount.
    pub(super) fn remove(&self, store: StoreUuid, mount: &MountLocation) {
        let (mut spaces, key) = (lock_unpoisoned(&self.0), key_of(mount));
        if let Some(stores) = spaces.get_mut(&key) {
            stores.remove(&store);
            if stores.is_empty() {
                spaces.remove(&key);
            }
        }
    }

    /// Moves a store, if its space has changed.
    pub(super) fn move_store(&self, store: StoreUuid, old: &MountLocation, new: &MountLocation) {
        if old.space() != new.space() {
            self.remove(store, old);
            self.insert(store, new);
        }
    }

    /// Returns the other stores that share the space of a store.
    pub fn sharers_of(&self, snapshot: &StoreSnapshot) -> SpaceSharers {
        let (spaces, own) = (lock_unpoisoned(&self.0), snapshot.store.uuid);
        let stores = spaces.get(&key_of(&snapshot.store.mount));
        stores.map(|stores| SpaceSharers::besides(own, stores)).unwrap_or_default()
    }
}

fn key_of(mount: &MountLocation) -> (String, Option<String>) {
    (mount.device.clone(), mount.quota_folder.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(device: u8, quota: bool) -> MountLocation {
        MountLocation {
            mount_point: "/srv".to_owned(),
            fs_type: "xfs".to_owned(),
            device: format!("8:{device}"),
            on_root_disk: false,
            part: None,
            quota_folder: quota.then(|| "/a".to_owned()),
        }
    }

    #[test]
    fn a_few_sharers_are_named_and_the_others_are_counted() {
        let uuid = StoreUuid::from_u128;
        let stores: BTreeSet<StoreUuid> = (1..=8).map(uuid).collect();
        let text = SpaceSharers::besides(uuid(2), &stores).to_string();
        let named = [1, 3, 4, 5, 6].map(|n| uuid(n).to_string()).join(", ");
        assert_eq!(text, format!("{named} and 2 more"));
        let pair = BTreeSet::from([uuid(1), uuid(2)]);
        assert_eq!(SpaceSharers::besides(uuid(2), &pair).to_string(), uuid(1).to_string());
        assert!(SpaceSharers::besides(uuid(1), &BTreeSet::from([uuid(1)])).is_empty());
    }

    proptest! {
        /// After any sequence of changes, the index has exactly the stores that there are.
        #[test]
        fn the_index_follows_every_change(
            changes in proptest::collection::vec((0_u8..6, 0_u8..3, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let index = SpaceIndex::default();
            let mut stores: BTreeMap<u8, MountLocation> = BTreeMap::new();
            for (store, device, quota, removes) in changes {
                let uuid = StoreUuid::from_u128(store.into());
                let new = mount(device, quota);
                match (stores.remove(&store), removes) {
                    (Some(old), true) => index.remove(uuid, &old),
                    (Some(old), false) => {
                        index.move_store(uuid, &old, &new);
                        stores.insert(store, new);
                    }
                    (None, _) => {
                        index.insert(uuid, &new);
                        stores.insert(store, new);
                    }
                }
            }
            let mut expected = StoresBySpace::new();
            for (store, mount) in &stores {
                let uuid = StoreUuid::from_u128((*store).into());
                expected.entry(key_of(mount)).or_default().insert(uuid);
            }
            prop_assert_eq!(&*lock_unpoisoned(&index.0), &expected);
        }
    }
}
