//! What goes into a probe and what comes out of it.

use std::time::Duration;

use crate::common::Timestamp;
use crate::model::{
    Capacity, Fault, InodeCounts, MarkerId, MountLocation, NodeId, StoreUuid, WriteOutcome,
};

/// What holds for every probe of a daemon.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// Absolute paths an image directory must lie at or below, compared as text with the target of the
    /// opened directory.
    pub allowed_roots: Vec<String>,
    /// Whether it may lie on the root filesystem.
    pub allow_root_disk: bool,
    /// This node.
    pub node_id: NodeId,
}

/// What a probe has found. The two answers stand apart: a disk that cannot be written still has its
/// figures.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// Identity and figures.
    pub examined: Result<DirectoryInspection, Fault>,
    /// The write probe; none when none was asked for, or the examination failed before it.
    pub written: Option<Result<WriteOutcome, Fault>>,
    /// From the spawn of the worker to the last report.
    pub took: Duration,
}

impl ProbeResult {
    /// What was seen, when nothing failed.
    ///
    /// # Errors
    /// The first fault: of the examination, else of the write.
    pub fn into_inspection(self) -> Result<DirectoryInspection, Fault> {
        match self.written {
            Some(Err(fault)) => self.examined.and(Err(fault)),
            _ => self.examined,
        }
    }
}

/// What a good examination has seen.
#[derive(Clone, Debug)]
pub struct DirectoryInspection {
    /// Space.
    pub capacity: Capacity,
    /// Inodes, where the filesystem counts them.
    pub inodes: Option<InodeCounts>,
    /// Where the directory lies.
    pub place: MountLocation,
    /// The marker that is there.
    pub marker: Option<MarkerId>,
    /// Its text, for a claim.
    pub before: PreviousMarker,
    /// Whether `registry/` or `export/` is there.
    pub has_registry: bool,
    /// Whether this probe made the marker's folder.
    pub created_folder: bool,
}

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryOwner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What a marker said when the directory was examined, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousMarker(pub(super) Option<String>);

/// A store to be.
#[derive(Clone, Debug)]
pub struct MarkerClaim {
    /// Whose directory it becomes.
    pub store: StoreUuid,
    /// The marker that was there, or a new one.
    pub marker: MarkerId,
    /// When.
    pub created: Timestamp,
    /// Where the directory lay when it was examined: a disk that was unmounted since must not leave a
    /// marker on the directory below it.
    pub place: MountLocation,
    /// What its marker said then: one that was written since is somebody else's.
    pub before: PreviousMarker,
}

/// What an add that failed may have left in the directory.
#[derive(Clone, Debug, Default)]
pub struct AddLeftovers {
    /// Whether it may have made the marker's folder.
    pub folder: bool,
    /// What it may have written into the marker, when it came to that.
    pub claim: Option<MarkerClaim>,
}
