//! Worker process: carries out requests on one handle and reports the results. It may sleep in the
//! kernel forever, and the daemon does not wait for it. The daemon finds workers of an earlier
//! daemon by their process name.
#![expect(clippy::disallowed_methods, reason = "this is the process that may hang")]

pub(super) mod handover;
pub(super) mod inspect;
pub(super) mod marker_file;
pub(super) mod protocol;
mod worker_user;

use std::ffi::CString;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::prctl::set_name;
use nix::sys::stat::{FileStat, Mode, fstatat, lstat, mkdirat, stat, umask};
use nix::unistd::{UnlinkatFlags, fdatasync, unlinkat};

use rustix::fs::{AtFlags as StatxAt, CWD, StatxAttributes, StatxFlags, statx};

use super::marker::MARKER_FOLDER;
use protocol::{
    AccessModes, AttributeState, ErrorKind, FileAttribute, WorkerError, WorkerOperation,
    WorkerRequest, WorkerResponse,
};
pub(super) use worker_user::user_args;

/// Size of the probe file, in bytes. It is one page, so that a disk that mishandles small writes is
/// detected.
const PROBE_FILE_BYTES: usize = 4096;
/// Maximum length of a request, in bytes. A path of 2048 characters and a list of roots fit into
/// it.
const MAX_REQUEST_BYTES: u64 = 256 * 1024;

/// Prefix of the process names of workers. No other program's name begins with it.
pub(crate) const PROCESS_NAME_PREFIX: &str = "isw-";

pub(super) const OPEN_DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// Flags for everything below the directory. They follow no symbolic link and wait for no FIFO.
pub(super) const OPEN_BELOW: OFlag =
    OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

/// Flags of a descriptor that only names an object, and does not open a device.
pub(super) const NAME_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Runs the worker on stdin and stdout until stdin closes. The process then ends even in the middle
/// of a request, so a daemon that dies leaves no worker behind that can still be ended.
///
/// The first thread carries out the requests, so the process state in `/proc` is the state of the
/// work. A second thread waits for the next request.
pub fn worker_main() -> ExitCode {
    umask(Mode::from_bits_truncate(0o027));
    if worker_user::become_user(std::env::args().skip(2)).is_err() {
        return ExitCode::FAILURE;
    }
    // The daemon sends the next request only after the report on the last one.
    let (sender, requests) = mpsc::sync_channel(1);
    let listener = thread::Builder::new().name("requests".to_owned());
    if listener.spawn(move || end_process(read_requests(&sender))).is_err() {
        return ExitCode::FAILURE;
    }
    let mut worker = ProbeWorker { dir: None, path: String::new() };
    for request in requests {
        let response = worker.execute(request).unwrap_or_else(WorkerResponse::Failed);
        if write_response(&response).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::FAILURE
}

/// Returns the process name of the worker for this directory: the prefix and eleven hexadecimal
/// digits. That is the longest name that the kernel accepts (15 bytes, `TASK_COMM_LEN`,
/// `prctl(2)`).
pub(crate) fn process_name(dir: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, dir.as_bytes());
    let digits = data_encoding::HEXLOWER.encode(digest.as_ref());
    format!("{PROCESS_NAME_PREFIX}{}", digits.get(..11).unwrap_or_default())
}

/// Forwards requests until stdin closes or a line is not a valid request. Returns true if stdin
/// closed.
fn read_requests(sender: &SyncSender<WorkerRequest>) -> bool {
    let mut requests = io::stdin().lock().take(MAX_REQUEST_BYTES);
    loop {
        let mut line = String::new();
        match requests.read_line(&mut line) {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        requests.set_limit(MAX_REQUEST_BYTES);
        let Ok(request) = serde_json::from_str(&line) else { return false };
        if sender.send(request).is_err() {
            return false;
        }
    }
}

/// Ends the process during any operation. The marker is always put in place as a complete file, so
/// no partial marker remains.
fn end_process(closed: bool) {
    std::process::exit(i32::from(!closed))
}

fn write_response(response: &WorkerResponse) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    io::stdout().write_all(&line)?;
    io::stdout().flush()
}

/// The only handle of the process, and the path that it was opened with.
pub(super) struct ProbeWorker {
    pub(crate) dir: Option<OwnedFd>,
    pub(crate) path: String,
}

impl ProbeWorker {
    fn execute(&mut self, request: WorkerRequest) -> Result<WorkerResponse, WorkerError> {
        match request {
            WorkerRequest::Open { dir, roots } => {
                self.path = dir;
                // Only a daemon that starts after a crash needs the name, so an error is ignored.
                let _ = CString::new(process_name(&self.path)).map(|name| set_name(&name));
                self.observe_directory(&roots)
                    .map(|observation| WorkerResponse::Observed(Box::new(observation)))
            }
            WorkerRequest::Write { probe, make_folder } => {
                self.write_probe_file(&probe, make_folder)
            }
            WorkerRequest::Mark { probe, text, over } => {
                self.write_marker(&probe, &text, over.as_deref())
            }
            WorkerRequest::Release { probe, marker, folder } => {
                self.revert_claim(&probe, marker.as_ref(), folder)
            }
            WorkerRequest::Prepare(order) => self.prepare_store(&order),
        }
    }

    pub(crate) fn directory(&self) -> Result<&OwnedFd, WorkerError> {
        let not_opened = ErrorKind::Unexpected("the directory has not been opened".to_owned());
        self.dir.as_ref().ok_or_else(|| self.worker_error(WorkerOperation::Open, "", not_opened))
    }

    pub(super) fn exists(&self, dir: &OwnedFd, name: &str) -> Result<bool, WorkerError> {
        match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.errno_error(WorkerOperation::Contents, name, errno)),
        }
    }

    /// Opens the marker's folder, and creates it first if `make` is true and it does not exist. The
    /// second value is true if this call created the folder.
    pub(crate) fn open_marker_folder(&self, make: bool) -> Result<(OwnedFd, bool), WorkerError> {
        let dir = self.directory()?;
        let mut made = false;
        if make {
            report_operation(WorkerOperation::Folder);
            made = match mkdirat(dir, MARKER_FOLDER, Mode::from_bits_truncate(0o750)) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => {
                    return Err(self.errno_error(WorkerOperation::Folder, MARKER_FOLDER, errno));
                }
            };
        }
        report_operation(WorkerOperation::Open);
        match openat(dir, MARKER_FOLDER, OPEN_DIRECTORY | OPEN_BELOW, Mode::empty()) {
            Ok(folder) => Ok((folder, made)),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => {
                Err(self.worker_error(WorkerOperation::Open, MARKER_FOLDER, ErrorKind::NoFolder))
            }
            Err(errno) => Err(self.errno_error(WorkerOperation::Open, MARKER_FOLDER, errno)),
        }
    }

    /// Creates a file with these contents, syncs it, and returns it open. The second value is false
    /// if the filesystem cannot sync a file. A file that an earlier probe left is replaced.
    pub(super) fn create_file(
        &self,
        folder: &OwnedFd,
        name: &str,
        bytes: &[u8],
    ) -> Result<(OwnedFd, bool), WorkerError> {
        let path = format!("{MARKER_FOLDER}/{name}");
        report_operation(WorkerOperation::Create);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OPEN_BELOW;
        let mode = Mode::from_bits_truncate(0o640);
        let file = match openat(folder, name, flags, mode) {
            Err(Errno::EEXIST) => {
                self.unlink_file(folder, name)?;
                openat(folder, name, flags, mode)
            }
            opened => opened,
        };
        let file = file.map_err(|errno| self.errno_error(WorkerOperation::Create, &path, errno))?;
        report_operation(WorkerOperation::Write);
        let mut rest = bytes;
        while !rest.is_empty() {
            match nix::unistd::write(&file, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    let error = self.errno_error(WorkerOperation::Write, &path, errno);
                    // On a full disk an empty file would stay behind.
                    let _ = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
                    return Err(error);
                }
            }
        }
        report_operation(WorkerOperation::Sync);
        match fdatasync(&file) {
            Ok(()) => Ok((file, true)),
            Err(errno) if is_unsupported_sync(errno) => Ok((file, false)),
            Err(errno) => {
                let error = self.errno_error(WorkerOperation::Sync, &path, errno);
                let _ = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
                Err(error)
            }
        }
    }

    pub(super) fn unlink_file(&self, folder: &OwnedFd, name: &str) -> Result<(), WorkerError> {
        match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.errno_error(
                WorkerOperation::Unlink,
                &format!("{MARKER_FOLDER}/{name}"),
                errno,
            )),
        }
    }

    fn write_probe_file(
        &self,
        probe: &str,
        make_folder: bool,
    ) -> Result<WorkerResponse, WorkerError> {
        let (folder, made_folder) = self.open_marker_folder(make_folder)?;
        let start = Instant::now();
        let created = self.create_file(&folder, probe, &[0; PROBE_FILE_BYTES]);
        let written = created.and_then(|(_, synced)| {
            report_operation(WorkerOperation::Unlink);
            self.unlink_file(&folder, probe).map(|()| synced)
        });
        if written.is_err() && made_folder {
            // The folder is of no use without a successful write.
            let _ = unlinkat(self.directory()?, MARKER_FOLDER, UnlinkatFlags::RemoveDir);
        }
        let synced = written?;
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(WorkerResponse::Written { micros, made_folder, synced })
    }

    pub(super) fn errno_error(
        &self,
        step: WorkerOperation,
        below: &str,
        errno: Errno,
    ) -> WorkerError {
        // A filesystem in user space may return a number that nix has no name for.
        let number = match errno {
            Errno::UnknownErrno => Errno::last_raw(),
            errno => errno as i32,
        };
        let mut error = self.worker_error(step, below, ErrorKind::Errno(number));
        if matches!(errno, Errno::EACCES | Errno::EPERM) {
            let on_the_way = step == WorkerOperation::Open && below.is_empty();
            error.access =
                if on_the_way { self.blocked_ancestor() } else { self.denying_object(step, below) };
        }
        if errno == Errno::EPERM
            && let Some(access) = &mut error.access
        {
            access.attribute = self.forbidding_attribute(below);
        }
        error
    }

    pub(super) fn worker_error(
        &self,
        step: WorkerOperation,
        below: &str,
        why: ErrorKind,
    ) -> WorkerError {
        let path = match below {
            "" => self.path.clone(),
            below => format!("{}/{below}", self.path),
        };
        WorkerError { step, dir: self.path.clone(), path, why, access: None }
    }

    /// Returns the modes of the deepest path on the way to the directory that can still be
    /// examined.
    fn blocked_ancestor(&self) -> Option<Box<AccessModes>> {
        let mut way = Path::new(&self.path).ancestors();
        let (path, stat_result) = way.find_map(|path| Some((path, stat(path).ok()?)))?;
        Some(Box::new(access_modes(&stat_result, Some(path.display().to_string()))))
    }

    /// Returns the modes of the object that denied access in the directory. If the object does not
    /// exist, they are those of its closest existing parent. Unlink and rename are decided by the
    /// permissions of the directory that holds the name.
    fn denying_object(&self, step: WorkerOperation, below: &str) -> Option<Box<AccessModes>> {
        let whole = Path::new(&self.path).join(below);
        let decided_above = matches!(step, WorkerOperation::Unlink | WorkerOperation::Rename);
        let mut way = whole.ancestors().skip(usize::from(decided_above));
        way.find_map(|path| lstat(path).ok())
            .map(|stat_result| Box::new(access_modes(&stat_result, None)))
    }

    /// Returns the attribute of the object, or of its folder, that forbids the change.
    fn forbidding_attribute(&self, below: &str) -> AttributeState {
        let whole = Path::new(&self.path).join(below);
        let inside = whole.ancestors().take_while(|path| path.starts_with(&self.path)).take(2);
        let states: Vec<_> = inside.filter_map(|path| attribute_at(path).ok()).collect();
        let is_set = |state: &&AttributeState| matches!(state, AttributeState::Set { .. });
        match states.iter().find(is_set) {
            Some(set) => set.clone(),
            None if states.contains(&AttributeState::NotSet) => AttributeState::NotSet,
            None => AttributeState::Unknown,
        }
    }
}

/// Returns the attribute of one object that forbids changes.
fn attribute_at(path: &Path) -> rustix::io::Result<AttributeState> {
    let seen = statx(CWD, path, StatxAt::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    let set = [
        (StatxAttributes::IMMUTABLE, FileAttribute::Immutable),
        (StatxAttributes::APPEND, FileAttribute::AppendOnly),
    ];
    let known = set.iter().all(|(flag, _)| seen.stx_attributes_mask.contains(*flag));
    let found = set.into_iter().find(|(flag, _)| seen.stx_attributes.contains(*flag));
    Ok(match found {
        Some((_, attribute)) => AttributeState::Set { path: path.display().to_string(), attribute },
        None if known => AttributeState::NotSet,
        None => AttributeState::Unknown,
    })
}

fn access_modes(stat_result: &FileStat, blocked: Option<String>) -> AccessModes {
    AccessModes {
        uid: stat_result.st_uid,
        gid: stat_result.st_gid,
        mode: stat_result.st_mode & 0o7777,
        blocked,
        attribute: AttributeState::Unknown,
    }
}

/// Returns true if the error of a sync only says that the filesystem has no such operation
/// (`fsync(2)`).
pub(super) fn is_unsupported_sync(errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS)
}

/// Reports the operation that follows, so that the daemon knows it if the operation never ends. A
/// write error is ignored, because the daemon may be gone.
pub(super) fn report_operation(step: WorkerOperation) {
    let _ = write_response(&WorkerResponse::At(step));
}
