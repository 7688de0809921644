//! The messages between `doctor` and the process that looks at the state directory: one JSON line
//! each. Both ends are the same program, so the messages have no versions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::diagnosis::StateDirProblem;

/// The task of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateRequest {
    /// The state directory.
    pub(super) dir: PathBuf,
    /// The file of the master key that the settings name.
    pub(super) key_file: Option<PathBuf>,
    /// True if files with secrets are used whatever their owner and mode are.
    pub(super) trust_file_modes: bool,
    /// The folder for the copy of the ledger.
    pub(super) copy_to: Option<PathBuf>,
}

/// The findings of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateReport {
    /// The numbers of the disk, or the reason why the directory cannot be looked at.
    pub(super) disk: Result<DiskNumbers, StateDirProblem>,
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
    pub(super) node_id: Result<Option<String>, NodeIdProblem>,
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
    /// The file does not exist. A daemon may run all the same: it keeps the lock of a file that was
    /// removed.
    Absent,
    /// It cannot be looked at.
    Unknown(String),
}

/// The reason why the id of the installation is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeIdProblem {
    /// The problem, as a sentence.
    pub(super) text: String,
    /// True if only this process may not read the file. It is neither root nor the daemon's user.
    pub(super) is_denied: bool,
}

/// The file of the master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyState {
    /// It contains a key. `opened` is the number of stored secrets, each of which the key opens, or
    /// `None` if the ledger was not read.
    Usable {
        opened: Option<usize>,
    },
    /// It contains no key, or one that does not open each stored secret.
    Useless(String),
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
