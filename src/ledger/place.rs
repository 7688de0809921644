//! The files of the state directory as they were opened, compared with those that have their paths
//! now. A commit to a ledger that has no path any more would be lost.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::stat;

/// Device and inode of a file.
type FileIdentity = (u64, u64);

/// The files whose paths must stay theirs while the ledger is open.
#[derive(Debug)]
pub(super) struct LedgerPlace {
    files: Vec<(PathBuf, FileIdentity)>,
}

/// A path that no longer leads to the file that the daemon has opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} is {change}, so that the ledger that the daemon has open is no longer in the state directory"
)]
pub(super) struct DisplacedFile {
    path: PathBuf,
    change: &'static str,
}

impl LedgerPlace {
    /// Records the files at these paths, which are open.
    ///
    /// # Errors
    /// Returns the error of the system if a file is already gone.
    pub(super) fn record(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let record = |path: PathBuf| identity(&path).map(|found| (path, found));
        let files = paths.into_iter().map(record).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// Compares the paths with the recorded files. It costs some microseconds, far less than a
    /// commit.
    ///
    /// # Errors
    /// Returns the first path that leads to another file, or to none.
    pub(super) fn check(&self) -> Result<(), DisplacedFile> {
        for (path, recorded) in &self.files {
            if let Some(change) = change_of(*recorded, identity(path)) {
                return Err(DisplacedFile { path: path.clone(), change });
            }
        }
        Ok(())
    }
}

/// Describes the change of a path, or returns `None` if it still leads to the recorded file.
fn change_of(recorded: FileIdentity, found: nix::Result<FileIdentity>) -> Option<&'static str> {
    match found {
        Ok(found) if found == recorded => None,
        Ok(_) => Some("another file or directory now"),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Some("missing"),
        Err(_) => Some("not accessible"),
    }
}

#[allow(clippy::useless_conversion, reason = "the numbers have other types on other systems")]
fn identity(path: &Path) -> nix::Result<FileIdentity> {
    stat(path).map(|found| (u64::from(found.st_dev), u64::from(found.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_file_only_if_device_and_inode_are_the_same() {
        for (found, change) in [
            (Ok((1, 2)), None),
            (Ok((1, 3)), Some("another file or directory now")),
            (Ok((2, 2)), Some("another file or directory now")),
            (Err(Errno::ENOENT), Some("missing")),
            (Err(Errno::ENOTDIR), Some("missing")),
            (Err(Errno::EACCES), Some("not accessible")),
        ] {
            assert_eq!(change_of((1, 2), found), change, "{found:?}");
        }
    }
}
