//! Reading of files that a setting names. They must be regular files of at most 1 MiB.
#![expect(
    clippy::disallowed_methods,
    reason = "reads what the settings name, never a store's path"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Maximum size of a file, in bytes (1 MiB). It is enough for about ten thousand callers or a
/// thousand certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file that may contain a secret. It blocks, so it must be called before the runtime
/// starts or on a separate thread.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a regular file, or is too large.
pub fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    check_regular(path)?;
    read_bounded(path)
}

/// Reads a file as [`read_file`] does, and requires UTF-8.
///
/// # Errors
/// Returns the errors of [`read_file`], and an error if the content is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    check_regular(path)?;
    read_any_text(path)
}

/// Reads text from a file that may be a pipe.
pub(crate) fn read_any_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = read_bounded(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// Checks that this process can read a file.
pub(super) fn check_readable(path: &Path) -> io::Result<()> {
    check_regular(path)?;
    File::open(path).map(drop)
}

/// Checks that a path is a regular file. It runs before the open, because opening a pipe would wait
/// for its writer.
fn check_regular(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // The capacity is reserved at once, because growing the buffer would leave copies of the secret
    // in memory.
    let size = file.metadata()?.len().min(MAX_FILE_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0)));
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read <= MAX_FILE_BYTES => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")),
    }
}
