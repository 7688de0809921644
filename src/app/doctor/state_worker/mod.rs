//! The process that looks at the state directory for `doctor`. It may sleep in the kernel forever,
//! and `doctor` does not wait for it.
//!
//! # Never
//! - It never changes the state directory. It only copies the ledger out of it.

mod copy;

use std::fs::File;
use std::io::{self, BufRead as _, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{FileStat, SFlag, lstat, stat};
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};

use super::lock_holder::holds_lock;
use super::state_report::{
    CopyState, DiskNumbers, KeyState, LockState, NodeIdProblem, StateReport, StateRequest,
};
use crate::app::daemon_access::DaemonUser;
use crate::common::{ErrorChain, FileAccess, TrustedOwner, find_denied_access, print_bytes};
use crate::diagnosis::StateDirProblem;
use crate::ledger::{
    LEDGER_FILE, LOCK_FILE, LedgerCopy, MASTER_KEY_FILE, NODE_ID_FILE, SecretSealer, StateDirError,
    read_node_id,
};
use crate::settings::{STATE_FILES, StateSettings, state_file_access};
use copy::{copy_state, open_own_file};

/// Maximum length of the request, in bytes: two paths and a folder.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;

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
        Ok((status, _)) if file_type(&status) != SFlag::S_IFDIR => {
            return unusable(dir, Errno::ENOTDIR);
        }
        Ok(found) => found,
        Err(errno) => return unusable(dir, errno),
    };
    let user = AccessUser::of(dir, &status);
    let (lock, held) = try_lock(dir);
    let ledger = copy_state(dir, request.copy_to.as_deref(), &lock, held);
    let node_id = node_id(dir, &user);
    let is_first_start = node_id == Ok(None) && ledger == CopyState::Absent;
    StateReport {
        write_problem: write_problem(dir, &status, &disk, &user),
        disk: Ok(disk_numbers(&disk)),
        knows_access: !matches!(user, AccessUser::Unknown),
        key: key_state(request, &user, &ledger, is_first_start),
        node_id,
        daemon: match &user {
            AccessUser::Daemon(user) => Some((user.account.user, user.account.groups.clone())),
            AccessUser::Own | AccessUser::Unknown => None,
        },
        ledger,
        lock,
    }
}

fn unusable(dir: &Path, errno: Errno) -> StateReport {
    let problem = format!("{}: {}", dir.display(), errno.desc());
    let lock = match errno {
        Errno::ENOENT => LockState::Absent,
        _ => LockState::Unknown(problem.clone()),
    };
    let parent = dir.parent().unwrap_or(dir);
    // A link to nowhere is an entry, which a start does not replace.
    let is_absent = errno == Errno::ENOENT && lstat(dir) == Err(Errno::ENOENT);
    let disk = match errno {
        Errno::ENOENT if is_absent && can_have_entry(parent) => {
            StateDirProblem::Absent(dir.display().to_string())
        }
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES | Errno::EPERM => {
            StateDirProblem::Unusable(problem.clone())
        }
        _ => StateDirProblem::Trouble(problem.clone()),
    };
    let may_create = || access(parent, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    StateReport {
        knows_access: match errno {
            Errno::EACCES => false,
            _ => !is_absent || geteuid().is_root() || may_create(),
        },
        write_problem: None,
        key: KeyState::Unreadable(problem.clone()),
        node_id: Ok(None),
        daemon: None,
        ledger: CopyState::Skipped("state.dir".to_owned()),
        lock,
        disk: Err(disk),
    }
}

/// Returns true if the path is a folder on a filesystem that is not mounted read-only.
fn can_have_entry(folder: &Path) -> bool {
    let is_writable = |disk: Statvfs| !disk.flags().contains(FsFlags::ST_RDONLY);
    stat(folder).is_ok_and(|status| file_type(&status) == SFlag::S_IFDIR)
        && statvfs(folder).is_ok_and(is_writable)
}

fn file_type(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

fn node_id(dir: &Path, user: &AccessUser) -> Result<Option<String>, NodeIdProblem> {
    // Root can read the file although the daemon's user may not.
    if let Some(text) = user.denial(&dir.join(NODE_ID_FILE), FileAccess::Read) {
        return Err(NodeIdProblem { text, is_denied: false });
    }
    read_node_id(dir).map(|id| id.map(|id| id.to_string())).map_err(|error| NodeIdProblem {
        text: ErrorChain(&error).to_string(),
        is_denied: matches!(user, AccessUser::Unknown)
            && matches!(&error, StateDirError::Unusable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied),
    })
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
    let is_link = |path: &Path| lstat(path).is_ok_and(|it| file_type(&it) == SFlag::S_IFLNK);
    if let Some(link) = STATE_FILES.iter().map(|name| dir.join(name)).find(|it| is_link(it)) {
        return Some(format!("{} is a link, and the daemon follows none", link.display()));
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

fn key_state(
    request: &StateRequest,
    user: &AccessUser,
    ledger: &CopyState,
    is_first_start: bool,
) -> KeyState {
    let default_path = request.dir.join(MASTER_KEY_FILE);
    let path = request.key_file.as_deref().unwrap_or(&default_path);
    match stat(path) {
        Ok(_) => match user.denial(path, FileAccess::Read) {
            None => try_key(request, ledger, is_first_start),
            Some(problem) => KeyState::Unreadable(problem),
        },
        Err(Errno::ENOENT) => KeyState::Missing,
        Err(errno) => KeyState::Unreadable(format!("{}: {}", path.display(), errno.desc())),
    }
}

/// Tries the key on the secrets of the copied ledger. Without a copy, its form is verified.
fn try_key(request: &StateRequest, ledger: &CopyState, is_first_start: bool) -> KeyState {
    let state = StateSettings {
        dir: request.dir.clone(),
        master_key_file: request.key_file.clone(),
        core_dumps: false,
        trust_file_modes: request.trust_file_modes,
    };
    // A file that disappears meanwhile is not created again.
    let sealer = match SecretSealer::load_key(&state, None, true) {
        Ok(sealer) => sealer,
        Err(error) => return KeyState::Useless(ErrorChain(&error).to_string()),
    };
    if let Err(fault) = sealer.verify_form() {
        return KeyState::Useless(fault.details().to_owned());
    }
    let copy = request.copy_to.as_ref().map(|folder| folder.join(LEDGER_FILE));
    let tried = match (ledger, copy) {
        (CopyState::Copied, Some(copy)) => LedgerCopy::try_key(&copy, &sealer),
        _ => is_first_start.then_some(Ok(0)),
    };
    match tried.transpose() {
        Ok(opened) => KeyState::Usable { opened },
        Err(fault) => KeyState::Useless(fault.details().to_owned()),
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
