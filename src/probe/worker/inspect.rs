//! First request of a worker: opens the directory and examines it through the handle.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::statvfs::fstatvfs;

use super::protocol::{
    DirectoryObservation, ErrorKind, FilesystemStats, MarkerState, MountState, QuotaState,
    WorkerError, WorkerOperation,
};
use super::{NAME_ONLY, OPEN_BELOW, OPEN_DIRECTORY, ProbeWorker, report_operation};
use crate::common::{FileStatus, FileType};
use crate::model::MountedPart;
use crate::probe::marker::{MARKER_FILE, MARKER_FOLDER, MAX_MARKER_BYTES};
use crate::probe::mountinfo;
use crate::probe::mountinfo::{MountEntry, device_text, read_mount_id};
use crate::probe::root_disk::RootDisk;
use crate::probe::space;
use crate::probe::space::QuotaFigure;

/// Flags that open a folder only to measure it. The folder needs no permission to be read.
const OPEN_PATH: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// Maximum number of observations of a directory whose mount changes meanwhile. An operator changes
/// a mount once, and one more change is a coincidence.
const MAX_OBSERVATIONS: usize = 3;

impl ProbeWorker {
    /// Observes the directory and keeps its handle. An unmount with `umount -l` does not close the
    /// handle. The handle then shows a disk that the path no longer leads to, and the kernel gives
    /// its path without the mount point. An observation during such a change is repeated.
    pub(super) fn observe_directory(
        &mut self,
        roots: &[String],
    ) -> Result<DirectoryObservation, WorkerError> {
        for _ in 0..MAX_OBSERVATIONS {
            report_operation(WorkerOperation::Open);
            let flags = OPEN_DIRECTORY | OFlag::O_NONBLOCK;
            let opened = open(self.path.as_str(), flags, Mode::empty());
            let dir = opened.map_err(|errno| self.errno_error(WorkerOperation::Open, "", errno))?;
            let observed = self.observe_opened(&dir, roots);
            report_operation(WorkerOperation::Open);
            match (observed, self.is_still_mounted(&dir)) {
                (_, Ok(false)) => {}
                (Ok(observation), Ok(true)) => {
                    self.dir = Some(dir);
                    return Ok(observation);
                }
                (Err(error), Ok(true)) => return Err(error),
                // The error of the directory itself names the operation that it disturbs.
                (Err(error), Err(reopened)) if error.is_errno() && !reopened.is_missing() => {
                    return Err(error);
                }
                (_, Err(reopened)) => return Err(reopened),
            }
        }
        Err(self.worker_error(WorkerOperation::Open, "", ErrorKind::MountChanged))
    }

    fn observe_opened(
        &self,
        dir: &OwnedFd,
        roots: &[String],
    ) -> Result<DirectoryObservation, WorkerError> {
        report_operation(WorkerOperation::Resolve);
        let target = self.resolve_target(dir)?;
        if !roots.iter().any(|root| Path::new(&target).starts_with(root)) {
            return Err(self.worker_error(
                WorkerOperation::Resolve,
                "",
                ErrorKind::OutsideRoots { target },
            ));
        }
        let (mount, widest) = self.observe_mount(dir, Path::new(&target))?;
        report_operation(WorkerOperation::Statfs);
        let statfs =
            measure(dir).map_err(|errno| self.errno_error(WorkerOperation::Statfs, "", errno))?;
        let quota = observe_quota(dir, Path::new(&target), &statfs, &widest);
        report_operation(WorkerOperation::Marker);
        let (folder, marker) = self.observe_marker(dir)?;
        report_operation(WorkerOperation::Contents);
        let registry = self.exists(dir, "registry")? || self.exists(dir, "export")?;
        Ok(DirectoryObservation { target, mount, statfs, quota, folder, marker, registry })
    }

    /// Returns true if the path still leads to the mount of the opened directory. While a handle on
    /// a mount is open, the kernel gives the id of that mount to no other one.
    fn is_still_mounted(&self, dir: &OwnedFd) -> Result<bool, WorkerError> {
        let errno_error = |errno| self.errno_error(WorkerOperation::Open, "", errno);
        let now = open(self.path.as_str(), OPEN_PATH, Mode::empty()).map_err(errno_error)?;
        let (device, device_now) =
            (fstat(dir).map_err(errno_error)?, fstat(&now).map_err(errno_error)?);
        Ok(self.mount_id(dir)? == self.mount_id(&now)? && device.st_dev == device_now.st_dev)
    }

    fn mount_id(&self, handle: &OwnedFd) -> Result<Option<u64>, WorkerError> {
        read_mount_id(handle).map_err(|error| {
            let path = format!("/proc/self/fdinfo/{}", handle.as_raw_fd());
            self.proc_error(&path, &error)
        })
    }

    fn proc_error(&self, path: &str, error: &io::Error) -> WorkerError {
        let why = ErrorKind::Unexpected(format!("{path}: {error}"));
        self.worker_error(WorkerOperation::Resolve, "", why)
    }

    fn resolve_target(&self, dir: &OwnedFd) -> Result<String, WorkerError> {
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let target = readlink(link.as_str())
            .map_err(|errno| self.errno_error(WorkerOperation::Resolve, "", errno))?;
        target
            .into_string()
            .map_err(|_| self.worker_error(WorkerOperation::Resolve, "", ErrorKind::NotUtf8))
    }

    /// Returns the mount of the directory, and the same mount with the one that shows most of its
    /// filesystem.
    fn observe_mount(
        &self,
        dir: &OwnedFd,
        target: &Path,
    ) -> Result<(MountState, MountPair), WorkerError> {
        let id = self.mount_id(dir)?;
        let mounts = mountinfo::read_mounts()
            .map_err(|error| self.proc_error("/proc/self/mountinfo", &error))?;
        let device_of_root = stat("/").ok().map(|root| device_text(&root));
        let mount = match mounts.iter().find(|mount| Some(mount.id) == id) {
            Some(mount) => mount.clone(),
            None => unlisted_mount(dir, &mounts, target).ok_or_else(|| {
                let why =
                    ErrorKind::Unexpected("its mount is not in /proc/self/mountinfo".to_owned());
                self.worker_error(WorkerOperation::Resolve, "", why)
            })?,
        };
        let root_disk = RootDisk::from_mounts(&mounts, device_of_root.as_deref());
        let state = MountState::from_mount(&mount, &root_disk);
        let widest = space::widest_mount(&mount, &mounts).clone();
        Ok((state, MountPair { mount, widest }))
    }

    /// Reads the marker. The first value is true if the marker's folder exists.
    pub(crate) fn observe_marker(&self, dir: &OwnedFd) -> Result<(bool, MarkerState), WorkerError> {
        let unusable_folder =
            |why: &str| (true, MarkerState::Unreadable(format!("{MARKER_FOLDER} {why}")));
        let folder = match openat(dir, MARKER_FOLDER, OPEN_DIRECTORY | OPEN_BELOW, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::ENOENT) => return Ok((false, MarkerState::Nothing)),
            Err(Errno::ELOOP) => return Ok(unusable_folder("is a symbolic link")),
            Err(Errno::ENOTDIR) => return Ok(unusable_folder("is not a directory")),
            Err(errno) => {
                return Err(self.errno_error(WorkerOperation::Marker, MARKER_FOLDER, errno));
            }
        };
        let name = format!("{MARKER_FOLDER}/{MARKER_FILE}");
        // Opening a device could have an effect on it. Its type is therefore known before.
        let marker_error = |errno| self.errno_error(WorkerOperation::Marker, &name, errno);
        let named = match openat(&folder, MARKER_FILE, NAME_ONLY, Mode::empty()) {
            Ok(named) => named,
            Err(Errno::ENOENT) => return Ok((true, MarkerState::Nothing)),
            Err(errno) => return Err(marker_error(errno)),
        };
        match FileStatus::from(&fstat(&named).map_err(marker_error)?).file_type {
            FileType::Regular => {}
            FileType::Link => {
                return Ok((true, MarkerState::Unreadable("it is a symbolic link".to_owned())));
            }
            _ => {
                return Ok((true, MarkerState::Unreadable("it is not a regular file".to_owned())));
            }
        }
        // The same file, whatever the name stands for by now.
        let same_file = format!("/proc/self/fd/{}", named.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = open(same_file.as_str(), flags, Mode::empty()).map_err(marker_error)?;
        let mut bytes = Vec::new();
        File::from(file).take(MAX_MARKER_BYTES + 1).read_to_end(&mut bytes).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            self.errno_error(WorkerOperation::Marker, &name, errno)
        })?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_MARKER_BYTES) {
            let why = format!("it is longer than {MAX_MARKER_BYTES} bytes");
            return Ok((true, MarkerState::Unreadable(why)));
        }
        let marker = match String::from_utf8(bytes) {
            Ok(text) => MarkerState::Text(text),
            Err(_) => MarkerState::Unreadable("it is not UTF-8".to_owned()),
        };
        Ok((true, marker))
    }
}

/// The mount of a directory, and the mount that shows most of its filesystem.
struct MountPair {
    mount: MountEntry,
    widest: MountEntry,
}

/// Describes the mount of a directory in a chroot whose root is a folder. The mount table does not
/// list the mount of that folder. Returns `None` if the directory is on another mount, or if the
/// table lists a mount on `/`.
fn unlisted_mount(dir: &OwnedFd, mounts: &[MountEntry], target: &Path) -> Option<MountEntry> {
    let is_listed = |mount: &MountEntry| target.starts_with(&mount.mount_point);
    if mounts.iter().any(is_listed) {
        return None;
    }
    Some(MountEntry {
        id: 0,
        parent: 0,
        device: device_text(&fstat(dir).ok()?),
        root: "/".to_owned(),
        mount_point: "/".to_owned(),
        fs_type: "unknown".to_owned(),
        super_options: String::new(),
    })
}

fn measure(dir: &OwnedFd) -> nix::Result<FilesystemStats> {
    let stats = fstatvfs(dir)?;
    Ok(FilesystemStats {
        fragment_size: stats.fragment_size(),
        blocks: stats.blocks(),
        blocks_available: stats.blocks_available(),
        files: stats.files(),
        files_available: stats.files_available(),
    })
}

/// Compares the directory with its filesystem. If a quota limits the directory, finds the folder
/// with that quota: the highest one that has the same figure.
fn observe_quota(
    dir: &OwnedFd,
    target: &Path,
    statfs: &FilesystemStats,
    mounts: &MountPair,
) -> QuotaState {
    let MountPair { mount, widest } = mounts;
    // A mount of a folder does not show if a folder above it has a quota.
    let without_quota = match widest.part() {
        MountedPart::Whole => QuotaState::None,
        MountedPart::Folder(_) => QuotaState::Unknown,
    };
    let depth = space::depth_below(mount, target);
    if depth == 0 && widest.id == mount.id {
        return without_quota;
    }
    let Some(figure) = find_quota_figure(dir, statfs, widest) else { return QuotaState::Unknown };
    let Some(figure) = figure else { return without_quota };
    let mut top = target;
    let mut parent = openat(dir, "..", OPEN_PATH, Mode::empty());
    for folder in target.ancestors().skip(1).take(depth) {
        let Ok(opened) = parent else { break };
        if !measure(&opened).is_ok_and(|stats| figure.of(&stats) == figure.of(statfs)) {
            break;
        }
        top = folder;
        parent = openat(&opened, "..", OPEN_PATH, Mode::empty());
    }
    space::path_in_filesystem(mount, top).map_or(QuotaState::Unknown, QuotaState::Folder)
}

/// Returns the figure in which the directory differs from its filesystem, if there is one. Returns
/// `None` if the filesystem cannot be measured, for example because another mount covers it.
fn find_quota_figure(
    dir: &OwnedFd,
    before: &FilesystemStats,
    widest: &MountEntry,
) -> Option<Option<QuotaFigure>> {
    let top = open(widest.mount_point.as_str(), OPEN_PATH, Mode::empty()).ok()?;
    if read_mount_id(&top).ok()? != Some(widest.id) {
        return None;
    }
    let filesystem = measure(&top).ok()?;
    let after = measure(dir).ok()?;
    Some(QuotaFigure::between(before, &filesystem, &after))
}
