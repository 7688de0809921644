//! The file of the report.
#![expect(clippy::disallowed_methods, reason = "the file that the operator names")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::linkat;
use serde_json::Value;
use tokio::time::Instant;

use super::super::OUTPUT_TIMEOUT;
use crate::common::{escape_json_hidden, print_bytes, run_blocking};

/// Maximum time to write the file. Its disk may hang.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Only the user of the command reads the file.
const FILE_MODE: u32 = 0o600;

/// Writes the report to a new file that only this user can read, or to the standard output. The
/// file must not exist: a report never replaces a file, and follows no symbolic link. Its name
/// appears when it is complete, if the filesystem has files without a name.
///
/// # Errors
/// Returns the reason why the report was not written.
pub(in crate::app::doctor) async fn write_report_file(
    target: &Path,
    is_stdout: bool,
    report: &Value,
) -> Result<(), String> {
    let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
    let bytes = format!("{}\n", escape_json_hidden(&text)).into_bytes();
    let path: PathBuf = target.to_owned();
    let is_late = Arc::new(AtomicBool::new(false));
    let late = Arc::clone(&is_late);
    let write = move || match is_stdout {
        true => print_bytes(&bytes).map(drop),
        false => write_new(&path, &bytes, &late),
    };
    let written = match is_stdout {
        // The reader may be slow, and a signal still ends this command.
        true => run_blocking(Instant::now() + OUTPUT_TIMEOUT, write).await,
        false => run_blocking(Instant::now() + WRITE_TIMEOUT, write).await,
    };
    // Work on a disk that hangs goes on when the disk does.
    is_late.store(true, Ordering::Relaxed);
    let shown = target.display();
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(format!("{shown} exists, and a report replaces no file: name another one"))
        }
        Ok(Err(error)) => Err(format!("cannot write {shown}: {error}")),
        Err(error) => Err(format!("cannot write {shown}: {error}")),
    }
}

/// Writes a new file whose name appears with its whole content. Nothing is left of a file that
/// cannot be completed, also if this process is killed.
fn write_new(path: &Path, bytes: &[u8], is_late: &AtomicBool) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A file without a name ends with its last descriptor (`O_TMPFILE` in open(2)).
    let unnamed = OpenOptions::new()
        .write(true)
        .mode(FILE_MODE)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(folder);
    match unnamed {
        Ok(mut file) => {
            write_all(&mut file, bytes, is_late)?;
            let open = format!("/proc/self/fd/{}", file.as_raw_fd());
            // Unlike a rename, a hard link never replaces a file (linkat(2)). Some filesystems have
            // no links, and some containers have no `/proc`.
            match linkat(AT_FDCWD, open.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW) {
                Err(error) if error != Errno::EEXIST => write_in_place(path, bytes, is_late),
                linked => Ok(linked?),
            }
        }
        Err(error) if is_unsupported(&error) => write_in_place(path, bytes, is_late),
        Err(error) => Err(error),
    }
}

/// Returns true if the filesystem has no files without a name. NFS and FAT have none.
fn is_unsupported(error: &io::Error) -> bool {
    // Kernels and filesystems that do not know the flag take the folder for the file (open(2)).
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOSYS)
    )
}

/// Writes a new file under its name. A file that cannot be completed is removed, unless this
/// process is killed.
fn write_in_place(path: &Path, bytes: &[u8], is_late: &AtomicBool) -> io::Result<()> {
    // `create_new` is O_EXCL, with which the last name may be no symbolic link (open(2)).
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    let written = write_all(&mut file, bytes, is_late);
    if written.is_err() {
        // A part of a report would look like one.
        let _ = fs::remove_file(path);
    }
    written
}

fn write_all(file: &mut File, bytes: &[u8], is_late: &AtomicBool) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()?;
    // The command has said that there is no report.
    if is_late.load(Ordering::Relaxed) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[tokio::test]
    async fn a_report_is_a_new_file_of_its_user_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let report = serde_json::json!({"a": "\u{202e}"});
        write_report_file(&path, false, &report).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": \"\\u202e\"\n}\n");
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        symlink(&target, &link).unwrap();
        for taken in [&path, &link] {
            let error = write_report_file(taken, false, &Value::Null).await.unwrap_err();
            assert!(error.contains("exists, and a report replaces no file"), "{error}");
        }
        assert!(!target.exists() && fs::read_to_string(&path).unwrap().contains("\"a\""));
        let nowhere = dir.path().join("no folder").join("report");
        let error = write_report_file(&nowhere, false, &report).await.unwrap_err();
        assert!(error.starts_with("cannot write") && error.contains("No such file"), "{error}");
    }

    /// Writes a file under a path, with true if the command has given up.
    type Write = fn(&Path, &[u8], &AtomicBool) -> io::Result<()>;

    #[test]
    fn a_file_is_complete_or_not_there_with_and_without_a_name_from_the_start() {
        for write in [write_new as Write, write_in_place] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("report");
            let (on_time, late) = (AtomicBool::new(false), AtomicBool::new(true));
            let error = write(&path, b"report", &late).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
            write(&path, b"report", &on_time).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let error = write(&path, b"another", &on_time).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"report");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // A filesystem without files that have no name, as that of `/sys`, is written in place.
        let open =
            OpenOptions::new().write(true).custom_flags(OFlag::O_TMPFILE.bits()).open("/sys");
        assert!(is_unsupported(&open.unwrap_err()));
        assert!(!is_unsupported(&Errno::ENOSPC.into()));
    }
}
