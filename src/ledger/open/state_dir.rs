//! The state directory, locked for one daemon.
#![expect(clippy::disallowed_methods, reason = "the state directory and its lock")]

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstatat};
use tracing::warn;

use crate::common::{
    FileProtection, FileRisk, FileStatus, Random, open_folder, own_file_risk, structure_risk,
};
use crate::ledger::durable_file;
use crate::ledger::sealer::MASTER_KEY_FILE;
use crate::model::NodeId;
use crate::settings::{FilePolicy, STATE_FILES};

/// An error of opening the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another daemon holds the lock.
    #[error("the state directory {path} is locked by another daemon{}", lock_holder(.pid))]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The process id that the holder wrote into the lock file.
        pid: Option<u32>,
    },
    /// The system returned an error.
    #[error("cannot use {path}")]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Another user can read or replace the directory or a file in it.
    #[error(
        "{path} {risk}; the state directory and its files must belong to the daemon, and no other user \
         may write to them: restore owner and mode, and remove links"
    )]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        risk: FileRisk,
    },
    /// `node-id` does not contain an id. The file was left untouched.
    #[error(
        "the file {path} does not contain 32 lower-case hexadecimal digits: restore it from a backup, \
         or write the `nodeId` into it that the markers of the stores contain; with another id, each \
         store would count as taken over"
    )]
    NodeId {
        /// The `node-id` file.
        path: PathBuf,
    },
}

/// A path of the state directory that another user can read or replace.
#[derive(Debug)]
pub struct UnsafeStatePath {
    /// The directory, or a file in it.
    pub path: PathBuf,
    /// The reason.
    pub risk: FileRisk,
    /// True if the settings permit it, so that a start only warns of it.
    pub is_permitted: bool,
}

impl UnsafeStatePath {
    /// Logs a warning if the path is permitted.
    ///
    /// # Errors
    /// Returns [`StateDirError::Unsafe`] if it is not.
    fn refuse_unless_permitted(self) -> Result<(), StateDirError> {
        let Self { path, risk, is_permitted } = self;
        if !is_permitted {
            return Err(StateDirError::Unsafe { path, risk });
        }
        warn!(path = %path.display(), %risk, "state directory not safe from other users");
        Ok(())
    }
}

/// Maximum wait for the lock. A daemon that is killed while it starts a worker leaves a child that
/// holds the lock until its `execve(2)`, which takes milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum wait for the lock while only readers hold it: `doctor`, which copies the ledger. Its
/// process ends within this time, unless the disk hangs.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between two tries to lock the state directory.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// Name of the lock file, one of [`STATE_FILES`].
pub const LOCK_FILE: &str = "lock";
/// Name of the file with the id of this installation, one of [`STATE_FILES`].
pub const NODE_ID_FILE: &str = "node-id";

fn lock_holder(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The locked state directory. Dropping it releases the lock.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // Held and never read: the lock lasts as long as this file is open.
    _lock: Flock<File>,
}

impl StateDir {
    /// Creates the directory if it is absent, and locks it. Its mode is 0750, so that the group can
    /// reach the socket in it. Its parent must exist.
    ///
    /// # Errors
    /// Returns [`StateDirError::Locked`] if another daemon holds the lock,
    /// [`StateDirError::Unsafe`] if another user can replace or read its files, or
    /// [`StateDirError::Unusable`] if the system returns an error.
    pub fn open(dir: &Path, policy: &FilePolicy) -> Result<Self, StateDirError> {
        let unusable =
            |path: &Path, source| StateDirError::Unusable { path: path.to_owned(), source };
        let created = match DirBuilder::new().mode(0o750).create(dir) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(unusable(dir, error)),
        };
        let (folder, risk) =
            open_folder(dir, policy.trusted).map_err(|error| unusable(dir, error))?;
        if created {
            // The umask of the daemon is stricter.
            fchmod(&folder, Mode::from_bits_truncate(0o750))
                .map_err(|errno| unusable(dir, errno.into()))?;
        }
        if let Some(risk) = risk {
            unsafe_folder(dir, risk, policy).refuse_unless_permitted()?;
        }
        let path = dir.join(LOCK_FILE);
        let file = open_lock(&folder).map_err(|errno| match errno {
            Errno::ELOOP => StateDirError::Unsafe { path: path.clone(), risk: FileRisk::Link },
            errno => unusable(&path, errno.into()),
        })?;
        match wait_for_lock(file) {
            Ok(mut lock) => {
                // Without the lock, the files belong to the daemon that holds it.
                check_files(dir, &folder, policy)?;
                let pid = std::process::id();
                // The pid only serves the error message of another daemon. The lock does not depend
                // on it.
                let _ = lock.set_len(0).and_then(|()| write!(*lock, "{pid}"));
                Ok(Self { path: dir.to_owned(), _lock: lock })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
                Err(StateDirError::Locked { path: dir.to_owned(), pid: text.trim().parse().ok() })
            }
            Err((_, errno)) => Err(unusable(&path, errno.into())),
        }
    }

    /// Returns the path of the lock file.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.path.join(LOCK_FILE)
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the id of this installation, which the first call creates. The id is in `node-id`
    /// and not in the ledger, so that a lost ledger does not orphan the image directories.
    ///
    /// # Errors
    /// Returns [`StateDirError::NodeId`] if the file does not contain an id, and leaves the file
    /// untouched. Returns [`StateDirError::Unusable`] if the system returns an error.
    pub fn node_id(&self, random: &dyn Random) -> Result<NodeId, StateDirError> {
        if let Some(id) = read_node_id(&self.path)? {
            return Ok(id);
        }
        let id = NodeId::from_u128(u128::from_be_bytes(random.bytes16()));
        let text = format!("{id}\n");
        durable_file::create_file(&self.path, NODE_ID_FILE, text.as_bytes()).map_err(|source| {
            StateDirError::Unusable { path: self.path.join(NODE_ID_FILE), source }
        })?;
        Ok(id)
    }
}

/// Returns the id of the installation whose state directory this is, or `None` before its first
/// start.
///
/// # Errors
/// [`StateDirError::NodeId`] if the file does not contain an id, or [`StateDirError::Unusable`] if
/// the system returns an error.
pub fn read_node_id(dir: &Path) -> Result<Option<NodeId>, StateDirError> {
    let path = dir.join(NODE_ID_FILE);
    match durable_file::read_file(&path, 256) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .map(Some)
            .ok_or(StateDirError::NodeId { path }),
        // The file is too long for an id.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StateDirError::NodeId { path })
        }
        Err(source) => Err(StateDirError::Unusable { path, source }),
    }
}

/// Opens the lock file, or creates it. It follows no link, and waits for no pipe.
fn open_lock(folder: &OwnedFd) -> nix::Result<File> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(folder, LOCK_FILE, flags, Mode::from_bits_truncate(0o600)).map(File::from)
}

/// Locks the file. If another daemon has locked it, this waits at most [`LOCK_TIMEOUT`], and for
/// readers [`READER_TIMEOUT`].
///
/// # Errors
/// `EWOULDBLOCK` if the other process keeps the lock, or the error of the system. The file is
/// returned with it.
fn wait_for_lock(mut file: File) -> Result<Flock<File>, (File, Errno)> {
    let start = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((locked, Errno::EWOULDBLOCK)) => {
                let limit = if is_held_by_reader(&locked) { READER_TIMEOUT } else { LOCK_TIMEOUT };
                if start.elapsed() >= limit {
                    return Err((locked, Errno::EWOULDBLOCK));
                }
                file = locked;
                thread::sleep(LOCK_RETRY_INTERVAL);
            }
            result => return result,
        }
    }
}

/// Returns true if the lock can be shared, which no daemon allows. The lock is released again.
fn is_held_by_reader(file: &File) -> bool {
    let copy = file.try_clone();
    copy.is_ok_and(|copy| Flock::lock(copy, FlockArg::LockSharedNonblock).is_ok())
}

/// Checks the files that the directory has so far, and completes those that a start which was
/// interrupted left. No other user can replace them afterwards, because the folder has been checked
/// before.
fn check_files(dir: &Path, folder: &OwnedFd, policy: &FilePolicy) -> Result<(), StateDirError> {
    for name in STATE_FILES {
        // A start that was interrupted may have left a second name of a complete file.
        durable_file::discard_temporary(dir, name)
            .map_err(|source| StateDirError::Unusable { path: dir.join(name), source })?;
        let (status, unsafe_path) = inspect_state_file(dir, folder, name, policy)?;
        unsafe_path.map_or(Ok(()), UnsafeStatePath::refuse_unless_permitted)?;
        if status.is_some_and(|status| name != MASTER_KEY_FILE && status.mode & 0o077 != 0) {
            // Earlier versions created the ledger with the umask of the system. A file of root
            // stays as it is.
            let mode = status.map_or(0, |status| status.mode);
            let own = Mode::from_bits_truncate(mode & 0o700);
            let _ = fchmodat(folder, name, own, FchmodatFlags::FollowSymlink);
        }
    }
    Ok(())
}

/// Returns the status of a file of the directory, or `None` if there is no such file to check, and
/// its risk.
fn inspect_state_file(
    dir: &Path,
    folder: &OwnedFd,
    name: &str,
    policy: &FilePolicy,
) -> Result<(Option<FileStatus>, Option<UnsafeStatePath>), StateDirError> {
    let path = dir.join(name);
    let status = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => FileStatus::from(&stat),
        Err(Errno::ENOENT) => return Ok((None, None)),
        Err(errno) => return Err(StateDirError::Unusable { path, source: errno.into() }),
    };
    let is_key = name == MASTER_KEY_FILE;
    let structure = structure_risk(&status);
    if is_key && structure == Some(FileRisk::NotRegular) {
        // The daemon serves the stores without a usable key, and reports `secret_unreadable`.
        return Ok((None, None));
    }
    let protection = if is_key { FileProtection::ReadAndWrite } else { FileProtection::Write };
    // No setting permits a wrong structure.
    let is_permitted = policy.takes_unsafe && structure.is_none();
    let risk = own_file_risk(&status, protection, policy.trusted);
    let unsafe_path = risk.map(|risk| UnsafeStatePath { path, risk, is_permitted });
    Ok((Some(status), unsafe_path))
}

fn unsafe_folder(dir: &Path, risk: FileRisk, policy: &FilePolicy) -> UnsafeStatePath {
    UnsafeStatePath { path: dir.to_owned(), risk, is_permitted: policy.takes_unsafe }
}

/// Returns every path that [`StateDir::open`] refuses or warns of, and changes nothing. The lock
/// does not count.
///
/// # Errors
/// Returns [`StateDirError::Unusable`] if the system returns an error.
pub fn inspect_state_dir(
    dir: &Path,
    policy: &FilePolicy,
) -> Result<Vec<UnsafeStatePath>, StateDirError> {
    let (folder, risk) = open_folder(dir, policy.trusted)
        .map_err(|source| StateDirError::Unusable { path: dir.to_owned(), source })?;
    let mut found: Vec<_> = risk.into_iter().map(|risk| unsafe_folder(dir, risk, policy)).collect();
    for name in STATE_FILES {
        found.extend(inspect_state_file(dir, &folder, name, policy)?.1);
    }
    Ok(found)
}
