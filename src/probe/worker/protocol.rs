//! Protocol between daemon and worker: one JSON object per line. Both ends are the same program, so
//! the messages have no versions.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::common::string_enum;
use crate::model::{MountLocation, MountedPart};
use crate::probe::mountinfo::MountEntry;
use crate::probe::root_disk::{self, RootDisk, RootRelation};

/// Request to the worker. `Open` comes first. The other requests use the handle that it opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerRequest {
    /// Open the directory, reject it if it lies outside the roots, and examine it.
    Open { dir: String, roots: Vec<String> },
    /// Create, write, sync and unlink the probe file. Create the folder first if `make_folder` is
    /// true.
    Write { probe: String, make_folder: bool },
    /// Write this text into the marker, through the probe file. The marker must still have the text
    /// `over`, or must still be absent if `over` is `None`.
    Mark { probe: String, text: String, over: Option<String> },
    /// Remove the probe file and the changes of a failed add. A marker with the text of the claim
    /// is replaced with the marker before it. The folder is removed if `folder` is true and it is
    /// empty.
    Release { probe: String, marker: Option<ReplacedMarker>, folder: bool },
    /// Create the missing folders and the missing marker, and give them to an owner.
    Prepare(InitRequest),
}

/// Folders and marker of a directory that `init` marks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitRequest {
    /// Names of the folders besides that of the marker.
    pub(crate) folders: Vec<String>,
    /// Name of the probe file, which becomes the marker.
    pub(crate) probe: String,
    /// Text of the marker, if there is none yet.
    pub(crate) marker: String,
    /// Owner of the files that are created. Existing files of the marker must belong to it. `None`
    /// if this process cannot change an owner.
    pub(crate) owner: Option<WorkerOwner>,
}

/// Numeric user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerOwner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Marker that an add has written and that must be reverted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplacedMarker {
    pub(crate) ours: String,
    pub(crate) before: Option<String>,
}

/// Response of the worker: any number of `At`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerResponse {
    /// The worker is about to start this operation. It is the evidence if no further response
    /// arrives.
    At(WorkerOperation),
    /// Response to `Open`.
    Observed(Box<DirectoryObservation>),
    /// Response to `Write`, with the duration in microseconds. `synced` is false if the filesystem
    /// cannot sync a file.
    Written { micros: u64, made_folder: bool, synced: bool },
    /// Response to `Mark` if the marker is another writer's. The value is the marker that exists
    /// now.
    Changed(MarkerState),
    /// Response to the other requests.
    Done,
    /// The request was not carried out.
    Failed(WorkerError),
}

string_enum! {
    /// Operation that may hang or fail. The text is the name in the evidence: the system call if
    /// there is one.
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

/// Observations through the handle.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DirectoryObservation {
    /// Target of the handle, from `/proc/self/fd`.
    pub(super) target: String,
    pub(crate) mount: MountState,
    pub(crate) statfs: FilesystemStats,
    pub(crate) quota: QuotaState,
    /// True if the marker's folder exists.
    pub(crate) folder: bool,
    pub(crate) marker: MarkerState,
    /// True if `registry` or `export` exists.
    pub(crate) registry: bool,
}

/// Mount that holds the directory, from `/proc/self/mountinfo`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountState {
    pub(crate) mount_point: String,
    pub(crate) fs_type: String,
    pub(crate) device: String,
    /// Folder of the filesystem that a bind mount shows.
    pub(crate) folder: Option<String>,
    pub(crate) root_relation: RootRelation,
    /// True if the superblock options say that the filesystem is read-only.
    pub(crate) superblock_read_only: bool,
}

impl MountState {
    /// Describes one mount.
    pub(crate) fn from_mount(mount: &MountEntry, root_disk: &RootDisk<'_>) -> Self {
        Self {
            mount_point: mount.mount_point.clone(),
            fs_type: mount.fs_type.clone(),
            device: mount.device.clone(),
            folder: match mount.part() {
                MountedPart::Whole => None,
                MountedPart::Folder(folder) => Some(folder),
            },
            root_relation: root_disk.relation_of(mount),
            superblock_read_only: mount.superblock_is_read_only(),
        }
    }

    /// Returns true if the filesystem is on a disk of this machine.
    pub(crate) fn is_on_local_disk(&self) -> bool {
        root_disk::is_local(&self.device, &self.fs_type)
    }

    /// Returns true if the mount is known to be on the root disk.
    pub(crate) fn is_on_root_disk(&self) -> bool {
        matches!(self.root_relation, RootRelation::RootDevice | RootRelation::DeviceOfFile(_))
    }

    /// Returns the mount in the form that is stored with a store, with the folder whose quota
    /// limits the directory.
    pub(crate) fn to_location(&self, quota_folder: Option<String>) -> MountLocation {
        MountLocation {
            mount_point: self.mount_point.clone(),
            fs_type: self.fs_type.clone(),
            device: self.device.clone(),
            on_root_disk: self.is_on_root_disk(),
            part: Some(match &self.folder {
                None => MountedPart::Whole,
                Some(folder) => MountedPart::Folder(folder.clone()),
            }),
            quota_folder,
        }
    }
}

/// Space of the directory, by a comparison with its filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QuotaState {
    /// The directory shares the space of the filesystem.
    None,
    /// A quota limits this folder of the filesystem.
    Folder(String),
    /// The figures of the filesystem could not be read.
    Unknown,
}

/// Raw figures of one `fstatvfs(3)` call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct FilesystemStats {
    pub(crate) fragment_size: u64,
    pub(crate) blocks: u64,
    pub(crate) blocks_available: u64,
    pub(crate) files: u64,
    pub(crate) files_available: u64,
}

/// Contents at the path of the marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MarkerState {
    Nothing,
    Text(String),
    /// The object is not a readable marker. The text is the reason.
    Unreadable(String),
}

impl MarkerState {
    /// Returns true if the marker has this text, or if there is no marker and `text` is `None`.
    pub(crate) fn is_marker(&self, text: Option<&str>) -> bool {
        match self {
            Self::Nothing => text.is_none(),
            Self::Text(there) => text == Some(there),
            Self::Unreadable(_) => false,
        }
    }
}

/// Reason why a request was not carried out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerError {
    pub(crate) step: WorkerOperation,
    /// The image directory.
    pub(crate) dir: String,
    /// Path of the failed operation: the directory or an object in it.
    pub(crate) path: String,
    pub(crate) why: ErrorKind,
    /// Modes of the object that denied access.
    pub(crate) access: Option<Box<AccessModes>>,
}

impl WorkerError {
    /// Returns true if the system reported the error.
    pub(super) fn is_errno(&self) -> bool {
        matches!(self.why, ErrorKind::Errno(_))
    }

    /// Returns true if the path does not exist.
    pub(super) fn is_missing(&self) -> bool {
        self.why == ErrorKind::Errno(Errno::ENOENT as i32)
    }
}

/// Owner and modes of the object that denied access.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessModes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The permission bits.
    pub(crate) mode: u32,
    /// Path at which the way into the image directory is blocked: one of its parents, or the
    /// directory itself. `None` if an object inside the directory denied access.
    pub(crate) blocked: Option<String>,
    /// Attribute that forbids the change.
    pub(crate) attribute: AttributeState,
}

/// Attributes of the object that denied access and of its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AttributeState {
    /// The object at this path has the attribute.
    Set { path: String, attribute: FileAttribute },
    /// No attribute forbids the change.
    NotSet,
    /// The filesystem does not report its attributes, or they were not read.
    Unknown,
}

string_enum! {
    /// Attribute of a file that forbids changes to every user (`chattr(1)`).
    #[derive(Serialize, Deserialize)]
    pub(crate) FileAttribute {
        Immutable = "immutable",
        AppendOnly = "append-only",
    }
}

impl FileAttribute {
    /// Returns the letter of the attribute in `chattr(1)`.
    pub(crate) const fn chattr_flag(self) -> char {
        match self {
            Self::Immutable => 'i',
            Self::AppendOnly => 'a',
        }
    }
}

/// Kind of error: an errno of the system, or a check of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ErrorKind {
    Errno(i32),
    OutsideRoots {
        target: String,
    },
    /// The folder does not exist and was not to be created, or the path is not a directory.
    NoFolder,
    /// The object has another owner, and `init` does not give it away.
    NotHandedOver {
        why: String,
        uid: u32,
        gid: u32,
        mode: u32,
        /// The owner that it would need.
        owner: WorkerOwner,
    },
    /// The target of the opened directory is not UTF-8.
    NotUtf8,
    /// The path led to another mount after each observation of the directory.
    MountChanged,
    Unexpected(String),
}
