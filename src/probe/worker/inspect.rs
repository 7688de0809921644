//! First request of a worker: opens the directory and examines it through the handle.
#![expect(clippy::disallowed_methods, reason = "this is the process that may hang")]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor, stat};
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
use crate::probe::mountinfo::MountEntry;
use crate::probe::root_disk::RootDisk;
use crate::probe::space;
use crate::probe::space::QuotaFigure;

/// Flags that open a folder only to measure it. The folder needs no permission to be read.
const OPEN_PATH: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl ProbeWorker {
    pub(super) fn observe_directory(
        &mut self,
        roots: &[String],
    ) -> Result<DirectoryObservation, WorkerError> {
        report_operation(WorkerOperation::Open);
        let opened = open(self.path.as_str(), OPEN_DIRECTORY | OFlag::O_NONBLOCK, Mode::empty());
        let dir = opened.map_err(|errno| self.errno_error(WorkerOperation::Open, "", errno))?;
        report_operation(WorkerOperation::Resolve);
        let target = self.resolve_target(&dir)?;
        if !roots.iter().any(|root| Path::new(&target).starts_with(root)) {
            return Err(self.worker_error(
                WorkerOperation::Resolve,
                "",
                ErrorKind::OutsideRoots { target },
            ));
        }
        let (mount, widest) = self.observe_mount(&dir, Path::new(&target))?;
        report_operation(WorkerOperation::Statfs);
        let statfs =
            measure(&dir).map_err(|errno| self.errno_error(WorkerOperation::Statfs, "", errno))?;
        let quota = observe_quota(&dir, Path::new(&target), &statfs, &widest);
        report_operation(WorkerOperation::Marker);
        let (folder, marker) = self.observe_marker(&dir)?;
        report_operation(WorkerOperation::Contents);
        let registry = self.exists(&dir, "registry")? || self.exists(&dir, "export")?;
        self.dir = Some(dir);
        Ok(DirectoryObservation { target, mount, statfs, quota, folder, marker, registry })
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
        let proc_error = |path: &str, error: io::Error| {
            let why = ErrorKind::Unexpected(format!("{path}: {error}"));
            self.worker_error(WorkerOperation::Resolve, "", why)
        };
        let path = format!("/proc/self/fdinfo/{}", dir.as_raw_fd());
        let id = read_mount_id(dir).map_err(|error| proc_error(&path, error))?;
        let mounts =
            mountinfo::read_mounts().map_err(|error| proc_error("/proc/self/mountinfo", error))?;
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

fn read_mount_id(file: &OwnedFd) -> io::Result<Option<u64>> {
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    Ok(mountinfo::mount_id(&fdinfo))
}

fn device_text(stat_result: &FileStat) -> String {
    format!("{}:{}", major(stat_result.st_dev), minor(stat_result.st_dev))
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
