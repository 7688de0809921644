//! The request of `init`: creates the missing folders and the marker, and gives them to the
//! daemon's user.
//!
//! # Guarantees
//! - Only files that this request has created get another owner, through the descriptors that it
//!   created or checked.
//! - A folder or marker that another user owns is refused, and stays as it is.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, geteuid, unlinkat};

use super::protocol::{
    ErrorKind, InitRequest, WorkerError, WorkerOperation, WorkerOwner, WorkerResponse,
};
use super::{NAME_ONLY, OPEN_BELOW, OPEN_DIRECTORY, ProbeWorker, report_operation};
use crate::common::{FileStatus, FileType};
use crate::probe::marker::{MARKER_FILE, MARKER_FOLDER};

/// Mode of a folder that `init` creates or repairs.
const FOLDER_MODE: u32 = 0o750;
/// Mode of a marker that `init` creates or repairs.
const MARKER_MODE: u32 = 0o640;
/// The bits of a mode that `init` sets: too many of them let other users change the store, and
/// without some of them the daemon cannot.
const PERMISSION_BITS: u32 = 0o777;

/// The decision about an existing or new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    /// The file gets the owner and the mode.
    Give,
    /// The file stays as it is, for this reason.
    Refuse(&'static str),
}

/// Decides about a file that is open. `created` is true if this request has just created a file of
/// this name, and `creator` is the user of this process. `is_empty` is true for a folder without
/// entries.
fn decide_handover(
    status: &FileStatus,
    expected: FileType,
    created: bool,
    is_empty: bool,
    creator: u32,
    owner: WorkerOwner,
) -> Handover {
    if status.file_type != expected {
        return Handover::Refuse("has another type");
    }
    if expected == FileType::Regular && status.links != 1 {
        return Handover::Refuse("has several hard links");
    }
    match (status.user == owner.uid, created) {
        (true, _) => Handover::Give,
        // Only the creator can put anything into a folder that it has created. Another directory
        // under this name is that of a user who has replaced the new one.
        (false, true) if status.user == creator && is_empty => Handover::Give,
        (false, true) => Handover::Refuse("was replaced while it was created"),
        (false, false) if status.user == 0 => {
            Handover::Refuse("belongs to root and was not created by this command")
        }
        (false, false) => Handover::Refuse("belongs to another user"),
    }
}

impl ProbeWorker {
    pub(super) fn prepare_store(&self, order: &InitRequest) -> Result<WorkerResponse, WorkerError> {
        let dir = self.directory()?;
        let (folder, created) = self.prepare_folder(dir, MARKER_FOLDER, order.owner, true)?;
        let response = match self.prepare_marker(&folder, order) {
            Err(failed) if created => {
                // The folder is of no use without a marker.
                let _ = unlinkat(dir, MARKER_FOLDER, UnlinkatFlags::RemoveDir);
                return Err(failed);
            }
            prepared => prepared?,
        };
        for name in &order.folders {
            self.prepare_folder(dir, name, order.owner, false)?;
        }
        Ok(response)
    }

    /// Creates a folder and gives it to the owner. An existing one is repaired if `repair` is true.
    /// Returns the open folder, and true if it was created.
    fn prepare_folder(
        &self,
        dir: &OwnedFd,
        name: &str,
        owner: Option<WorkerOwner>,
        repair: bool,
    ) -> Result<(OwnedFd, bool), WorkerError> {
        report_operation(WorkerOperation::Folder);
        let created = match mkdirat(dir, name, Mode::from_bits_truncate(FOLDER_MODE)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(self.errno_error(WorkerOperation::Folder, name, errno)),
        };
        report_operation(WorkerOperation::Open);
        // Existing folders other than that of the marker may be links. They stay as they are.
        let flags = if created || repair { OPEN_DIRECTORY | OPEN_BELOW } else { NAME_ONLY };
        let folder = openat(dir, name, flags, Mode::empty())
            .map_err(|errno| self.errno_error(WorkerOperation::Open, name, errno))?;
        let Some(owner) = owner.filter(|_| created || repair) else {
            return Ok((folder, created));
        };
        report_operation(WorkerOperation::Chown);
        let chown_error = |errno| self.errno_error(WorkerOperation::Chown, name, errno);
        let status = FileStatus::from(&fstat(&folder).map_err(chown_error)?);
        let is_empty = is_empty(&folder).map_err(chown_error)?;
        let creator = geteuid().as_raw();
        match decide_handover(&status, FileType::Folder, created, is_empty, creator, owner) {
            Handover::Give => {
                let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
                fchown(&folder, Some(uid), Some(gid)).map_err(chown_error)?;
                if status.mode & PERMISSION_BITS != FOLDER_MODE {
                    fchmod(&folder, Mode::from_bits_truncate(FOLDER_MODE)).map_err(chown_error)?;
                }
                Ok((folder, created))
            }
            Handover::Refuse(why) => Err(self.refused(name, why, &status, owner)),
        }
    }

    /// Creates the marker if there is none, and gives it to the owner. An existing one of the owner
    /// gets its mode.
    fn prepare_marker(
        &self,
        folder: &OwnedFd,
        order: &InitRequest,
    ) -> Result<WorkerResponse, WorkerError> {
        let path = format!("{MARKER_FOLDER}/{MARKER_FILE}");
        let chown_error = |errno| self.errno_error(WorkerOperation::Chown, &path, errno);
        report_operation(WorkerOperation::Marker);
        let marker = match openat(folder, MARKER_FILE, NAME_ONLY, Mode::empty()) {
            Ok(marker) => marker,
            Err(Errno::ENOENT) => {
                return self.write_marker_to(
                    folder,
                    &order.probe,
                    &order.marker,
                    None,
                    order.owner,
                );
            }
            Err(errno) => return Err(self.errno_error(WorkerOperation::Marker, &path, errno)),
        };
        let Some(owner) = order.owner else { return Ok(WorkerResponse::Done) };
        report_operation(WorkerOperation::Chown);
        let status = FileStatus::from(&fstat(&marker).map_err(chown_error)?);
        let creator = geteuid().as_raw();
        match decide_handover(&status, FileType::Regular, false, false, creator, owner) {
            Handover::Give => {
                let gid = Some(Gid::from_raw(owner.gid));
                fchownat(&marker, "", None, gid, AtFlags::AT_EMPTY_PATH).map_err(chown_error)?;
                if status.mode & PERMISSION_BITS != MARKER_MODE {
                    let same_file = format!("/proc/self/fd/{}", marker.as_raw_fd());
                    let mode = Mode::from_bits_truncate(MARKER_MODE);
                    fchmodat(AT_FDCWD, same_file.as_str(), mode, FchmodatFlags::FollowSymlink)
                        .map_err(chown_error)?;
                }
                Ok(WorkerResponse::Done)
            }
            Handover::Refuse(why) => Err(self.refused(&path, why, &status, owner)),
        }
    }

    fn refused(
        &self,
        below: &str,
        why: &str,
        status: &FileStatus,
        owner: WorkerOwner,
    ) -> WorkerError {
        let kind = ErrorKind::NotHandedOver {
            why: why.to_owned(),
            uid: status.user,
            gid: status.group,
            mode: status.mode,
            owner,
        };
        self.worker_error(WorkerOperation::Chown, below, kind)
    }
}

/// Returns true if a folder has no entries.
fn is_empty(folder: &OwnedFd) -> nix::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(folder, ".", flags, Mode::empty())?;
    for entry in entries.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: WorkerOwner = WorkerOwner { uid: 64, gid: 65 };

    #[test]
    fn only_new_files_and_those_of_the_owner_are_given() {
        let folder = |user| FileStatus {
            file_type: FileType::Folder,
            user,
            group: 0,
            mode: 0o755,
            links: 2,
        };
        let file = |user| FileStatus { file_type: FileType::Regular, links: 1, ..folder(user) };
        for (status, expected, created, is_empty, refused) in [
            (folder(0), FileType::Folder, true, true, None),
            (folder(64), FileType::Folder, false, false, None),
            (folder(64), FileType::Folder, true, false, None),
            (folder(0), FileType::Folder, true, false, Some("was replaced")),
            (folder(7), FileType::Folder, true, true, Some("was replaced")),
            (folder(0), FileType::Folder, false, true, Some("belongs to root")),
            (folder(7), FileType::Folder, false, false, Some("belongs to another user")),
            (file(64), FileType::Folder, false, false, Some("has another type")),
            (file(64), FileType::Regular, false, false, None),
            (file(0), FileType::Regular, false, false, Some("belongs to root")),
            (file(7), FileType::Regular, false, false, Some("belongs to another user")),
            (
                FileStatus { links: 2, ..file(64) },
                FileType::Regular,
                false,
                false,
                Some("has several hard links"),
            ),
            (
                FileStatus { file_type: FileType::Link, ..file(64) },
                FileType::Regular,
                false,
                false,
                Some("has another type"),
            ),
            (
                FileStatus { file_type: FileType::Other, ..file(64) },
                FileType::Regular,
                false,
                false,
                Some("has another type"),
            ),
        ] {
            let decision = decide_handover(&status, expected, created, is_empty, 0, OWNER);
            match (decision, refused) {
                (Handover::Give, None) => {}
                (Handover::Refuse(why), Some(part)) => assert!(why.starts_with(part), "{why}"),
                (other, _) => panic!("{status:?}: {other:?}"),
            }
        }
    }
}
