//! Opening the directory and looking around through the handle: the worker's first order.
#![expect(clippy::disallowed_methods, reason = "this is the process that may hang")]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statvfs::fstatvfs;

use super::protocol::{Failed, MarkerSeen, MountSeen, Observed, Statfs, Step, Why};
use super::{BELOW, DIRECTORY, Worker, at};
use crate::probe::marker::{FILE, FOLDER, MOST_BYTES};
use crate::probe::mountinfo;

impl Worker {
    pub(super) fn observe(&mut self, roots: &[String]) -> Result<Observed, Failed> {
        at(Step::Open);
        let opened = open(self.path.as_str(), DIRECTORY | OFlag::O_NONBLOCK, Mode::empty());
        let dir = opened.map_err(|errno| self.errno(Step::Open, "", errno))?;
        at(Step::Resolve);
        let target = self.target(&dir)?;
        if !roots.iter().any(|root| Path::new(&target).starts_with(root)) {
            return Err(self.failed(Step::Resolve, "", Why::OutsideRoots { target }));
        }
        let mount = self.mount(&dir)?;
        at(Step::Statfs);
        let raw = fstatvfs(&dir).map_err(|errno| self.errno(Step::Statfs, "", errno))?;
        let statfs = Statfs {
            fragment_size: raw.fragment_size(),
            blocks: raw.blocks(),
            blocks_available: raw.blocks_available(),
            files: raw.files(),
            files_available: raw.files_available(),
        };
        at(Step::Marker);
        let (folder, marker) = self.marker(&dir)?;
        at(Step::Contents);
        let registry = self.is_there(&dir, "registry")? || self.is_there(&dir, "export")?;
        self.dir = Some(dir);
        Ok(Observed { target, mount, statfs, folder, marker, registry })
    }

    fn target(&self, dir: &OwnedFd) -> Result<String, Failed> {
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let target =
            readlink(link.as_str()).map_err(|errno| self.errno(Step::Resolve, "", errno))?;
        target.into_string().map_err(|_| {
            let why = Why::Unexpected("its real path is not UTF-8".to_owned());
            self.failed(Step::Resolve, "", why)
        })
    }

    fn mount(&self, dir: &OwnedFd) -> Result<MountSeen, Failed> {
        let unread = |path: &str, error: io::Error| {
            let why = Why::Unexpected(format!("{path}: {error}"));
            self.failed(Step::Resolve, "", why)
        };
        let path = format!("/proc/self/fdinfo/{}", dir.as_raw_fd());
        let fdinfo = std::fs::read_to_string(&path).map_err(|error| unread(&path, error))?;
        let mounts = mountinfo::read().map_err(|error| unread("/proc/self/mountinfo", error))?;
        let id = mountinfo::mount_id(&fdinfo);
        let mount = mounts.iter().find(|mount| Some(mount.id) == id).ok_or_else(|| {
            let why = Why::Unexpected("its mount is not in /proc/self/mountinfo".to_owned());
            self.failed(Step::Resolve, "", why)
        })?;
        Ok(MountSeen::of(mount, &mounts))
    }

    /// Whether the folder is there, and what is in the marker's place.
    pub(crate) fn marker(&self, dir: &OwnedFd) -> Result<(bool, MarkerSeen), Failed> {
        let no_folder = |why: &str| (true, MarkerSeen::Unreadable(format!("{FOLDER} {why}")));
        let folder = match openat(dir, FOLDER, DIRECTORY | BELOW, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::ENOENT) => return Ok((false, MarkerSeen::Nothing)),
            Err(Errno::ELOOP) => return Ok(no_folder("is a symbolic link")),
            Err(Errno::ENOTDIR) => return Ok(no_folder("is not a directory")),
            Err(errno) => return Err(self.errno(Step::Marker, FOLDER, errno)),
        };
        let name = format!("{FOLDER}/{FILE}");
        let file = match openat(&folder, FILE, OFlag::O_RDONLY | BELOW, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok((true, MarkerSeen::Nothing)),
            Err(Errno::ELOOP) => {
                return Ok((true, MarkerSeen::Unreadable("it is a symbolic link".to_owned())));
            }
            // What `open` says of a socket, or of a device nobody drives.
            Err(Errno::ENXIO) => {
                return Ok((true, MarkerSeen::Unreadable("it is not a regular file".to_owned())));
            }
            Err(errno) => return Err(self.errno(Step::Marker, &name, errno)),
        };
        let kind = fstat(&file).map_err(|errno| self.errno(Step::Marker, &name, errno))?;
        if SFlag::from_bits_truncate(kind.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Ok((true, MarkerSeen::Unreadable("it is not a regular file".to_owned())));
        }
        let mut bytes = Vec::new();
        File::from(file).take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            self.errno(Step::Marker, &name, errno)
        })?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len > MOST_BYTES) {
            let why = format!("it is longer than {MOST_BYTES} bytes");
            return Ok((true, MarkerSeen::Unreadable(why)));
        }
        let seen = match String::from_utf8(bytes) {
            Ok(text) => MarkerSeen::Text(text),
            Err(_) => MarkerSeen::Unreadable("it is not UTF-8".to_owned()),
        };
        Ok((true, seen))
    }
}
