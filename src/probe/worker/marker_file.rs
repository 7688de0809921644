//! Requests that change the directory permanently: they write and remove the marker and its folder.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, linkat, unlinkat};

use super::protocol::{
    ErrorKind, ReplacedMarker, WorkerError, WorkerOperation, WorkerOwner, WorkerResponse,
};
use super::{ProbeWorker, is_unsupported_sync, report_operation};
use crate::probe::marker::{MARKER_FILE, MARKER_FOLDER};

/// Makes the names in a directory durable. Some filesystems in user space and of the network have
/// no such operation. Their names are as durable as they make them.
fn sync_directory(dir: &OwnedFd) -> nix::Result<()> {
    match fsync(dir) {
        Err(errno) if is_unsupported_sync(errno) => Ok(()),
        synced => synced,
    }
}

/// Result of the call that gives the probe file the name of the marker.
enum MarkerInstallation {
    Done,
    /// Another writer has created a marker or used the probe file.
    Conflict,
    /// The call failed.
    Failed(WorkerError),
}

impl ProbeWorker {
    pub(super) fn write_marker(
        &self,
        probe: &str,
        text: &str,
        over: Option<&str>,
    ) -> Result<WorkerResponse, WorkerError> {
        let (folder, _) = self.open_marker_folder(false)?;
        self.write_marker_to(&folder, probe, text, over, None)
    }

    /// Writes the marker into an open folder. With `owner`, the new file gets this owner before it
    /// gets its name.
    pub(super) fn write_marker_to(
        &self,
        folder: &OwnedFd,
        probe: &str,
        text: &str,
        over: Option<&str>,
        owner: Option<WorkerOwner>,
    ) -> Result<WorkerResponse, WorkerError> {
        let (file, _) = self.create_file(folder, probe, text.as_bytes())?;
        if let Some(owner) = owner {
            report_operation(WorkerOperation::Chown);
            let probe_path = format!("{MARKER_FOLDER}/{probe}");
            fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(|errno| self.errno_error(WorkerOperation::Chown, &probe_path, errno))
                .inspect_err(|_| {
                    let _ = unlinkat(folder, probe, UnlinkatFlags::NoRemoveDir);
                })?;
        }
        let installed = self.install_marker(folder, probe, over)?;
        // The file on disk decides, not the result of the call. A server may have executed the
        // request twice, and another process with the same node id may have used the same probe
        // file.
        let (_, current) = self.observe_marker(self.directory()?)?;
        report_operation(WorkerOperation::Unlink);
        self.unlink_file(folder, probe)?;
        match installed {
            _ if current.is_marker(Some(text)) => {}
            MarkerInstallation::Done | MarkerInstallation::Conflict => {
                return Ok(WorkerResponse::Changed(current));
            }
            MarkerInstallation::Failed(error) => return Err(error),
        }
        let path = format!("{MARKER_FOLDER}/{MARKER_FILE}");
        report_operation(WorkerOperation::Sync);
        // The name is durable only with its directory (`fsync(2)`), and the folder only with its
        // parent.
        sync_directory(folder)
            .and_then(|()| sync_directory(self.dir.as_ref().unwrap_or(folder)))
            .map_err(|errno| self.errno_error(WorkerOperation::Sync, &path, errno))?;
        Ok(WorkerResponse::Done)
    }

    /// Gives the probe file the name of the marker. Unlike a rename, a hard link never replaces an
    /// existing file. If two writers find no marker, one of them therefore fails.
    fn install_marker(
        &self,
        folder: &OwnedFd,
        probe: &str,
        over: Option<&str>,
    ) -> Result<MarkerInstallation, WorkerError> {
        report_operation(WorkerOperation::Link);
        if over.is_none() {
            match linkat(folder, probe, folder, MARKER_FILE, AtFlags::empty()) {
                // The filesystem has no hard links. A check just before the rename must suffice
                // there.
                Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {}
                linked => return Ok(self.installation(WorkerOperation::Link, linked)),
            }
        }
        let (_, current) = self.observe_marker(self.directory()?)?;
        if !current.is_marker(over) {
            return Ok(MarkerInstallation::Conflict);
        }
        report_operation(WorkerOperation::Rename);
        let renamed = renameat(folder, probe, folder, MARKER_FILE);
        Ok(self.installation(WorkerOperation::Rename, renamed))
    }

    /// Returns the result of a call. It must be the last call of this thread, which has the number
    /// of an unnamed error.
    fn installation(&self, step: WorkerOperation, result: nix::Result<()>) -> MarkerInstallation {
        match result {
            Ok(()) => MarkerInstallation::Done,
            Err(Errno::EEXIST | Errno::ENOENT) => MarkerInstallation::Conflict,
            Err(errno) => {
                let path = format!("{MARKER_FOLDER}/{MARKER_FILE}");
                MarkerInstallation::Failed(self.errno_error(step, &path, errno))
            }
        }
    }

    pub(super) fn revert_claim(
        &self,
        probe: &str,
        marker: Option<&ReplacedMarker>,
        remove_folder: bool,
    ) -> Result<WorkerResponse, WorkerError> {
        let folder = match self.open_marker_folder(false) {
            Ok((folder, _)) => folder,
            Err(WorkerError { why: ErrorKind::NoFolder, .. }) => return Ok(WorkerResponse::Done),
            Err(error) => return Err(error),
        };
        report_operation(WorkerOperation::Unlink);
        self.unlink_file(&folder, probe)?;
        if let Some(marker) = marker {
            self.restore_marker(&folder, probe, marker)?;
        }
        if !remove_folder {
            return Ok(WorkerResponse::Done);
        }
        match unlinkat(self.directory()?, MARKER_FOLDER, UnlinkatFlags::RemoveDir) {
            // The folder contains files of another writer, so it stays.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => {
                Ok(WorkerResponse::Done)
            }
            Err(errno) => Err(self.errno_error(WorkerOperation::Unlink, MARKER_FOLDER, errno)),
        }
    }

    /// Reverts the claim: restores the marker before it, or removes the file if there was none. The
    /// file stays if it does not contain the claim, because the claim was never written or another
    /// writer has replaced it.
    fn restore_marker(
        &self,
        folder: &OwnedFd,
        probe: &str,
        marker: &ReplacedMarker,
    ) -> Result<(), WorkerError> {
        let (_, current) = self.observe_marker(self.directory()?)?;
        if !current.is_marker(Some(&marker.ours)) {
            return Ok(());
        }
        let path = format!("{MARKER_FOLDER}/{MARKER_FILE}");
        match &marker.before {
            Some(text) => {
                self.create_file(folder, probe, text.as_bytes())?;
                report_operation(WorkerOperation::Rename);
                renameat(folder, probe, folder, MARKER_FILE)
                    .map_err(|errno| self.errno_error(WorkerOperation::Rename, &path, errno))?;
            }
            None => {
                report_operation(WorkerOperation::Unlink);
                self.unlink_file(folder, MARKER_FILE)?;
            }
        }
        report_operation(WorkerOperation::Sync);
        sync_directory(folder)
            .map_err(|errno| self.errno_error(WorkerOperation::Sync, &path, errno))
    }
}
