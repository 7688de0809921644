//! What a probe is for.

use std::collections::BTreeSet;

use crate::model::{MarkerId, MountLocation, StoreUuid};

/// What a probe is for, and what is expected of the directory therefore.
#[derive(Clone, Debug)]
pub enum ProbeExpectation {
    /// The directory of a store in the ledger.
    Serve {
        /// The store.
        store: StoreUuid,
        /// Its marker.
        marker: MarkerId,
        /// Where it was when last good.
        place: MountLocation,
        /// Whether it had `registry/` or `export/` then.
        had_registry: bool,
        /// Whether this probe writes.
        write: bool,
    },
    /// A directory that is to become a store's.
    Add {
        /// The store to be.
        store: StoreUuid,
        /// All stores in the ledger.
        known: BTreeSet<StoreUuid>,
        /// Whether another node's directory may be moved here.
        take_over: bool,
    },
    /// A directory that is being marked by hand, as root.
    Init,
}
