//! The state directory, locked for one daemon.
#![expect(clippy::disallowed_methods, reason = "the state directory and its lock")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::common::Random;
use crate::ledger::durable_file;
use crate::model::NodeId;

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
    /// `node-id` does not contain an id. The file was left untouched.
    #[error(
        "the file {path} does not contain 32 lower-case hexadecimal digits: restore it or remove it"
    )]
    NodeId {
        /// The `node-id` file.
        path: PathBuf,
    },
}

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
    /// Returns [`StateDirError::Locked`] if another daemon holds the lock, or
    /// [`StateDirError::Unusable`] if the system returns an error.
    pub fn open(dir: &Path) -> Result<Self, StateDirError> {
        let unusable =
            |path: &Path, source| StateDirError::Unusable { path: path.to_owned(), source };
        match DirBuilder::new().mode(0o750).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(dir, error));
            }
            _ => {}
        }
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unusable(&path, error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
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
        const NODE_ID_FILE: &str = "node-id";
        let path = self.path.join(NODE_ID_FILE);
        let unusable = |source| StateDirError::Unusable { path: path.clone(), source };
        match durable_file::read_file(&path, 256).map_err(unusable)? {
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim_end().parse().ok())
                .ok_or(StateDirError::NodeId { path }),
            None => {
                let id = NodeId::from_u128(u128::from_be_bytes(random.bytes16()));
                let text = format!("{id}\n");
                durable_file::create_file(&self.path, NODE_ID_FILE, text.as_bytes())
                    .map_err(unusable)?;
                Ok(id)
            }
        }
    }
}
