//! The process that looks at the state directory for `doctor`. It may sleep in the kernel forever,
//! and `doctor` does not wait for it.
//!
//! # Never
//! - It never changes the state directory. It only copies the ledger out of it.
#![expect(clippy::disallowed_methods, reason = "this is the process that may hang")]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{FileStat, stat};
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};

use super::lock_holder::holds_lock;
use super::state_report::{CopyState, DiskNumbers, KeyState, LockState, StateReport, StateRequest};
use crate::app::daemon_access::DaemonUser;
use crate::common::{ErrorChain, FileAccess, TrustedOwner, find_denied_access, print_bytes};
use crate::ledger::{LEDGER_FILE, LOCK_FILE, MASTER_KEY_FILE, read_node_id};
use crate::settings::{STATE_FILES, state_file_access};

/// Maximum length of the request, in bytes: two paths and a folder.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;
/// Maximum size of the ledger with its log that is copied, in bytes (256 MiB). A larger one would
/// fill the folder of temporary files.
const MAX_COPY_BYTES: u64 = 256 << 20;
/// The suffixes of the files of a ledger. The index of the log (`-shm`) is made anew.
const COPIED_SUFFIXES: [&str; 3] = ["", "-wal", "-journal"];

/// Reads one request on stdin, and writes one report to stdout.
pub fn state_worker_main() -> ExitCode {
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_REQUEST_BYTES).read_line(&mut line);
    let request = read.ok().and_then(|_| serde_json::from_str::<StateRequest>(&line).ok());
    let Some(request) = request else { return ExitCode::FAILURE };
    let Ok(mut report) = serde_json::to_vec(&look_at(&request)) else { return ExitCode::FAILURE };
    report.push(b'\n');
    match print_bytes(&report) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn look_at(request: &StateRequest) -> StateReport {
    let dir = request.dir.as_path();
    let found = stat(dir).and_then(|status| Ok((status, statvfs(dir)?)));
    let (status, disk) = match found {
        Ok(found) => found,
        Err(errno) => return unusable(dir, errno),
    };
    let user = AccessUser::of(dir, &status);
    let key = key_state(request, &user);
    let (lock, held) = try_lock(dir);
    StateReport {
        write_problem: write_problem(dir, &status, &disk, &user),
        disk: Ok(disk_numbers(&disk)),
        knows_access: !matches!(user, AccessUser::Unknown),
        key,
        node_id: match read_node_id(dir) {
            Ok(id) => Ok(id.map(|id| id.to_string())),
            Err(error) => Err(ErrorChain(&error).to_string()),
        },
        daemon: match &user {
            AccessUser::Daemon(user) => Some((user.account.user, user.account.groups.clone())),
            AccessUser::Own | AccessUser::Unknown => None,
        },
        ledger: copy_state(dir, request.copy_to.as_deref(), &lock, held),
        lock,
    }
}

fn unusable(dir: &Path, errno: Errno) -> StateReport {
    let problem = format!("{}: {}", dir.display(), errno.desc());
    let lock = match errno {
        Errno::ENOENT => LockState::Absent,
        _ => LockState::Unknown(problem.clone()),
    };
    StateReport {
        knows_access: errno != Errno::EACCES,
        write_problem: None,
        key: KeyState::Unreadable(problem.clone()),
        node_id: Ok(None),
        daemon: None,
        ledger: CopyState::Skipped("the state directory".to_owned()),
        lock,
        disk: Err(problem),
    }
}

/// The user whose access decides.
enum AccessUser {
    /// This process is root, and the daemon has another user.
    Daemon(DaemonUser),
    /// This process has the access of the daemon.
    Own,
    /// This process is neither root nor the daemon's user.
    Unknown,
}

impl AccessUser {
    fn of(dir: &Path, status: &FileStat) -> Self {
        let own = geteuid();
        let trusted = TrustedOwner { user: status.st_uid, group: status.st_gid };
        match DaemonUser::other_than_process(trusted, dir) {
            Some(daemon) => Self::Daemon(daemon),
            None if own.is_root() || own.as_raw() == status.st_uid => Self::Own,
            None => Self::Unknown,
        }
    }

    /// Returns the reason why the user cannot use the file. A file that does not exist is no
    /// reason.
    fn denial(&self, path: &Path, wanted: FileAccess) -> Option<String> {
        match self {
            Self::Daemon(daemon) => {
                let denied = find_denied_access(path, &daemon.account, wanted).ok().flatten()?;
                // The service may have this group, although the user database does not say so.
                if denied.denial.is_granted_to_group {
                    return None;
                }
                let (user, mode) = (daemon.account.user, denied.status.mode);
                let verb = match denied.access {
                    FileAccess::Read => "read",
                    FileAccess::ReadAndWrite => "read and write",
                    FileAccess::Search => "search the folder",
                };
                let path = denied.path.display();
                Some(format!("the daemon's user {user} cannot {verb} {path} (mode {mode:04o})"))
            }
            Self::Own => {
                let flags = match wanted {
                    FileAccess::Read => AccessFlags::R_OK,
                    FileAccess::ReadAndWrite => AccessFlags::R_OK | AccessFlags::W_OK,
                    FileAccess::Search => AccessFlags::X_OK,
                };
                match access(path, flags) {
                    Ok(()) | Err(Errno::ENOENT) => None,
                    Err(errno) => Some(format!("{}: {}", path.display(), errno.desc())),
                }
            }
            Self::Unknown => None,
        }
    }
}

/// Returns the reason why the daemon cannot write in the directory.
fn write_problem(
    dir: &Path,
    status: &FileStat,
    disk: &Statvfs,
    user: &AccessUser,
) -> Option<String> {
    /// Bits of the owner that let it create a file.
    const OWNER_WRITES: u32 = 0o300;
    if disk.flags().contains(FsFlags::ST_RDONLY) {
        return Some(format!("the filesystem of {} is read-only", dir.display()));
    }
    if let Some(denied) = user.denial(dir, FileAccess::Search) {
        return Some(denied);
    }
    if status.st_mode & OWNER_WRITES != OWNER_WRITES && status.st_uid != 0 {
        let mode = status.st_mode & 0o7777;
        return Some(format!(
            "the owner of {} cannot write to it (mode {mode:04o})",
            dir.display()
        ));
    }
    let files = STATE_FILES.iter().map(|name| (dir.join(name), state_file_access(name)));
    let mut written = files.filter(|(_, access)| *access == FileAccess::ReadAndWrite);
    written.find_map(|(path, access)| user.denial(&path, access))
}

#[allow(clippy::useless_conversion, reason = "the counts have 32 bits on some targets")]
fn disk_numbers(disk: &Statvfs) -> DiskNumbers {
    let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(disk.fragment_size()));
    DiskNumbers {
        total_bytes: bytes(disk.blocks()),
        available_bytes: bytes(disk.blocks_available()),
        total_inodes: u64::from(disk.files()),
        available_inodes: u64::from(disk.files_available()),
    }
}

fn key_state(request: &StateRequest, user: &AccessUser) -> KeyState {
    let default_path = request.dir.join(MASTER_KEY_FILE);
    let path = request.key_file.as_deref().unwrap_or(&default_path);
    match stat(path) {
        Ok(_) => match user.denial(path, FileAccess::Read) {
            None => KeyState::Readable,
            Some(problem) => KeyState::Unreadable(problem),
        },
        Err(Errno::ENOENT) => KeyState::Missing,
        Err(errno) => KeyState::Unreadable(format!("{}: {}", path.display(), errno.desc())),
    }
}

/// Takes the lock shared, without waiting. A daemon that starts meanwhile waits for it.
fn try_lock(dir: &Path) -> (LockState, Option<Flock<File>>) {
    let path = dir.join(LOCK_FILE);
    let file = match open_own_file(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (LockState::Absent, None),
        Err(error) => {
            return (LockState::Unknown(format!("{}: {error}", path.display())), None);
        }
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(held) => (LockState::Free, Some(held)),
        Err((file, Errno::EWOULDBLOCK)) => {
            let inode = file.metadata().ok().map(|it| it.ino());
            let mut text = String::new();
            // The process id only serves the message.
            let _ = file.take(32).read_to_string(&mut text);
            let is_holder = |pid: &u32| inode.is_some_and(|inode| holds_lock(*pid, inode));
            (LockState::Held(text.trim().parse().ok().filter(is_holder)), None)
        }
        Err((_, errno)) => (LockState::Unknown(errno.desc().to_owned()), None),
    }
}

/// Opens a file of the state directory. It follows no link, and waits for no pipe.
fn open_own_file(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

fn copy_state(
    dir: &Path,
    to: Option<&Path>,
    lock: &LockState,
    held: Option<Flock<File>>,
) -> CopyState {
    let need = match (lock, to) {
        (LockState::Absent, _) => return CopyState::Absent,
        (LockState::Held(_), _) => "the daemon, which uses the ledger now".to_owned(),
        (LockState::Unknown(problem), _) => problem.clone(),
        (LockState::Free, None) => "a folder for temporary files".to_owned(),
        (LockState::Free, Some(to)) => {
            let copied = copy_ledger(dir, to);
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

fn copy_ledger(dir: &Path, to: &Path) -> io::Result<CopyState> {
    let mut files = Vec::new();
    for suffix in COPIED_SUFFIXES {
        let name = format!("{LEDGER_FILE}{suffix}");
        match open_own_file(&dir.join(&name)) {
            Ok(file) => files.push((name, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() {
        return Ok(CopyState::Absent);
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
    Ok(CopyState::Copied)
}
