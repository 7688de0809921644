//! The daemon's own directory, locked for one daemon.
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

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another daemon has it.
    #[error("the state directory {path} is locked by another agent{}", lock_holder(.pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds it, as it wrote.
        pid: Option<u32>,
    },
    /// The system refuses.
    #[error("cannot use {path}")]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `node-id` holds something else; it was left untouched.
    #[error("{path} does not hold 32 lower-case hexadecimal digits; restore it or remove it")]
    NodeId {
        /// The file.
        path: PathBuf,
    },
}

fn lock_holder(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The locked state directory; dropping it lets go of the lock.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // Held, never read: the lock lives as long as this file is open.
    _lock: Flock<File>,
}

impl StateDir {
    /// Creates the directory (0750, so that the group may reach the socket in it; its parent must exist) where absent and locks it.
    ///
    /// # Errors
    /// [`StateDirError::Locked`] when another daemon has it, [`StateDirError::Unusable`] otherwise.
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
                // For the message of the next daemon only; the lock holds without it.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This installation's id, made on the first call and kept in `node-id`, beside the ledger and not
    /// in it, so that a lost ledger does not orphan the image directories.
    ///
    /// # Errors
    /// [`StateDirError::NodeId`] when the file holds something else: it is left untouched.
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
