//! Small files that are complete or absent after any crash.
//!
//! A file is written under a temporary name and synced, then linked under its real name. The
//! directory is synced last (`rename(2)`, `fsync(2)`; proven on ext4, xfs, btrfs).
#![expect(clippy::disallowed_methods, reason = "these are the state directory's own small files")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Creates `dir/name` with these bytes, readable only by its owner.
///
/// # Errors
/// Returns `AlreadyExists` if the name is taken, and leaves the existing file untouched. Returns
/// the error of the system otherwise.
pub(super) fn create_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(dir, name);
    discard_file(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A hard link does not replace an existing file, but a rename does.
    let linked = fs::hard_link(&temporary, dir.join(name));
    fs::remove_file(&temporary)?;
    linked?;
    File::open(dir)?.sync_all()
}

/// Removes the temporary file that an interrupted [`create_file`] may have left.
pub(super) fn discard_temporary(dir: &Path, name: &str) -> io::Result<()> {
    discard_file(&temporary_path(dir, name))
}

fn temporary_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.new"))
}

/// Reads a file of at most `limit` bytes and follows no link. Returns `None` if the file does not
/// exist.
pub(super) fn read_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    // Opening a pipe without this flag would wait for its writer.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
    }
    Ok(Some(bytes))
}

/// Removes a file that an interrupted start may have left. An absent file is not an error.
pub(super) fn discard_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames a finished file to its final name: fsync, rename, fsync of the directory.
pub(super) fn publish_file(dir: &Path, from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    File::open(dir)?.sync_all()
}
