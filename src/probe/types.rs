//! Options, expectations and results of a probe, and the claim of a directory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::common::Timestamp;
use crate::model::{
    Capacity, Fault, InodeCounts, MarkerId, MountLocation, NodeId, StoreUuid, WriteOutcome,
};

/// Options that apply to every probe of a daemon.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// Absolute paths of the allowed roots. The resolved target of the opened directory must be one
    /// of them or lie below one. The comparison is by path component.
    pub allowed_roots: Vec<String>,
    /// True if an image directory may lie on the root filesystem.
    pub allow_root_disk: bool,
    /// Identifier of this node.
    pub node_id: NodeId,
}

/// Expectation of the directory that a probe examines, by the purpose of the probe.
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
        /// The stores that this daemon serves.
        known: KnownStores,
        /// True if the directory of another node may be taken over by this node.
        take_over: bool,
    },
    /// The operator initializes the directory as root with the command `init`.
    Init,
}

/// The stores that the daemon serves, at the time of each question. A probe asks about one at most,
/// so that it needs no copy of all of them.
#[derive(Clone)]
pub struct KnownStores(Arc<dyn Fn(StoreUuid) -> bool + Send + Sync>);

impl KnownStores {
    /// Creates the set from a function that returns true for its stores.
    pub fn new(is_known: impl Fn(StoreUuid) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_known))
    }

    /// Returns true if the daemon serves the store.
    pub(super) fn contains(&self, store: StoreUuid) -> bool {
        (self.0)(store)
    }
}

impl fmt::Debug for KnownStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownStores")
    }
}

/// Result of a probe. The examination and the write are reported separately, because a disk that
/// cannot be written still has capacity figures.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// Identity and capacity figures of the directory.
    pub inspection: Result<DirectoryInspection, Fault>,
    /// Result of the write probe. `None` if no write was requested, or if the examination failed
    /// before it.
    pub write: Option<Result<WriteOutcome, Fault>>,
    /// Time from the spawn of the worker until its end.
    pub duration: Duration,
}

impl ProbeResult {
    /// Returns the inspection if nothing failed.
    ///
    /// # Errors
    /// The first fault: that of the examination, otherwise that of the write.
    pub fn into_inspection(self) -> Result<DirectoryInspection, Fault> {
        match self.write {
            Some(Err(fault)) => self.inspection.and(Err(fault)),
            _ => self.inspection,
        }
    }
}

/// Observations of a successful examination.
#[derive(Clone, Debug)]
pub struct DirectoryInspection {
    /// Total and available space.
    pub capacity: Capacity,
    /// Inode counts. `None` if the filesystem does not count inodes.
    pub inodes: Option<InodeCounts>,
    /// Mount that holds the directory.
    pub place: MountLocation,
    /// Identifier in the marker, if the directory has a marker.
    pub marker: Option<MarkerId>,
    /// Text of the marker, which a later claim is compared with.
    pub previous_marker: PreviousMarker,
    /// True if `registry/` or `export/` exists.
    pub has_registry: bool,
    /// True if this probe created the marker's folder. If the write failed, true means that the
    /// probe may have created it.
    pub created_folder: bool,
}

/// Numeric user and group that own a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryOwner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Text of the marker at the time of the examination, or `None` if there was no marker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreviousMarker(pub(super) Option<String>);

/// Claim of a directory for a new store.
#[derive(Clone, Debug)]
pub struct MarkerClaim {
    /// Store that the directory will belong to.
    pub store: StoreUuid,
    /// Identifier of the existing marker, or a new one.
    pub marker: MarkerId,
    /// Time that is written into the marker.
    pub created: Timestamp,
    /// Mount that held the directory when it was examined. If the disk was unmounted since then, no
    /// marker may be written to the directory below it.
    pub place: MountLocation,
    /// Marker text at the examination. A marker that was written since then belongs to another
    /// writer.
    pub previous_marker: PreviousMarker,
}

/// Changes that a failed add may have left in the directory.
#[derive(Clone, Debug, Default)]
pub struct AddLeftovers {
    /// True if the add may have created the marker's folder.
    pub folder: bool,
    /// Claim that the add may have written into the marker. `None` if the add did not get that far.
    pub claim: Option<MarkerClaim>,
}
