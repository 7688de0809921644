//! The contents of the filesystem, in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo, RenameFlags};

use super::Figures;

/// Maximum size of a file in bytes, because files are in memory.
const MAX_FILE_BYTES: usize = 16 << 20;

/// A folder has names, a file has bytes; the kernel calls each operation on the right kind.
pub(super) struct Node {
    pub(super) attr: FileAttr,
    names: BTreeMap<OsString, INodeNo>,
    bytes: Vec<u8>,
}

/// The contents of the filesystem. A node outlives its name, because it may be open and tests are
/// short.
pub(super) struct Tree {
    nodes: Vec<Node>,
    pub(super) figures: Figures,
    /// Figures of folders with a quota.
    quotas: BTreeMap<INodeNo, Figures>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree =
            Self { nodes: Vec::new(), figures: Figures::default(), quotas: BTreeMap::new() };
        tree.add(FileType::Directory, 0o755, (0, 0));
        tree
    }
}

impl Tree {
    /// Adds a node without a name; the first one is the root.
    pub(super) fn add(&mut self, kind: FileType, mode: u32, (uid, gid): (u32, u32)) -> FileAttr {
        let now = SystemTime::now();
        let attr = FileAttr {
            ino: INodeNo(INodeNo::ROOT.0 + self.nodes.len() as u64),
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind,
            perm: permissions(mode),
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        self.nodes.push(Node { attr, names: BTreeMap::new(), bytes: Vec::new() });
        attr
    }

    /// Returns a node. The kernel knows only the inodes that it got from the server.
    pub(super) fn node(&mut self, ino: INodeNo) -> &mut Node {
        &mut self.nodes[usize::try_from(ino.0 - INodeNo::ROOT.0).unwrap()]
    }

    /// Returns the names in a folder for a change.
    pub(super) fn names(&mut self, folder: INodeNo) -> &mut BTreeMap<OsString, INodeNo> {
        let node = self.node(folder);
        (node.attr.mtime, node.attr.ctime) = (SystemTime::now(), SystemTime::now());
        &mut node.names
    }

    pub(super) fn find(&mut self, (parent, name): &Place) -> Result<FileAttr, Errno> {
        let ino = *self.node(*parent).names.get(name).ok_or(Errno::ENOENT)?;
        Ok(self.node(ino).attr)
    }

    /// Sets the figures of a folder and of all folders in it, as a project quota does.
    pub(super) fn set_quota(&mut self, folder: INodeNo, figures: Figures) {
        self.quotas.insert(folder, figures);
        for ino in self.node(folder).names.clone().into_values() {
            self.set_quota(ino, figures);
        }
    }

    pub(super) fn figures_of(&self, ino: INodeNo) -> Figures {
        self.quotas.get(&ino).copied().unwrap_or(self.figures)
    }

    pub(super) fn make(
        &mut self,
        place: Place,
        kind: FileType,
        mode: u32,
        owner: (u32, u32),
    ) -> FileAttr {
        let attr = self.add(kind, mode, owner);
        self.names(place.0).insert(place.1, attr.ino);
        attr
    }

    pub(super) fn remove(&mut self, place: &Place) -> Result<(), Errno> {
        let ino = self.find(place)?.ino;
        if !self.node(ino).names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.node(ino).attr.nlink = 0;
        self.names(place.0).remove(&place.1);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: &Place,
        to: Place,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return Err(Errno::EINVAL);
        }
        let ino = self.find(from)?.ino;
        // With RENAME_NOREPLACE the kernel has checked that there is none.
        if self.find(&to).is_ok() {
            self.remove(&to)?;
        }
        self.names(from.0).remove(&from.1);
        self.names(to.0).insert(to.1, ino);
        Ok(())
    }

    pub(super) fn resize(&mut self, file: INodeNo, size: u64) -> Result<(), Errno> {
        let length = usize::try_from(size).ok().filter(|length| *length <= MAX_FILE_BYTES);
        let node = self.node(file);
        node.bytes.resize(length.ok_or(Errno::EFBIG)?, 0);
        (node.attr.size, node.attr.blocks) = (size, size.div_ceil(512));
        (node.attr.mtime, node.attr.ctime) = (SystemTime::now(), SystemTime::now());
        Ok(())
    }

    pub(super) fn write(&mut self, file: INodeNo, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let end = offset.saturating_add(data.len() as u64).max(self.node(file).attr.size);
        self.resize(file, end)?;
        // The size has been checked, so the offset fits.
        let offset = usize::try_from(offset).unwrap();
        self.node(file).bytes[offset..][..data.len()].copy_from_slice(data);
        Ok(data.len().try_into().unwrap())
    }

    pub(super) fn read(&mut self, file: INodeNo, offset: u64, size: u32) -> Vec<u8> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.node(file).bytes.iter().skip(offset).take(size as usize).copied().collect()
    }

    /// Lists the entries after this number of them, each with the number of the next one.
    pub(super) fn list(&mut self, folder: INodeNo, offset: u64) -> Vec<(u64, FileAttr, OsString)> {
        // The kernel knows the parent itself.
        let own = [(".".into(), folder), ("..".into(), folder)];
        let all = own.into_iter().chain(self.node(folder).names.clone());
        let numbered = (1..).zip(all).filter(|(next, _)| *next > offset);
        numbered.map(|(next, (name, ino))| (next, self.node(ino).attr, name)).collect()
    }
}

/// A name in a folder.
pub(super) type Place = (INodeNo, OsString);

pub(super) fn permissions(mode: u32) -> u16 {
    (mode & 0o7777).try_into().unwrap()
}
