//! Reading a file that a setting names: a regular one, of at most 1 MiB.
#![expect(
    clippy::disallowed_methods,
    reason = "reads what the settings name, never a store's path"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Most bytes of a file: some ten thousand callers, a thousand certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The bytes of a file that may hold a secret. Blocks on it: call it before the runtime starts or on a
/// thread of its own.
///
/// # Errors
/// It cannot be read, is no regular file, or is too large.
pub fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    check_regular(path)?;
    read_bounded(path)
}

/// The same for a file that must be UTF-8.
///
/// # Errors
/// As [`read_file`], and when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    check_regular(path)?;
    read_any_text(path)
}

/// The text of what may be a pipe.
pub(crate) fn read_any_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = read_bounded(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// Whether a file can be read by this process.
pub(super) fn check_readable(path: &Path) -> io::Result<()> {
    check_regular(path)?;
    File::open(path).map(drop)
}

/// Looked at before it is opened: opening a pipe would wait for its writer.
fn check_regular(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Its room is made at once, so that growing leaves no copy behind.
    let size = file.metadata()?.len().min(MAX_FILE_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0)));
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read <= MAX_FILE_BYTES => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")),
    }
}
