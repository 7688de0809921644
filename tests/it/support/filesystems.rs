//! Real filesystems in files, mounted below a temporary folder.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::requirements::run;

/// A mounted filesystem; unmounted when dropped, also if calls on it hang.
pub(crate) struct MountedFs {
    folder: tempfile::TempDir,
    kind: &'static str,
}

impl MountedFs {
    /// Mounts an `ext4`, `xfs` or `btrfs` in a sparse file.
    pub(crate) fn of(kind: &'static str) -> Self {
        Self::with(kind, &[])
    }

    /// Mounts a filesystem that is made with these options of `mkfs`.
    pub(crate) fn with(kind: &'static str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let megabytes = if kind == "xfs" { 320 } else { 128 };
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let words = [&["-q"], options, &[image.to_str().unwrap()]].concat();
        run(&format!("mkfs.{kind}"), &words);
        let mounted = Self { folder, kind };
        fs::create_dir(mounted.path()).unwrap();
        mounted.mount();
        mounted
    }

    /// Mounts a tmpfs with these options.
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

    /// Returns the mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn text(&self) -> &'static str {
        // It lives as long as the test, which is a process.
        Box::leak(self.path().display().to_string().into_boxed_str())
    }

    /// Mounts the file of [`MountedFs::of`] again.
    pub(crate) fn mount(&self) {
        let image = self.folder.path().join("image");
        run("mount", &["-o", "loop", image.to_str().unwrap(), self.text()]);
        self.check();
    }

    /// Checks the mount: without it a test would write on the root disk.
    fn check(&self) {
        run("mountpoint", &["-q", self.text()]);
    }

    /// Runs an operator's plain `umount` and returns true if it succeeds.
    pub(crate) fn try_unmount(&self) -> bool {
        Command::new("umount").arg(self.path()).output().unwrap().status.success()
    }

    /// Remounts with these options.
    pub(crate) fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.text()]);
    }

    /// Makes all later calls fail, as when the disk is pulled. It uses the ioctl of `xfs_io -x -c
    /// shutdown` (`XFS_IOC_GOINGDOWN`, which ext4 has too), because `xfs_io` also looks at every
    /// other mount, one of which may hang.
    pub(crate) fn shut_down(&self) {
        let script = "my $flags = pack('L', 1); \
             open(F, '<', $ARGV[0]) and ioctl(F, 0x8004587d, $flags) or die \"$!\"";
        run("perl", &["-e", script, self.text()]);
    }

    /// Freezes the filesystem until the guard is dropped. A test that fails drops it too, so that
    /// processes that sleep in it end.
    pub(crate) fn frozen(&self) -> FreezeGuard<'_> {
        self.freeze("-f");
        FreezeGuard(self)
    }

    /// Freezes (`-f`) or thaws (`-u`) the filesystem.
    pub(crate) fn freeze(&self, flag: &str) {
        run("fsfreeze", &[flag, self.text()]);
    }
}

/// A frozen filesystem; thawed when dropped.
pub(crate) struct FreezeGuard<'a>(&'a MountedFs);

impl Drop for FreezeGuard<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(self.0.path()).output();
    }
}

impl Drop for MountedFs {
    fn drop(&mut self) {
        // Thawed first: a frozen filesystem cannot be unmounted.
        let _ = Command::new("fsfreeze").arg("-u").arg(self.path()).output();
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// A bind mount; unmounted when dropped.
pub(crate) struct BindMount(PathBuf);

impl BindMount {
    /// Binds `from` to the new folder `to`, read-only if requested.
    pub(crate) fn of(from: &Path, to: &Path, read_only: bool) -> Self {
        fs::create_dir(to).unwrap();
        run("mount", &["--bind".as_ref(), from, to]);
        Self::made(to, read_only)
    }

    /// Mounts a folder read-only over itself, as a sandbox does.
    pub(crate) fn over(folder: &Path) -> Self {
        run("mount", &["--bind".as_ref(), folder, folder]);
        Self::made(folder, true)
    }

    fn made(to: &Path, read_only: bool) -> Self {
        let bound = Self(to.to_owned());
        if read_only {
            run("mount", &["-o".as_ref(), "remount,bind,ro".as_ref(), to]);
        }
        bound
    }

    /// Mounts an overlay on the new folder `inside/overlay`, with its layers beside it.
    pub(crate) fn overlay(inside: &Path) -> Self {
        let [lower, upper, work, point] =
            ["lower", "upper", "work", "overlay"].map(|name| inside.join(name));
        for dir in [&lower, &upper, &work, &point] {
            fs::create_dir(dir).unwrap();
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let point_text = point.to_str().unwrap();
        run("mount", &["-t", "overlay", "-o", layers.as_str(), "overlay", point_text]);
        Self(point)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A FUSE mount without a server: every call on it sleeps until SIGKILL. Unmounted when dropped.
pub(crate) struct UnservedMount {
    point: PathBuf,
    _folder: Option<tempfile::TempDir>,
    /// Process that holds the FUSE connection, which ends with it.
    holder: Child,
}

impl UnservedMount {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let point = folder.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let mut mount = Self::over(&point);
        mount._folder = Some(folder);
        mount
    }

    /// Hides an existing folder under the mount.
    pub(crate) fn over(point: &Path) -> Self {
        let script = "exec 3<>/dev/fuse && mount -i -t fuse \
             -o fd=3,rootmode=40000,user_id=0,group_id=0 unserved \"$0\" && echo mounted && cat";
        let mut holder = Command::new("sh")
            .args(["-c".as_ref(), script.as_ref(), point.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        Self { point: point.to_owned(), _folder: None, holder }
    }

    /// Returns the mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.point.clone()
    }
}

impl Drop for UnservedMount {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
