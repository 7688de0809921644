//! Opening of a file or folder, one component of its path after the other, so that the folders on
//! the way and the links are known.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::{FileRisk, FileStatus, FileType, TrustedOwner, folder_risk};

/// Maximum number of links on the way, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Flags of a descriptor that only names a file. Opening it has no effect on the file.
const NAME_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A file that was opened for reading.
#[derive(Debug)]
pub struct OpenedFile {
    /// The file.
    pub file: File,
    /// Status of the opened file.
    pub status: FileStatus,
    /// The risk of the folders on the way, if there is one.
    pub folder_risk: Option<FileRisk>,
}

/// Opens a regular file or, if `accepts_pipes` is true, a pipe. It follows links. Only opening a
/// pipe waits, for a writer.
///
/// # Errors
/// Returns the error of the system, or [`io::ErrorKind::InvalidInput`] for a file of another type.
pub fn open_file(
    path: &Path,
    accepts_pipes: bool,
    trusted: TrustedOwner,
) -> io::Result<OpenedFile> {
    let PathEnd { parent, name, found, folder_risk, .. } = resolve(path, trusted)?;
    let mut flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let status = match found {
        // The kernel resolves a link of /proc to an open file by itself.
        Found::OpenLink => None,
        Found::Entry(status, _) => {
            flags |= OFlag::O_NOFOLLOW;
            Some(status)
        }
    };
    let accepted = |file_type: FileType| match file_type {
        FileType::Regular => true,
        FileType::Pipe => accepts_pipes,
        _ => false,
    };
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, FileRisk::NotRegular.to_string());
    if status.is_some_and(|status| !accepted(status.file_type)) {
        return Err(refused());
    }
    if status.is_some_and(|status| status.file_type == FileType::Regular) {
        // A pipe that has replaced the file must not delay this call.
        flags |= OFlag::O_NONBLOCK;
    }
    let file = File::from(openat(&parent, name.as_os_str(), flags, Mode::empty())?);
    let status = FileStatus::from(&fstat(&file)?);
    if !accepted(status.file_type) {
        return Err(refused());
    }
    Ok(OpenedFile { file, status, folder_risk })
}

/// Opens a folder. It follows links. The second value is the risk of the folder or of those above
/// it, if there is one.
///
/// # Errors
/// Returns the error of the system.
pub fn open_folder(path: &Path, trusted: TrustedOwner) -> io::Result<(OwnedFd, Option<FileRisk>)> {
    let PathEnd { parent, name, folder_risk: above, .. } = resolve(path, trusted)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = openat(&parent, name.as_os_str(), flags, Mode::empty())?;
    let status = FileStatus::from(&fstat(&folder)?);
    Ok((folder, folder_risk(&status, trusted.user, trusted).or(above)))
}

/// Returns the risk of a folder or of those above it for the entries of trusted users, or `None` if
/// there is none.
///
/// # Errors
/// Returns the error of the system.
pub fn inspect_folder(path: &Path, trusted: TrustedOwner) -> io::Result<Option<FileRisk>> {
    open_folder(path, trusted).map(|(_, risk)| risk)
}

/// The last component of a path, after all links.
pub(super) struct PathEnd {
    /// The folder that holds the entry.
    parent: OwnedFd,
    /// Name of the entry.
    name: OsString,
    pub(super) found: Found,
    folder_risk: Option<FileRisk>,
    /// Path of the entry, without links.
    pub(super) shown: PathBuf,
}

/// The entry at the end of a path.
pub(super) enum Found {
    /// A file of the folder.
    Entry(FileStatus, OwnedFd),
    /// A link of /proc to an open file, which has no path.
    OpenLink,
}

/// A folder on the way of a path, in which an entry is looked up.
pub(super) struct FolderOnWay<'a> {
    pub(super) folder: &'a OwnedFd,
    pub(super) shown: &'a Path,
    pub(super) status: FileStatus,
}

/// Resolves a path, and checks each folder on the way.
fn resolve(path: &Path, trusted: TrustedOwner) -> io::Result<PathEnd> {
    let mut risk = None;
    let mut end = walk_path(path, |FolderOnWay { shown, status, .. }, entry| {
        if risk.is_none() {
            let found = folder_risk(&status, entry.user, trusted);
            risk = found.map(|risk| FileRisk::Folder { path: shown.into(), risk: Box::new(risk) });
        }
    })?;
    end.folder_risk = risk;
    Ok(end)
}

/// Resolves a path as `path_resolution(7)` describes it. Calls `visit` with each folder on the way
/// and with the entry that is looked up in it.
pub(super) fn walk_path(
    path: &Path,
    mut visit: impl FnMut(FolderOnWay<'_>, &FileStatus),
) -> io::Result<PathEnd> {
    let mut rest: VecDeque<OsString> = components(path);
    let (mut folder, mut shown) = start_of(path)?;
    let mut links = 0;
    loop {
        // The path of a root folder has no components.
        let name = rest.pop_front().unwrap_or_else(|| OsString::from("."));
        let is_last = rest.is_empty();
        let entry = open_entry(&folder, &name, !is_last)?;
        let status = FileStatus::from(&fstat(&entry)?);
        let folder_status = FileStatus::from(&fstat(&folder)?);
        visit(FolderOnWay { folder: &folder, shown: &shown, status: folder_status }, &status);
        match status.file_type {
            FileType::Link => {
                if is_last && fstatfs(&folder)?.filesystem_type() == PROC_SUPER_MAGIC {
                    let found = Found::OpenLink;
                    return Ok(PathEnd { parent: folder, name, found, folder_risk: None, shown });
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let target = PathBuf::from(readlinkat(&entry, "")?);
                for part in components(&target).into_iter().rev() {
                    rest.push_front(part);
                }
                if target.is_absolute() {
                    (folder, shown) = start_of(&target)?;
                }
            }
            _ if is_last => {
                let found = Found::Entry(status, entry);
                shown.push(&name);
                return Ok(PathEnd { parent: folder, name, found, folder_risk: None, shown });
            }
            FileType::Folder => {
                shown.push(&name);
                folder = entry;
            }
            _ => return Err(Errno::ENOTDIR.into()),
        }
    }
}

/// Opens an entry without following a link. A folder on the way is opened as one, which mounts it
/// if it is an automount point.
fn open_entry(folder: impl AsFd + Copy, name: &OsStr, as_folder: bool) -> nix::Result<OwnedFd> {
    if as_folder
        && let Ok(entry) = openat(folder, name, NAME_ONLY | OFlag::O_DIRECTORY, Mode::empty())
    {
        return Ok(entry);
    }
    openat(folder, name, NAME_ONLY, Mode::empty())
}

/// Opens the folder that a path starts from: the root, or the current one.
fn start_of(path: &Path) -> nix::Result<(OwnedFd, PathBuf)> {
    let start = if path.is_absolute() { "/" } else { "." };
    let folder = openat(AT_FDCWD, start, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok((folder, PathBuf::from(start)))
}

/// Returns the components of a path below its start. `..` stays a component.
fn components(path: &Path) -> VecDeque<OsString> {
    use std::path::Component;
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}
