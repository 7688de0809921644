//! What daemon and worker say to each other: one JSON object a line. Both ends are the same program,
//! so that the shapes need no versions.

use serde::{Deserialize, Serialize};

use crate::common::string_enum;
use crate::model::MountLocation;
use crate::probe::mountinfo;
use crate::probe::mountinfo::MountEntry;

/// What the worker is told. `Open` comes first; the others use the handle it opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerRequest {
    /// Open the directory, refuse what lies outside the roots, and look around.
    Open { dir: String, roots: Vec<String> },
    /// Create, write, sync and unlink the probe file; make the folder first where allowed.
    Write { probe: String, make_folder: bool },
    /// Put this text into the marker, by way of the probe file, where that has still the text that was
    /// seen in it, or is still not there.
    Mark { probe: String, text: String, over: Option<String> },
    /// Take away what an add that failed has left: the probe file; the marker with this text, in whose
    /// place the one before it is put again; and the folder, if it was made and nothing else is in it.
    Release { probe: String, marker: Option<ReplacedMarker>, folder: bool },
    /// Make folders of the image directory where they are absent, and give them to this owner.
    Prepare { folders: Vec<String>, owner: Option<(u32, u32)> },
}

/// A marker that was written and is to be taken back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplacedMarker {
    pub(crate) ours: String,
    pub(crate) before: Option<String>,
}

/// What the worker answers: any number of `At`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerResponse {
    /// It is about to do this: the evidence when nothing more is heard.
    At(WorkerOperation),
    /// The answer to `Open`.
    Observed(Box<DirectoryObservation>),
    /// The answer to `Write`: how long it took.
    Written { micros: u64, made_folder: bool },
    /// The other answer to `Mark`: somebody else has put this there.
    Changed(MarkerState),
    /// The answer to the other orders.
    Done,
    /// The order was not carried out.
    Failed(WorkerError),
}

string_enum! {
    /// What may hang or fail. The text is the word in the evidence: the system call where there is one.
    #[derive(Serialize, Deserialize)]
    pub(crate) WorkerOperation {
        Start = "start",
        Open = "open",
        Resolve = "readlink",
        Statfs = "fstatvfs",
        Marker = "read the marker",
        Contents = "look for registry",
        Folder = "mkdir",
        Create = "create",
        Write = "write",
        Sync = "fdatasync",
        Link = "link",
        Rename = "rename",
        Unlink = "unlink",
        Chown = "chown",
    }
}

/// What was seen through the handle.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DirectoryObservation {
    /// Where the handle leads, by `/proc/self/fd`.
    pub(super) target: String,
    pub(crate) mount: MountState,
    pub(crate) statfs: FilesystemStats,
    /// Whether the marker's folder is there.
    pub(crate) folder: bool,
    pub(crate) marker: MarkerState,
    /// Whether `registry` or `export` is there.
    pub(crate) registry: bool,
}

/// The mount that holds the directory; from `/proc/self/mountinfo`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountState {
    pub(crate) mount_point: String,
    pub(crate) fs_type: String,
    pub(crate) device: String,
    pub(crate) on_root_disk: bool,
    /// True if the superblock options say that the filesystem is read-only.
    pub(crate) superblock_read_only: bool,
}

impl MountState {
    /// One of all mounts.
    pub(crate) fn from_mount(mount: &MountEntry, all: &[MountEntry]) -> Self {
        let root_device = mountinfo::root_device(all).map(|root| root.device.as_str());
        Self {
            mount_point: mount.mount_point.clone(),
            fs_type: mount.fs_type.clone(),
            device: mount.device.clone(),
            on_root_disk: root_device == Some(mount.device.as_str()),
            superblock_read_only: mount.superblock_is_read_only(),
        }
    }

    /// What is kept of it.
    pub(crate) fn to_location(&self) -> MountLocation {
        MountLocation {
            mount_point: self.mount_point.clone(),
            fs_type: self.fs_type.clone(),
            device: self.device.clone(),
            on_root_disk: self.on_root_disk,
        }
    }
}

/// The raw figures of one `fstatvfs(3)`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct FilesystemStats {
    pub(crate) fragment_size: u64,
    pub(crate) blocks: u64,
    pub(crate) blocks_available: u64,
    pub(crate) files: u64,
    pub(crate) files_available: u64,
}

/// What lies at the marker's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MarkerState {
    Nothing,
    Text(String),
    /// Something that is no marker: why.
    Unreadable(String),
}

impl MarkerState {
    /// Whether the marker has this text, or is not there as none has it.
    pub(crate) fn is_marker(&self, text: Option<&str>) -> bool {
        match self {
            Self::Nothing => text.is_none(),
            Self::Text(there) => text == Some(there),
            Self::Unreadable(_) => false,
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerError {
    pub(crate) step: WorkerOperation,
    /// The image directory.
    pub(crate) dir: String,
    /// What it was at: the directory or something in it.
    pub(crate) path: String,
    pub(crate) why: ErrorKind,
    /// Where access was denied.
    pub(crate) access: Option<Box<AccessModes>>,
}

/// What denied access.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessModes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The permission bits.
    pub(crate) mode: u32,
    /// The path where the way into the image directory ends: one above it, or its own. None when the
    /// way in was free and something inside denied access.
    pub(crate) barred: Option<String>,
}

/// The system's refusal, or ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ErrorKind {
    Errno(i32),
    OutsideRoots {
        target: String,
    },
    /// The folder is not there and was not to be made, or is no folder.
    NoFolder,
    Unexpected(String),
}
