//! A filesystem whose calls hang, fail or are slow, as a test sets it.

mod server;
mod tree;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};

use self::server::Server;
use self::tree::Tree;
use super::requirements::run;

/// Maximum wait of a test. It is far longer than any step takes, so reaching it is a failure.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that the kernel has to end the session after the unmount.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time that a request hangs, unless a test sets another one. A test that waits for a call
/// that it made hang itself could not be killed.
const MAX_HANG: Duration = Duration::from_secs(120);

/// The kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Opens an existing file or directory.
    Open,
    /// Looks a name up; the kernel never looks up the mount point itself.
    Lookup,
    /// Reads the figures of the filesystem.
    Statfs,
    /// Makes a file or a directory.
    Create,
    /// Reads a file or lists a directory.
    Read,
    /// Writes to a file.
    Write,
    /// Runs fsync on a file.
    Sync,
    /// Runs fsync on a directory.
    SyncFolder,
    /// Renames a file.
    Rename,
    /// Changes the owner or the mode of a file.
    SetAttr,
    /// Removes a file or a directory.
    Unlink,
}

/// The behaviour of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Succeeds as on any filesystem.
    Pass,
    /// Waits for [`Fuse::release`]; until then not even SIGKILL ends the caller.
    Hang,
    /// Fails with this error number. Not ENOSYS, which the kernel remembers instead of calling
    /// again.
    Fail(i32),
    /// Succeeds after this time.
    Slow(Duration),
}

/// The result of statfs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) block_size: u32,
    pub(crate) blocks: u64,
    pub(crate) bfree: u64,
    pub(crate) bavail: u64,
    pub(crate) files: u64,
    pub(crate) ffree: u64,
}

impl Default for Figures {
    /// Returns one GiB, half of it free.
    fn default() -> Self {
        let (blocks, free) = (1 << 18, 1 << 17);
        Self { block_size: 4096, blocks, bfree: free, bavail: free, files: 1 << 16, ffree: 1 << 15 }
    }
}

/// The mounted filesystem, in memory and empty at first; unmounted when dropped, also if calls on
/// it hang.
pub(crate) struct Fuse {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    /// The kernel's number of the connection.
    connection: u64,
}

impl Fuse {
    /// Mounts the filesystem for any user; the mount point belongs to root and has the mode 0755.
    pub(crate) fn mounted() -> Self {
        Self::mounted_for(MAX_HANG)
    }

    /// Mounts it as [`Fuse::mounted`] does, with `longest` as the maximum time that a request
    /// hangs.
    pub(crate) fn mounted_for(longest: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut fuse = Self { folder, shared: Arc::default(), session: None, connection: 0 };
        fs::create_dir(fuse.path()).unwrap();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        let session = Session::new(Server(Arc::clone(&fuse.shared)), fuse.path(), &config);
        let session = session.unwrap_or_else(|error| panic!("no FUSE mount: {error}"));
        let device = session.as_fd().try_clone_to_owned().unwrap();
        fuse.shared.lock().device = Some(File::from(device));
        fuse.session = Some(session.spawn().unwrap());
        let shared = Arc::clone(&fuse.shared);
        std::thread::spawn(move || {
            while !shared.until(longest, |state| state.ended) {
                shared.release();
            }
        });
        // Without the mount a test would write on the root disk.
        run("mountpoint", &["-q".as_ref(), fuse.path().as_os_str()]);
        fuse.connection = nix::sys::stat::minor(fs::metadata(fuse.path()).unwrap().dev());
        fuse
    }

    /// Returns the mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// Sets the behaviour of later calls; a call that hangs already continues to hang.
    pub(crate) fn set(&self, op: Op, behaviour: Behaviour) {
        self.shared.lock().behaviours.insert(op, behaviour);
    }

    /// Sets the result of later calls of statfs.
    pub(crate) fn set_figures(&self, figures: Figures) {
        self.shared.lock().tree.figures = figures;
    }

    /// Sets the result of later calls of statfs for a folder and all that is in it now.
    pub(crate) fn set_quota(&self, folder: &str, figures: Figures) {
        let tree = &mut self.shared.lock().tree;
        let ino = folder.split('/').fold(fuser::INodeNo::ROOT, |parent, name| {
            tree.find(&(parent, name.into())).unwrap().ino
        });
        tree.set_quota(ino, figures);
    }

    /// Resets all behaviours, and runs and answers the requests that hang.
    pub(crate) fn release(&self) {
        self.shared.release();
    }

    /// Waits until this number of requests hang at once.
    pub(crate) fn until_hanging(&self, n: usize) {
        let hanging = self.shared.until(TEST_TIMEOUT, |state| state.hanging.len() >= n);
        assert!(hanging, "{} requests hang, not {n}", self.shared.lock().hanging.len());
    }

    /// Makes the kernel answer all requests that still wait, and send no more.
    pub(crate) fn abort(&self) {
        // The mount is private: another test may use the usual one.
        let control = self.folder.path().join("control");
        let _ = fs::create_dir(&control);
        let _ = Command::new("mount").args(["-t", "fusectl", "none"]).arg(&control).output();
        let _ = fs::write(control.join(self.connection.to_string()).join("abort"), "1");
        let _ = Command::new("umount").arg("-l").arg(&control).output();
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.release();
        let Some(session) = self.session.take() else { return };
        // This unmounts it unless it is in use, and does not wait for the server.
        drop(session);
        // `-c` avoids a lookup of the mount point, which would call the server.
        let _ = Command::new("umount").args(["-l", "-c"]).arg(self.path()).output();
        if !self.shared.until(UNMOUNT_TIMEOUT, |state| state.ended) {
            self.abort();
        }
    }
}

/// The state that the test and the server share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Runs a request and answers it.
type Answer = Box<dyn FnOnce(&mut Tree) + Send>;

#[derive(Default)]
struct State {
    tree: Tree,
    behaviours: HashMap<Op, Behaviour>,
    hanging: Vec<Answer>,
    /// True after the server has ended.
    ended: bool,
    /// The server's end of the connection, until the first request.
    device: Option<File>,
}

impl Shared {
    /// Locks also after a panic of another holder, because a drop must succeed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        let mut state = self.lock();
        state.behaviours.clear();
        for answer in std::mem::take(&mut state.hanging) {
            answer(&mut state.tree);
        }
    }

    /// Waits for the condition. Returns true if it was met in time.
    fn until(&self, patience: Duration, come: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| !come(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
