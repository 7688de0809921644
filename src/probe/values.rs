//! What goes into a probe and what comes out of it.

use std::time::Duration;

use crate::model::{Capacity, FsPlace, Inodes, MarkerId, NodeId, StoreUuid, Timestamp};

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
    /// Whether probes may write at all.
    pub write_probe: bool,
}

/// What a good probe has seen.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Space.
    pub capacity: Capacity,
    /// Inodes, where the filesystem counts them.
    pub inodes: Option<Inodes>,
    /// Where the directory lies.
    pub place: FsPlace,
    /// The marker that is there.
    pub marker: Option<MarkerId>,
    /// Its text, for a claim.
    pub before: Before,
    /// Whether `registry/` or `export/` is there.
    pub has_registry: bool,
    /// Whether this probe made the marker's folder.
    pub made_folder: bool,
    /// The write probe, where one was made.
    pub write: Option<WriteProbe>,
    /// From the spawn of the worker to the last report.
    pub elapsed: Duration,
}

/// What a write probe has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProbe {
    /// Create, 4 KiB, fdatasync and unlink took this long.
    Written(Duration),
    /// The disk, a quota or its inodes are full: a condition, not a fault.
    Full,
}

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What a marker said when the directory was examined, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before(pub(super) Option<String>);

/// A store to be.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose directory it becomes.
    pub store: StoreUuid,
    /// The marker that was there, or a new one.
    pub marker: MarkerId,
    /// When.
    pub created: Timestamp,
    /// Where the directory lay when it was examined: a disk that was unmounted since must not leave a
    /// marker on the directory below it.
    pub place: FsPlace,
    /// What its marker said then: one that was written since is somebody else's.
    pub before: Before,
}
