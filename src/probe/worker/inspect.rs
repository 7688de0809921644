//! First request of a worker: opens the directory and examines it through the handle.
#![expect(clippy::disallowed_methods, reason = "this is the process that may hang")]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statvfs::fstatvfs;

use super::protocol::{
    DirectoryObservation, ErrorKind, FilesystemStats, MarkerState, MountState, WorkerError,
    WorkerOperation,
};
use super::{NAME_ONLY, OPEN_BELOW, OPEN_DIRECTORY, ProbeWorker, report_operation};
use crate::common::{FileStatus, FileType};
use crate::probe::marker::{MARKER_FILE, MARKER_FOLDER, MAX_MARKER_BYTES};
use crate::probe::mountinfo;

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
        let mount = self.observe_mount(&dir)?;
        report_operation(WorkerOperation::Statfs);
        let stats =
            fstatvfs(&dir).map_err(|errno| self.errno_error(WorkerOperation::Statfs, "", errno))?;
        let statfs = FilesystemStats {
            fragment_size: stats.fragment_size(),
            blocks: stats.blocks(),
            blocks_available: stats.blocks_available(),
            files: stats.files(),
            files_available: stats.files_available(),
        };
        report_operation(WorkerOperation::Marker);
        let (folder, marker) = self.observe_marker(&dir)?;
        report_operation(WorkerOperation::Contents);
        let registry = self.exists(&dir, "registry")? || self.exists(&dir, "export")?;
        self.dir = Some(dir);
        Ok(DirectoryObservation { target, mount, statfs, folder, marker, registry })
    }

    fn resolve_target(&self, dir: &OwnedFd) -> Result<String, WorkerError> {
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let target = readlink(link.as_str())
            .map_err(|errno| self.errno_error(WorkerOperation::Resolve, "", errno))?;
        target.into_string().map_err(|_| {
            let why = ErrorKind::Unexpected("its real path is not UTF-8".to_owned());
            self.worker_error(WorkerOperation::Resolve, "", why)
        })
    }

    fn observe_mount(&self, dir: &OwnedFd) -> Result<MountState, WorkerError> {
        let proc_error = |path: &str, error: io::Error| {
            let why = ErrorKind::Unexpected(format!("{path}: {error}"));
            self.worker_error(WorkerOperation::Resolve, "", why)
        };
        let path = format!("/proc/self/fdinfo/{}", dir.as_raw_fd());
        let fdinfo = std::fs::read_to_string(&path).map_err(|error| proc_error(&path, error))?;
        let mounts =
            mountinfo::read_mounts().map_err(|error| proc_error("/proc/self/mountinfo", error))?;
        let id = mountinfo::mount_id(&fdinfo);
        let mount = mounts.iter().find(|mount| Some(mount.id) == id).ok_or_else(|| {
            let why = ErrorKind::Unexpected("its mount is not in /proc/self/mountinfo".to_owned());
            self.worker_error(WorkerOperation::Resolve, "", why)
        })?;
        Ok(MountState::from_mount(mount, &mounts))
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
