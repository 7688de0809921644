//! The marker and its folder: the worker's orders whose effect stays.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, linkat, unlinkat};

use super::protocol::{Failed, Replaced, Report, Step, Why};
use super::{BELOW, DIRECTORY, Worker, at};
use crate::probe::marker::{FILE, FOLDER};

impl Worker {
    pub(super) fn mark(
        &self,
        probe: &str,
        text: &str,
        over: Option<&str>,
    ) -> Result<Report, Failed> {
        let (folder, _) = self.folder(false)?;
        self.create(&folder, probe, text.as_bytes())?;
        let put = self.put(&folder, probe, over)?;
        // What lies there now decides, not what the call said: a server may have done what it was told
        // twice, and somebody with our node's id may have used our probe file.
        let (_, there) = self.marker(self.dir()?)?;
        at(Step::Unlink);
        self.unlink(&folder, probe)?;
        let path = format!("{FOLDER}/{FILE}");
        match put {
            _ if there.is(Some(text)) => {}
            Ok(()) | Err(Errno::EEXIST | Errno::ENOENT) => return Ok(Report::Changed(there)),
            Err(errno) => return Err(self.errno(Step::Link, &path, errno)),
        }
        at(Step::Sync);
        // The name is durable with its directory (`fsync(2)`), and the folder with the one above.
        fsync(&folder)
            .and_then(|()| fsync(self.dir.as_ref().unwrap_or(&folder)))
            .map_err(|errno| self.errno(Step::Sync, &path, errno))?;
        Ok(Report::Done)
    }

    /// Gives the probe file the marker's name. A second name never covers another's file as a rename
    /// does, so that of two who find no marker one fails.
    fn put(
        &self,
        folder: &OwnedFd,
        probe: &str,
        over: Option<&str>,
    ) -> Result<nix::Result<()>, Failed> {
        at(Step::Link);
        if over.is_none() {
            match linkat(folder, probe, folder, FILE, AtFlags::empty()) {
                // A filesystem without second names: there a look just before must do.
                Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {}
                linked => return Ok(linked),
            }
        }
        let (_, there) = self.marker(self.dir()?)?;
        if !there.is(over) {
            return Ok(Err(Errno::EEXIST));
        }
        at(Step::Rename);
        Ok(renameat(folder, probe, folder, FILE))
    }

    pub(super) fn release(
        &self,
        probe: &str,
        marker: Option<&Replaced>,
        made_folder: bool,
    ) -> Result<Report, Failed> {
        let folder = match self.folder(false) {
            Ok((folder, _)) => folder,
            Err(Failed { why: Why::NoFolder, .. }) => return Ok(Report::Done),
            Err(failed) => return Err(failed),
        };
        at(Step::Unlink);
        self.unlink(&folder, probe)?;
        if let Some(marker) = marker {
            self.restore(&folder, probe, marker)?;
        }
        if !made_folder {
            return Ok(Report::Done);
        }
        match unlinkat(self.dir()?, FOLDER, UnlinkatFlags::RemoveDir) {
            // Somebody else's things are in it: then it is not ours to take away.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(Report::Done),
            Err(errno) => Err(self.errno(Step::Unlink, FOLDER, errno)),
        }
    }

    /// Takes our marker back. One that was never written, or that somebody has written since, stays.
    fn restore(&self, folder: &OwnedFd, probe: &str, marker: &Replaced) -> Result<(), Failed> {
        let (_, there) = self.marker(self.dir()?)?;
        if !there.is(Some(&marker.ours)) {
            return Ok(());
        }
        let path = format!("{FOLDER}/{FILE}");
        match &marker.before {
            Some(text) => {
                self.create(folder, probe, text.as_bytes())?;
                at(Step::Rename);
                renameat(folder, probe, folder, FILE)
                    .map_err(|errno| self.errno(Step::Rename, &path, errno))?;
            }
            None => {
                at(Step::Unlink);
                self.unlink(folder, FILE)?;
            }
        }
        at(Step::Sync);
        fsync(folder).map_err(|errno| self.errno(Step::Sync, &path, errno))
    }

    pub(super) fn prepare(
        &self,
        folders: &[String],
        owner: Option<(u32, u32)>,
    ) -> Result<Report, Failed> {
        let dir = self.dir()?;
        for name in folders {
            at(Step::Folder);
            match mkdirat(dir, name.as_str(), Mode::from_bits_truncate(0o750)) {
                Ok(()) => self.give(dir, name, owner)?,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.errno(Step::Folder, name, errno)),
            }
        }
        // Also where they were there: that is what a person runs this for.
        self.give(dir, FOLDER, owner)?;
        let (folder, _) = self.folder(false)?;
        if self.is_there(&folder, FILE)? {
            self.give_file(&folder, owner)?;
        }
        Ok(Report::Done)
    }

    fn give(&self, dir: &OwnedFd, name: &str, owner: Option<(u32, u32)>) -> Result<(), Failed> {
        let Some((uid, gid)) = owner else { return Ok(()) };
        at(Step::Chown);
        openat(dir, name, DIRECTORY | BELOW, Mode::empty())
            .and_then(|opened| chown(&opened, uid, gid))
            .map_err(|errno| self.errno(Step::Chown, name, errno))
    }

    fn give_file(&self, folder: &OwnedFd, owner: Option<(u32, u32)>) -> Result<(), Failed> {
        let Some((uid, gid)) = owner else { return Ok(()) };
        at(Step::Chown);
        openat(folder, FILE, OFlag::O_RDONLY | BELOW, Mode::empty())
            .and_then(|opened| chown(&opened, uid, gid))
            .map_err(|errno| self.errno(Step::Chown, &format!("{FOLDER}/{FILE}"), errno))
    }
}

fn chown(fd: impl AsFd, uid: u32, gid: u32) -> nix::Result<()> {
    fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}
