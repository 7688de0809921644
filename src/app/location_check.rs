//! The look of `check-config` at the locations that a start uses: the state directory, and the
//! folder of the Unix socket. It changes nothing, and a daemon that runs there does not count.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FileStat, SFlag, lstat, stat};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use crate::common::{ErrorChain, inspect_folder};
use crate::ledger::{StateDirError, UnsafeStatePath, inspect_state_dir, read_node_id};
use crate::settings::{FilePolicy, SettingFault, Settings};

pub(super) const STATE_DIR: &str = "state.dir";
const SOCKET: &str = "server.socket";

/// The faults of the locations that a start uses, and those that it only warns of.
#[derive(Debug, Default)]
pub(super) struct LocationReport {
    pub(super) faults: Vec<SettingFault>,
    pub(super) warnings: Vec<SettingFault>,
}

/// Looks at the locations. The socket does not count if `opens_socket` is false, because the
/// process has inherited one.
pub(super) fn inspect_locations(settings: &Settings, opens_socket: bool) -> LocationReport {
    let policy = FilePolicy::of_daemon(&settings.state);
    let mut report = LocationReport::default();
    inspect_state(&settings.state.dir, &policy, &mut report);
    if opens_socket {
        inspect_socket(settings, &policy, &mut report);
    }
    report
}

fn inspect_state(dir: &Path, policy: &FilePolicy, report: &mut LocationReport) {
    let mut add = |problem: String, allowed: &str| {
        report.faults.push(location_fault(STATE_DIR, dir, problem, allowed));
    };
    match stat(dir) {
        Ok(found) if is_folder(&found) => inspect_state_folder(dir, &found, policy, report),
        Ok(_) => add("is not a directory".to_owned(), "a directory, or an absent path"),
        // A start creates the directory, and no folder above it. A link to nowhere is an entry.
        Err(Errno::ENOENT) if lstat(dir).is_err() => {
            let parent = dir.parent().unwrap_or(dir);
            let allowed = "a directory in a folder that exists, and that the daemon can write to";
            if let Some(problem) = parent_problem(parent) {
                add(problem, allowed);
            }
        }
        Err(errno) => add(format!("cannot be used: {errno}"), "a directory"),
    }
}

fn inspect_state_folder(
    dir: &Path,
    found: &FileStat,
    policy: &FilePolicy,
    report: &mut LocationReport,
) {
    let own = "a directory of the daemon alone";
    let unsafe_paths = inspect_state_dir(dir, policy).unwrap_or_else(|error| {
        report.faults.push(location_fault(STATE_DIR, dir, ErrorChain(&error).to_string(), own));
        Vec::new()
    });
    for UnsafeStatePath { path, risk, is_permitted } in unsafe_paths {
        let list = if is_permitted { &mut report.warnings } else { &mut report.faults };
        let problem = StateDirError::Unsafe { path, risk }.to_string();
        list.push(location_fault(STATE_DIR, dir, problem, own));
    }
    // The user of the check may be unable to read the file, and the daemon able to.
    if let Err(error @ StateDirError::NodeId { .. }) = read_node_id(dir) {
        let whole = "a state directory whose file node-id has an id";
        report.faults.push(location_fault(STATE_DIR, dir, error.to_string(), whole));
    }
    let writable = "a directory that the daemon's user can write to";
    if let Some(problem) = write_problem(dir) {
        report.faults.push(location_fault(STATE_DIR, dir, problem, writable));
    } else if let Some(problem) = owner_problem(found) {
        report.warnings.push(location_fault(STATE_DIR, dir, problem, writable));
    }
}

fn inspect_socket(settings: &Settings, policy: &FilePolicy, report: &mut LocationReport) {
    let socket = &settings.server.socket;
    let folder = socket.parent().unwrap_or(socket);
    // A start creates the state directory first.
    let is_created = folder == settings.state.dir && stat(folder) == Err(Errno::ENOENT);
    let mut add = |problem: String, allowed: &str| {
        report.faults.push(location_fault(SOCKET, socket, problem, allowed));
    };
    if let Some(problem) = parent_problem(folder).filter(|_| !is_created) {
        add(problem, "a path in a folder that exists, and that the daemon can write to");
        return;
    }
    if lstat(socket).is_ok_and(|found| file_type(&found) != SFlag::S_IFSOCK) {
        add("the file at this path is not a socket".to_owned(), "an absent path, or a socket");
    }
    if let Ok(Some(risk)) = inspect_folder(folder, policy.trusted) {
        let problem = format!("its folder {} {risk}", folder.display());
        let allowed = "a folder that only root and the daemon's user can write to";
        let fault = location_fault(SOCKET, socket, problem, allowed);
        let list = if policy.takes_unsafe { &mut report.warnings } else { &mut report.faults };
        list.push(fault);
    }
}

/// Returns the reason why a start could not create an entry in this folder, or `None`.
fn parent_problem(folder: &Path) -> Option<String> {
    let shown = folder.display();
    match stat(folder) {
        Ok(found) if is_folder(&found) => write_problem(folder),
        Ok(_) => Some(format!("{shown} is not a directory")),
        Err(Errno::ENOENT) => Some(format!("its folder {shown} does not exist")),
        Err(errno) => Some(format!("its folder {shown} cannot be used: {errno}")),
    }
}

/// Returns the reason why this process could not create an entry in this folder, or `None`.
fn write_problem(folder: &Path) -> Option<String> {
    let access = AccessFlags::W_OK | AccessFlags::X_OK;
    let errno = faccessat(AT_FDCWD, folder, access, AtFlags::AT_EACCESS).err()?;
    Some(match errno {
        Errno::EACCES => {
            format!("the user {} cannot write to {}", geteuid(), folder.display())
        }
        errno => format!("{} cannot be written to: {errno}", folder.display()),
    })
}

/// Returns the reason why the owner of a folder cannot write to it, if another user asks, or
/// `None`.
fn owner_problem(folder: &FileStat) -> Option<String> {
    let is_open = folder.st_mode & 0o700 == 0o700;
    let mode = folder.st_mode & 0o7777;
    (!is_open && folder.st_uid != geteuid().as_raw()).then(|| {
        format!("its owner, the user {}, cannot write to it (mode {mode:04o})", folder.st_uid)
    })
}

fn is_folder(found: &FileStat) -> bool {
    file_type(found) == SFlag::S_IFDIR
}

fn file_type(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

pub(super) fn location_fault(
    key: &str,
    path: &Path,
    problem: String,
    allowed: &str,
) -> SettingFault {
    SettingFault { allowed: Some(allowed.to_owned()), ..SettingFault::in_file(key, path, problem) }
}
