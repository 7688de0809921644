//! Serves the kernel: runs each call with the behaviour that is set for its operation.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use super::tree::{Tree, permissions};
use super::{Behaviour, Figures, Op, Shared};

/// A reply that takes a result or an error.
trait Reply: Send + 'static {
    type Good;

    fn answer(self, outcome: Result<Self::Good, Errno>);
}

macro_rules! replies {
    ($($reply:ty, $good:ty: $give:expr;)*) => {$(
        impl Reply for $reply {
            type Good = $good;

            fn answer(self, outcome: Result<$good, Errno>) {
                let give: fn(Self, $good) = $give;
                match outcome {
                    Ok(good) => give(self, good),
                    Err(errno) => self.error(errno),
                }
            }
        }
    )*};
}

/// The kernel must cache nothing, so that every call reaches the server.
const CACHE_TTL: Duration = Duration::ZERO;

replies! {
    ReplyEmpty, (): |reply, ()| reply.ok();
    ReplyEntry, FileAttr: |reply, attr| reply.entry(&CACHE_TTL, &attr, Generation(0));
    ReplyAttr, FileAttr: |reply, attr| reply.attr(&CACHE_TTL, &attr);
    ReplyOpen, FopenFlags: |reply, flags| reply.opened(FileHandle(0), flags);
    ReplyData, Vec<u8>: |reply, data| reply.data(&data);
    ReplyWrite, u32: |reply, written| reply.written(written);
    ReplyCreate, FileAttr: |reply, attr| {
        reply.created(&CACHE_TTL, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    };
    ReplyStatfs, Figures: |reply, Figures { block_size, blocks, bfree, bavail, files, ffree }| {
        reply.statfs(blocks, bfree, bavail, files, ffree, block_size, 255, block_size);
    };
    ReplyDirectory, Vec<(u64, FileAttr, OsString)>: |mut reply, entries| {
        for (next, attr, name) in entries {
            if reply.add(attr.ino, next, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    };
}

/// Serves the kernel in one thread, which therefore never waits.
pub(super) struct Server(pub(super) Arc<Shared>);

impl Server {
    /// Runs `work` and answers with its result, with the behaviour of the operation.
    fn serve<R: Reply>(
        &self,
        op: Op,
        reply: R,
        work: impl FnOnce(&mut Tree) -> Result<R::Good, Errno> + Send + 'static,
    ) {
        let mut state = self.0.lock();
        match state.behaviours.get(&op).copied().unwrap_or(Behaviour::Pass) {
            Behaviour::Pass => reply.answer(work(&mut state.tree)),
            Behaviour::Fail(errno) => reply.answer(Err(Errno::from_i32(errno))),
            Behaviour::Hang => {
                state.hanging.push(Box::new(move |tree| reply.answer(work(tree))));
                self.0.changed.notify_all();
            }
            Behaviour::Slow(delay) => {
                let shared = Arc::clone(&self.0);
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    reply.answer(work(&mut shared.lock().tree));
                });
            }
        }
    }
}

/// Tells the kernel that a request cannot be interrupted, as if the kernel had asked. Its callers
/// then sleep uninterruptibly (`D`) from the start, as on a dead disk, and not only after a signal.
fn refuse_interrupts(mut device: File, request: &Request) {
    // A `fuse_out_header`; the lowest bit marks the answer to the interrupt of a request.
    let (length, error) = (16_u32.to_ne_bytes(), (-Errno::ENOSYS.code()).to_ne_bytes());
    let unique = (request.unique().0 | 1).to_ne_bytes();
    device.write_all(&[&length[..], &error, &unique].concat()).unwrap();
}

impl Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without it a lookup that hangs would delay the next one in the same folder.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn destroy(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let place = (parent, name.to_owned());
        self.serve(Op::Lookup, reply, move |tree| tree.find(&place));
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(device) = self.0.lock().device.take() {
            refuse_interrupts(device, request);
        }
        reply.answer(Ok(self.0.lock().tree.node(ino).attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let time = |given| match given {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        };
        self.serve(Op::SetAttr, reply, move |tree| {
            let resized = size.map_or(Ok(()), |size| tree.resize(ino, size));
            let attr = &mut tree.node(ino).attr;
            attr.perm = mode.map_or(attr.perm, permissions);
            attr.uid = uid.unwrap_or(attr.uid);
            attr.gid = gid.unwrap_or(attr.gid);
            attr.atime = atime.map_or(attr.atime, time);
            attr.mtime = mtime.map_or(attr.mtime, time);
            attr.ctime = SystemTime::now();
            resized.map(|()| *attr)
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let (place, owner) = ((parent, name.to_owned()), (request.uid(), request.gid()));
        let kind = FileType::Directory;
        self.serve(Op::Create, reply, move |tree| Ok(tree.make(place, kind, mode, owner)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let (place, owner) = ((parent, name.to_owned()), (request.uid(), request.gid()));
        let kind = FileType::RegularFile;
        self.serve(Op::Create, reply, move |tree| Ok(tree.make(place, kind, mode, owner)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let place = (parent, name.to_owned());
        self.serve(Op::Unlink, reply, move |tree| tree.remove(&place));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent, name.to_owned()), (to, new.to_owned()));
        self.serve(Op::Rename, reply, move |tree| tree.rename(&from, to, flags));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // A write must reach the server, not the page cache.
        self.serve(Op::Open, reply, |_| Ok(FopenFlags::FOPEN_DIRECT_IO));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve(Op::Open, reply, |_| Ok(FopenFlags::empty()));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(Op::Read, reply, move |tree| Ok(tree.read(ino, offset, size)));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.serve(Op::Read, reply, move |tree| Ok(tree.list(ino, offset)));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_owned();
        self.serve(Op::Write, reply, move |tree| tree.write(ino, offset, &data));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(Op::Sync, reply, |_| Ok(()));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(Op::SyncFolder, reply, |_| Ok(()));
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.serve(Op::Statfs, reply, move |tree| Ok(tree.figures_of(ino)));
    }
}
