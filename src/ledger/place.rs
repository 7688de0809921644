//! The files of the state directory as they were opened and last written, compared with those that
//! have their paths now. A commit to a ledger that has no path any more would be lost, and so would
//! one to a database or log that another program has cut off or written over.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::stat;

/// Device and inode of a file.
type FileIdentity = (u64, u64);

/// The length of a file, and the time of its last change in seconds and nanoseconds. Only a write
/// changes them: a backup that reads the file or makes a link to it does not.
pub(super) type WriteState = (i64, i64, i64);

/// The files whose paths must stay theirs while the ledger is open.
#[derive(Debug)]
pub(super) struct LedgerPlace {
    /// The directory and the lock.
    fixed: Vec<(PathBuf, FileIdentity)>,
    /// The database and its log, which only the daemon writes.
    written: Vec<WrittenFile>,
}

#[derive(Debug)]
struct WrittenFile {
    path: PathBuf,
    identity: FileIdentity,
    state: WriteState,
    /// The length to which SQLite itself cuts the file, when it is longer.
    max_length: Option<i64>,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlaceState {
    /// The files are as the daemon left them.
    Unchanged,
    /// Another program has written to this file. The contents of the ledger decide.
    Written(PathBuf),
}

/// A path that no longer leads to the ledger that the daemon has opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum DisplacedFile {
    #[error(
        "{path} is {change}, so that the ledger that the daemon has open is no longer in the state directory"
    )]
    Moved { path: PathBuf, change: &'static str },
    #[error("another program has changed {path}, and the ledger on the disk is damaged: {what}")]
    Overwritten { path: PathBuf, what: String },
}

impl LedgerPlace {
    /// Records the files at these paths, which are open: those that only have to stay, and those
    /// that only the daemon writes. SQLite cuts a file with a length off at that length.
    ///
    /// # Errors
    /// Returns the error of the system if a file is already gone.
    pub(super) fn record(
        fixed: impl IntoIterator<Item = PathBuf>,
        written: impl IntoIterator<Item = (PathBuf, Option<i64>)>,
    ) -> io::Result<Self> {
        let fixed = fixed.into_iter().map(|path| {
            let (identity, _) = look_at(&path)?;
            Ok((path, identity))
        });
        let written = written.into_iter().map(|(path, max_length)| {
            let (identity, state) = look_at(&path)?;
            Ok(WrittenFile { path, identity, state, max_length })
        });
        Ok(Self {
            fixed: fixed.collect::<io::Result<_>>()?,
            written: written.collect::<io::Result<_>>()?,
        })
    }

    /// Compares the paths with the recorded files. It costs some microseconds, far less than a
    /// commit.
    ///
    /// # Errors
    /// Returns the first path that leads to another file, or to none.
    pub(super) fn check(&self) -> Result<PlaceState, DisplacedFile> {
        let displaced = |path: &Path, change| DisplacedFile::Moved { path: path.into(), change };
        for (path, recorded) in &self.fixed {
            let found = look_at(path).map(|(identity, _)| identity);
            change_of(*recorded, found).map_or(Ok(()), |change| Err(displaced(path, change)))?;
        }
        let mut state = PlaceState::Unchanged;
        for file in &self.written {
            let found = look_at(&file.path);
            if let Some(change) = change_of(file.identity, found.map(|(identity, _)| identity)) {
                return Err(displaced(&file.path, change));
            }
            if state == PlaceState::Unchanged && found.is_ok_and(|(_, found)| found != file.state) {
                state = PlaceState::Written(file.path.clone());
            }
        }
        Ok(state)
    }

    /// Records a write of the daemon itself. A file that has become shorter by it stays as it was
    /// recorded, so that the next [`LedgerPlace::check`] reports it: another program may have cut
    /// it off meanwhile. A log that SQLite has cut off at its limit is as the daemon left it.
    pub(super) fn record_write(&mut self) {
        for file in &mut self.written {
            let Ok((identity, found)) = look_at(&file.path) else { continue };
            let is_whole = found.0 >= file.state.0 || Some(found.0) == file.max_length;
            if identity == file.identity && is_whole {
                file.state = found;
            }
        }
    }

    /// Returns the states of the files that only the daemon writes, as they are now.
    pub(super) fn write_states(&self) -> Vec<Option<WriteState>> {
        let state = |file: &WrittenFile| look_at(&file.path).ok().map(|(_, state)| state);
        self.written.iter().map(state).collect()
    }

    /// Takes these states for those that the daemon left, after the contents were verified.
    pub(super) fn accept_states(&mut self, states: &[Option<WriteState>]) {
        for (file, state) in self.written.iter_mut().zip(states) {
            file.state = state.unwrap_or(file.state);
        }
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
fn look_at(path: &Path) -> nix::Result<(FileIdentity, WriteState)> {
    stat(path).map(|found| {
        let identity = (u64::from(found.st_dev), u64::from(found.st_ino));
        (identity, (i64::from(found.st_size), found.st_mtime.into(), found.st_mtime_nsec.into()))
    })
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
