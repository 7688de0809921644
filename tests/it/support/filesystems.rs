//! Real filesystems in files, mounted under a folder of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::needs::run;

/// A mounted filesystem; unmounted when dropped, whatever it hangs in.
pub(crate) struct Mounted {
    folder: tempfile::TempDir,
    kind: &'static str,
}

impl Mounted {
    /// `ext4`, `xfs` or `btrfs` in a sparse file.
    pub(crate) fn of(kind: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let megabytes = if kind == "xfs" { 320 } else { 128 };
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run(&format!("mkfs.{kind}"), &["-q", image.to_str().unwrap()]);
        let mounted = Self { folder, kind };
        fs::create_dir(mounted.path()).unwrap();
        mounted.mount();
        mounted
    }

    /// A tmpfs with these options.
    pub(crate) fn tmpfs(options: &str) -> Self {
        let mounted = Self { folder: tempfile::tempdir().unwrap(), kind: "tmpfs" };
        fs::create_dir(mounted.path()).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", mounted.text()]);
        mounted.check();
        mounted
    }

    pub(crate) fn kind(&self) -> &str {
        self.kind
    }

    /// The mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn text(&self) -> &'static str {
        // Lives as long as the test, which is the process.
        Box::leak(self.path().display().to_string().into_boxed_str())
    }

    /// Mounts what [`Mounted::of`] made, again.
    pub(crate) fn mount(&self) {
        let image = self.folder.path().join("image");
        run("mount", &["-o", "loop", image.to_str().unwrap(), self.text()]);
        self.check();
    }

    /// A mount that failed silently would let a test write on the root disk.
    fn check(&self) {
        run("mountpoint", &["-q", self.text()]);
    }

    /// Whether an operator's plain `umount` succeeds.
    pub(crate) fn try_unmount(&self) -> bool {
        Command::new("umount").arg(self.path()).output().unwrap().status.success()
    }

    /// Remounts with these options.
    pub(crate) fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.text()]);
    }

    /// Freezes (`-f`) or thaws (`-u`) it.
    pub(crate) fn freeze(&self, flag: &str) {
        run("fsfreeze", &[flag, self.text()]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Thawed first: a frozen one cannot be unmounted.
        let _ = Command::new("fsfreeze").arg("-u").arg(self.path()).output();
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// A bind mount; unmounted when dropped.
pub(crate) struct Bound(PathBuf);

impl Bound {
    /// Binds `from` to the new folder `to`, read-only where asked.
    pub(crate) fn of(from: &Path, to: &Path, read_only: bool) -> Self {
        fs::create_dir(to).unwrap();
        run("mount", &["--bind".as_ref(), from, to]);
        let bound = Self(to.to_owned());
        if read_only {
            run("mount", &["-o".as_ref(), "remount,bind,ro".as_ref(), to]);
        }
        bound
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
