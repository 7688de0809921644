//! The copy of a ledger that is kept before its migration to a newer format. An operator who goes
//! back to the earlier version of the program puts it back.
//!
//! # Guarantees
//! - The copy is complete, verified and on disk before the migration changes the ledger.
//! - There is one copy at most, that of before the last migration.
//! - The copy has the owner of the ledger, and no other user can read it.
//!
//! # Never
//! - A copy takes the space that the migration needs. Without space, older copies are deleted. If
//!   this is not enough, the ledger is migrated without a copy, and a warning is logged.
#![expect(clippy::disallowed_methods, reason = "the ledger's own files, in the state directory")]

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use rusqlite::{Connection, ErrorCode};
use tracing::{info, warn};

use super::integrity::{database_size, open_unchanged, sibling_path};
use super::{OpenError, migrations};
use crate::ledger::durable_file;
use crate::ledger::tables::{RowError, contents};

/// The end of the name of a copy, before the number of its format.
const SUFFIX: &str = ".format";
/// The end of the name of a copy that is not complete.
const INCOMPLETE: &str = ".new";
/// Number of the ledger's own sizes that must be free for a copy: the copy itself, and the log of a
/// migration that changes every page.
const NEEDED_SIZES: u64 = 2;
/// Space that a start needs besides, in bytes (1 MiB).
const NEEDED_BESIDES: u64 = 1 << 20;

/// An error of a copy.
#[derive(Debug)]
enum CopyError {
    Row(RowError),
    System(io::Error),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<RowError> for CopyError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Row(error.into())
    }
}

impl CopyError {
    /// Returns true if the disk, or the quota of the user, has no more space or files.
    fn is_shortage(&self) -> bool {
        match self {
            Self::Row(RowError::Sqlite(error)) => {
                error.sqlite_error_code() == Some(ErrorCode::DiskFull)
            }
            Self::Row(_) => false,
            Self::System(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
        }
    }

    fn into_io(self) -> io::Error {
        match self {
            Self::Row(error) => io::Error::other(error),
            Self::System(error) => error,
        }
    }
}

/// Keeps a copy of an open ledger of an older `format`. It is made anew after a start that was
/// interrupted.
///
/// # Errors
/// Returns [`OpenError::Unusable`] if the copy cannot be made or verified, unless space is the
/// reason. The ledger then stays as it is.
pub(super) fn keep_copy(
    connection: &Connection,
    ledger: &Path,
    format: i32,
) -> Result<(), OpenError> {
    let copy = copy_path(ledger, format);
    let fresh = sibling_path(&copy, INCOMPLETE);
    let unusable = |source| OpenError::Unusable { path: copy.clone(), source };
    durable_file::discard_file(&fresh).map_err(unusable)?;
    let make_copy = || {
        reserve_space(connection, ledger, &fresh)?;
        write_copy(connection, ledger, &fresh, format)?;
        Ok(durable_file::publish_file(dir_of(ledger)?, &fresh, &copy)?)
    };
    let mut written = make_copy();
    if written.as_ref().is_err_and(CopyError::is_shortage) {
        durable_file::discard_file(&fresh).map_err(unusable)?;
        // A program that refuses the migrated ledger would name an older copy as the one of before
        // this migration.
        if remove_copies(ledger, None).map_err(unusable)? {
            written = make_copy();
        }
    }
    match written {
        Ok(()) => {
            remove_copies(ledger, Some(&copy)).map_err(unusable)?;
            info!(copy = %copy.display(), format, "copy of the older ledger kept");
        }
        Err(error) if error.is_shortage() => {
            durable_file::discard_file(&fresh).map_err(unusable)?;
            let error = error.into_io();
            warn!(format, %error, "no space for a copy of the older ledger");
        }
        Err(error) => {
            // The next start discards it otherwise.
            let _ = fs::remove_file(&fresh);
            return Err(unusable(error.into_io()));
        }
    }
    Ok(())
}

/// Returns the newest kept copy of a ledger whose format a program up to `newest_known` reads.
pub(super) fn find_copy(ledger: &Path, newest_known: i32) -> Option<PathBuf> {
    (1..=newest_known).rev().map(|format| copy_path(ledger, format)).find(|copy| copy.is_file())
}

fn copy_path(ledger: &Path, format: i32) -> PathBuf {
    sibling_path(ledger, &format!("{SUFFIX}{format}"))
}

/// Verifies that the disk, and the quota of the user, have the space for a copy in the new file
/// `fresh`. SQLite does not report a quota as a shortage of space.
///
/// # Errors
/// Returns `StorageFull` with the figures, or `QuotaExceeded`, if there is too little space.
fn reserve_space(connection: &Connection, ledger: &Path, fresh: &Path) -> Result<(), CopyError> {
    let size = database_size(connection)?;
    let needed = size.saturating_mul(NEEDED_SIZES).saturating_add(NEEDED_BESIDES);
    let disk = statvfs(ledger).map_err(io::Error::from)?;
    let available = disk.blocks_available().saturating_mul(disk.fragment_size());
    if available < needed {
        let what = format!("{available} bytes are available, {needed} are needed");
        return Err(io::Error::new(io::ErrorKind::StorageFull, what).into());
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    let length = i64::try_from(needed).unwrap_or(i64::MAX);
    let reserved = fallocate(&file, FallocateFlags::empty(), 0, length);
    // Not every filesystem can reserve space: another error says nothing.
    if let Err(error @ (Errno::EDQUOT | Errno::ENOSPC)) = reserved {
        return Err(io::Error::from(error).into());
    }
    Ok(durable_file::discard_file(fresh)?)
}

/// Writes and verifies a copy. Its only file is the database: it contains what is in the log.
fn write_copy(
    connection: &Connection,
    ledger: &Path,
    fresh: &Path,
    format: i32,
) -> Result<(), CopyError> {
    let owner = fs::metadata(ledger)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    // SQLite accepts a path as text or as bytes, and an existing file if it is empty.
    connection.execute("VACUUM INTO CAST(?1 AS TEXT)", [fresh.as_os_str().as_bytes()])?;
    let copy = open_unchanged(fresh)?;
    let check: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" || migrations::schema_version(&copy)? != format {
        return Err(io::Error::new(io::ErrorKind::InvalidData, check).into());
    }
    if format >= migrations::FIRST_COUNTED_VERSION {
        contents::verify_contents(&copy, |_| true)?;
    }
    Ok(())
}

fn dir_of(ledger: &Path) -> io::Result<&Path> {
    ledger.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Removes all copies but `kept`, also those that are not complete. Returns true if there was one.
fn remove_copies(ledger: &Path, kept: Option<&Path>) -> io::Result<bool> {
    let dir = dir_of(ledger)?;
    let mut prefix = ledger.file_name().unwrap_or_default().to_owned();
    prefix.push(SUFFIX);
    let mut was_any = false;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let path = dir.join(&name);
        if Some(path.as_path()) != kept && is_copy(&name, &prefix) {
            fs::remove_file(path)?;
            was_any = true;
        }
    }
    Ok(was_any)
}

/// Returns true for the name of a copy, also of one that is not complete.
fn is_copy(name: &OsStr, prefix: &OsStr) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(prefix.as_bytes()) else { return false };
    let number = rest.strip_suffix(INCOMPLETE.as_bytes()).unwrap_or(rest);
    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}
