//! Purposes of a probe.

use std::collections::BTreeSet;

use crate::model::{MarkerId, MountLocation, StoreUuid};

/// Purpose of a probe, with the expectations of the directory that follow from it.
#[derive(Clone, Debug)]
pub enum ProbeExpectation {
    /// The directory belongs to a store in the ledger.
    Serve {
        /// Store that the directory belongs to.
        store: StoreUuid,
        /// Identifier of the store's marker.
        marker: MarkerId,
        /// Mount that held the directory at the last successful probe.
        place: MountLocation,
        /// True if the directory had `registry/` or `export/` at that time.
        had_registry: bool,
        /// True if this probe also writes.
        write: bool,
    },
    /// The directory will be added as a store.
    Add {
        /// Store that the directory will belong to.
        store: StoreUuid,
        /// All stores in the ledger.
        known: BTreeSet<StoreUuid>,
        /// True if the directory of another node may be taken over by this node.
        take_over: bool,
    },
    /// The operator initializes the directory as root with the command `init`.
    Init,
}
