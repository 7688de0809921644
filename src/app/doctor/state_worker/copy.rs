//! The copy of the ledger that `doctor` reads, made by the process that looks at the state
//! directory.
//!
//! # Never
//! - It never copies a ledger that another process uses.
#![expect(clippy::disallowed_methods, reason = "this is the process that may hang")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{FcntlArg, Flock, OFlag, fcntl};
use nix::libc;

use crate::app::doctor::state_report::{CopyState, LockState};
use crate::ledger::LEDGER_FILE;

/// Maximum size of the ledger with its log that is copied, in bytes (256 MiB). A larger one would
/// fill the folder of temporary files.
const MAX_COPY_BYTES: u64 = 256 << 20;
/// The suffixes of the files of a ledger. The index of the log (`-shm`) is made anew.
const COPIED_SUFFIXES: [&str; 3] = ["", "-wal", "-journal"];

/// Opens a file of the state directory. It follows no link, and waits for no pipe.
pub(super) fn open_own_file(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// Copies the ledger, unless another process may use it. `held` is the shared lock.
pub(super) fn copy_state(
    dir: &Path,
    to: Option<&Path>,
    lock: &LockState,
    held: Option<Flock<File>>,
) -> CopyState {
    let need = match (lock, to) {
        (LockState::Held(_), _) => "the daemon, which uses the ledger now".to_owned(),
        (LockState::Unknown(problem), _) => problem.clone(),
        (LockState::Free | LockState::Absent, None) => "a folder for temporary files".to_owned(),
        (LockState::Free | LockState::Absent, Some(to)) => {
            let copied = copy_ledger(dir, to, *lock == LockState::Absent);
            // The lock lasts as long as the copy.
            drop(held);
            match copied {
                Ok(state) => return state,
                Err(error) => format!("a copy of the ledger: {error}"),
            }
        }
    };
    CopyState::Skipped(need)
}

/// Copies the files of the ledger. `is_unlocked` is true if no lock keeps a daemon away.
fn copy_ledger(dir: &Path, to: &Path, is_unlocked: bool) -> io::Result<CopyState> {
    let mut files = Vec::new();
    for suffix in COPIED_SUFFIXES {
        let name = format!("{LEDGER_FILE}{suffix}");
        match open_own_file(&dir.join(&name)) {
            Ok(file) => files.push((name, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let Some((_, ledger)) = files.first() else { return Ok(CopyState::Absent) };
    let ledger = ledger.try_clone()?;
    let in_use =
        || Ok(CopyState::Skipped("the end of the process that uses the ledger now".to_owned()));
    if is_unlocked && is_in_use(&ledger)? {
        return in_use();
    }
    let mut size: u64 = 0;
    for (name, file) in &files {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other(format!("{name} is not a regular file")));
        }
        size = size.saturating_add(metadata.len());
    }
    if size > MAX_COPY_BYTES {
        let need = format!("a ledger of at most {MAX_COPY_BYTES} bytes; it has {size}");
        return Ok(CopyState::Skipped(need));
    }
    for (name, file) in files {
        let mut options = OpenOptions::new();
        let mut copy = options.write(true).create_new(true).mode(0o600).open(to.join(name))?;
        io::copy(&mut file.take(MAX_COPY_BYTES), &mut copy)?;
    }
    if is_unlocked && is_in_use(&ledger)? {
        return in_use();
    }
    Ok(CopyState::Copied)
}

/// Returns true if another process has opened the ledger with SQLite, which then holds a lock on a
/// part of the file. This takes no lock itself.
fn is_in_use(ledger: &File) -> io::Result<bool> {
    let kind = |kind: libc::c_int| i16::try_from(kind).map_err(io::Error::other);
    let mut lock = libc::flock {
        l_type: kind(libc::F_WRLCK)?,
        l_whence: kind(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(ledger, FcntlArg::F_GETLK(&mut lock))?;
    Ok(lock.l_type != kind(libc::F_UNLCK)?)
}
