//! A filesystem whose calls hang, fail or take their time, as a test says.

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

/// Far longer than anything takes; a wait that long is a failure.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the kernel has to be done with what is no longer mounted.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a request hangs at most, unless a test says so: hardly one takes that long, and one that waits
/// for what it hangs itself could not be killed.
const MAX_HANG: Duration = Duration::from_secs(120);

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Opening a file or a directory that is there.
    Open,
    /// Finding a name; the mount point itself is never looked up.
    Lookup,
    /// The figures.
    Statfs,
    /// Making a file or a directory.
    Create,
    /// Reading a file or listing a directory.
    Read,
    /// Writing to a file.
    Write,
    /// fsync of a file or a directory.
    Sync,
    /// Removing a file or a directory.
    Unlink,
}

/// How an operation behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// As on any filesystem.
    Pass,
    /// Not before [`Fuse::release`]; until then not even SIGKILL ends the caller.
    Hang,
    /// With this error number; not ENOSYS, which the kernel remembers instead of asking again.
    Fail(i32),
    /// After this long.
    Slow(Duration),
}

/// What statfs tells.
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
    /// One GiB, half of it free.
    fn default() -> Self {
        let (blocks, free) = (1 << 18, 1 << 17);
        Self { block_size: 4096, blocks, bfree: free, bavail: free, files: 1 << 16, ffree: 1 << 15 }
    }
}

/// The mounted filesystem, empty at first and in memory; unmounted when dropped, whatever hangs in it.
pub(crate) struct Fuse {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    /// What the kernel calls the connection.
    connection: u64,
}

impl Fuse {
    /// Mounts it, for any user; the mount point is root's, with mode 0755.
    pub(crate) fn mounted() -> Self {
        Self::mounted_for(MAX_HANG)
    }

    /// As [`Fuse::mounted`], for a test in which a request may hang as long as `longest`.
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
        // A mount that failed silently would let a test write on the root disk.
        run("mountpoint", &["-q".as_ref(), fuse.path().as_os_str()]);
        fuse.connection = nix::sys::stat::minor(fs::metadata(fuse.path()).unwrap().dev());
        fuse
    }

    /// The mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// From now on; what hangs already goes on hanging.
    pub(crate) fn set(&self, op: Op, behaviour: Behaviour) {
        self.shared.lock().behaviours.insert(op, behaviour);
    }

    /// What statfs tells from now on.
    pub(crate) fn set_figures(&self, figures: Figures) {
        self.shared.lock().tree.figures = figures;
    }

    /// Lets everything pass again, and does and answers what hangs as if nothing had been.
    pub(crate) fn release(&self) {
        self.shared.release();
    }

    /// Waits until this many requests hang at once.
    pub(crate) fn until_hanging(&self, n: usize) {
        let hanging = self.shared.until(TEST_TIMEOUT, |state| state.hanging.len() >= n);
        assert!(hanging, "{} requests hang, not {n}", self.shared.lock().hanging.len());
    }

    /// Makes the kernel answer for the server whatever still waits for it, and ask it no more.
    fn abort(&self) {
        // A mount of its own: another test may be at the usual one.
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
        // Unmounts it unless it is in use, and does not wait for the server.
        drop(session);
        // Without a look at the mount point, which would ask the server.
        let _ = Command::new("umount").args(["-l", "-c"]).arg(self.path()).output();
        if !self.shared.until(UNMOUNT_TIMEOUT, |state| state.ended) {
            self.abort();
        }
    }
}

/// What the test and the server share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Does what a request asks for and answers it.
type Answer = Box<dyn FnOnce(&mut Tree) + Send>;

#[derive(Default)]
struct State {
    tree: Tree,
    behaviours: HashMap<Op, Behaviour>,
    hanging: Vec<Answer>,
    /// The server serves no more.
    ended: bool,
    /// The server's end of the connection, until the first request.
    device: Option<File>,
}

impl Shared {
    /// Also after a panic of another holder: a drop has to come through.
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

    /// Waits for it; whether it came.
    fn until(&self, patience: Duration, come: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| !come(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
