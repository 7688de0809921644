//! The messages between `doctor` and the process that looks at the state directory: one JSON line
//! each. Both ends are the same program, so the messages have no versions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The task of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateRequest {
    /// The state directory.
    pub(super) dir: PathBuf,
    /// The file of the master key that the settings name.
    pub(super) key_file: Option<PathBuf>,
    /// The folder for the copy of the ledger.
    pub(super) copy_to: Option<PathBuf>,
}

/// The findings of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateReport {
    /// The numbers of the disk, or the reason why the directory cannot be looked at.
    pub(super) disk: Result<DiskNumbers, String>,
    /// True if this process can tell what the daemon's user may do: it is root, or that user.
    pub(super) knows_access: bool,
    /// The reason why the daemon's user cannot write in the directory.
    pub(super) write_problem: Option<String>,
    /// The lock of the directory.
    pub(super) lock: LockState,
    /// The master key.
    pub(super) key: KeyState,
    /// The id of this installation, if the directory has one, or the reason why it has none that
    /// can be used.
    pub(super) node_id: Result<Option<String>, String>,
    /// The daemon's user and its groups, if this process is another user.
    pub(super) daemon: Option<(u32, Vec<u32>)>,
    /// The copy of the ledger.
    pub(super) ledger: CopyState,
}

/// The figures of the disk, as `statvfs(3)` has them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct DiskNumbers {
    pub(super) total_bytes: u64,
    pub(super) available_bytes: u64,
    /// 0 if the filesystem does not count its inodes.
    pub(super) total_inodes: u64,
    pub(super) available_inodes: u64,
}

/// The lock that a running daemon holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LockState {
    /// No process holds it.
    Free,
    /// A daemon holds it. The process id is the one in the file, if this
    /// process of the same PID namespace holds the lock.
    Held(Option<u32>),
    /// No daemon has started in this directory yet.
    Absent,
    /// It cannot be looked at.
    Unknown(String),
}

/// The file of the master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyState {
    Readable,
    Missing,
    Unreadable(String),
}

/// The copy of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CopyState {
    /// The folder has a copy.
    Copied,
    /// There is no ledger.
    Absent,
    /// It was not copied, because it needs this.
    Skipped(String),
}
