//! The process that first touches a path of the options and of `TMPDIR`: a dead disk holds this
//! process instead of `doctor`, which leaves it behind.
#![expect(clippy::disallowed_methods, reason = "this process may hang, and doctor does not")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::stat::{SFlag, stat};
use nix::unistd::mkdtemp;

use super::child::{ChildError, OWN_PROGRAM, run_child};
use crate::common::print_text;

/// The word that makes this program the worker. It is not a command for users.
pub const PATH_WORKER: &str = "path-worker";
/// The task to create a private folder in a folder, and to print its name.
const CREATE_FOLDER: &str = "create-folder";
/// The task to read files.
const READ_FILES: &str = "read-files";
/// Maximum number of bytes that are read of a file. It is the size of the largest secret.
const MAX_READ_BYTES: u64 = 64 * 1024;

/// Performs one task. `args` are its word and its paths.
pub fn path_worker_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let task = args.next();
    match task.as_deref().and_then(OsStr::to_str) {
        Some(CREATE_FOLDER) => {
            match args.next().and_then(|parent| create_folder(parent.as_ref())) {
                Some(name) if print_text(&name).is_ok() => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Some(READ_FILES) => {
            // The reader of the file reports why it cannot be read.
            args.for_each(|path| drop(read_regular(path.as_ref())));
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// Creates a folder that only this user can use (`mkdtemp(3)`), and returns its name.
fn create_folder(parent: &Path) -> Option<String> {
    let path = mkdtemp(&parent.join("imagestore-agent-doctor-XXXXXX")).ok()?;
    path.file_name()?.to_str().map(str::to_owned)
}

/// Reads a regular file. A pipe can be read only once, and not here.
fn read_regular(path: &Path) -> io::Result<()> {
    let kind = SFlag::from_bits_truncate(stat(path)?.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFREG {
        io::copy(&mut File::open(path)?.take(MAX_READ_BYTES), &mut io::sink())?;
    }
    Ok(())
}

/// Creates a private folder for temporary files. There is none if its disk denies it or does not
/// respond within `limit`.
pub(super) async fn create_temporary_folder(limit: Duration) -> Option<PathBuf> {
    let parent = std::path::absolute(std::env::temp_dir()).ok()?;
    let output = run_task(CREATE_FOLDER, &[&parent], limit).await.ok()?;
    (!output.is_empty()).then(|| parent.join(output))
}

/// Reads the files once, so that their disks are known to respond within `limit`.
///
/// # Errors
/// Returns the reason why that is not known.
pub(super) async fn try_files(paths: &[&Path], limit: Duration) -> Result<(), String> {
    if paths.is_empty() {
        return Ok(());
    }
    match run_task(READ_FILES, paths, limit).await {
        Ok(_) => Ok(()),
        Err(ChildError::TimedOut) => Err("its disk does not respond".to_owned()),
        Err(ChildError::NotStarted(error)) => Err(format!("a process of its own: {error}")),
    }
}

async fn run_task(task: &str, paths: &[&Path], limit: Duration) -> Result<String, ChildError> {
    let words = [PATH_WORKER, task].map(OsStr::new);
    let args = words.into_iter().chain(paths.iter().map(|path| path.as_os_str()));
    run_child(OWN_PROGRAM, args, limit).await.map(|output| output.stdout)
}
