//! Parser for `/proc/self/mountinfo`, as described in `proc_pid_mountinfo(5)`.

#![expect(clippy::disallowed_methods, reason = "reads /proc, which never hangs on a mount")]

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor};

use crate::model::{MountLine, MountedPart, unescape_mount_path};

/// Returns all mounts that are visible to this process, without those that cover its `/`. The
/// kernel escapes blanks, and it leaves bytes that are not UTF-8 unchanged. One such mount point
/// must not hide the others, so the text is decoded with replacement characters.
///
/// # Errors
/// The I/O error if `/proc` cannot be read.
pub(super) fn read_mounts() -> std::io::Result<Vec<MountEntry>> {
    let bytes = std::fs::read("/proc/self/mountinfo")?;
    let mounts = parse_mountinfo(&String::from_utf8_lossy(&bytes));
    Ok(keep_own_root(mounts, &ProcessRoot::observe()))
}

/// The root directory of this process. A mount on `/` that is newer than the process covers it in
/// the mount table, but every absolute path still begins at the older root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ProcessRoot {
    /// The id of its mount. In a chroot into a folder, the table does not list this mount.
    mount_id: Option<u64>,
    /// Its device, as `stat(2)` reports it.
    device: Option<String>,
}

impl ProcessRoot {
    fn observe() -> Self {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(root) = open("/", flags, Mode::empty()) else { return Self::default() };
        Self {
            mount_id: read_mount_id(&root).ok().flatten(),
            device: fstat(&root).ok().map(|status| device_text(&status)),
        }
    }

    /// Returns true if the mount on `/` is this root, as far as is known. `is_listed` is true if
    /// the table has the mount of this root.
    fn is_on(&self, mount: &MountEntry, is_listed: bool) -> bool {
        match self.mount_id {
            None => true,
            Some(id) if is_listed => mount.id == id,
            Some(_) => self.device.as_ref() == Some(&mount.device),
        }
    }
}

/// Removes the mounts on `/` that are not the root of this process.
fn keep_own_root(mut mounts: Vec<MountEntry>, root: &ProcessRoot) -> Vec<MountEntry> {
    let is_listed = mounts.iter().any(|mount| Some(mount.id) == root.mount_id);
    mounts.retain(|mount| mount.mount_point != "/" || root.is_on(mount, is_listed));
    mounts
}

/// Returns the id of the mount of an open file, or `None` if the kernel does not report it.
pub(super) fn read_mount_id(file: &OwnedFd) -> std::io::Result<Option<u64>> {
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    Ok(mount_id(&fdinfo))
}

/// Returns the device of a file as the mount table writes it.
pub(super) fn device_text(status: &FileStat) -> String {
    format!("{}:{}", major(status.st_dev), minor(status.st_dev))
}

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountEntry {
    pub(super) id: u64,
    /// Id of the mount that the mount point lies in.
    pub(super) parent: u64,
    /// Device number as `major:minor`. On btrfs it differs from the number that `stat` reports.
    /// This one is used everywhere in `/proc`.
    pub(crate) device: String,
    /// Path in the filesystem that is visible at the mount point. It is not `/` for a bind mount of
    /// a folder and for a subvolume.
    pub(super) root: String,
    pub(crate) mount_point: String,
    pub(crate) fs_type: String,
    pub(super) super_options: String,
}

impl MountEntry {
    pub(super) fn superblock_is_read_only(&self) -> bool {
        has_option(&self.super_options, "ro") || has_option(&self.super_options, "emergency_ro")
    }

    /// Returns the part of the filesystem that the mount shows. btrfs names the subvolume of the
    /// mount as its last option.
    pub(super) fn part(&self) -> MountedPart {
        let subvolume = self.super_options.split_once(",subvol=").map(|(_, path)| path);
        let is_subvolume = subvolume.is_some_and(|path| unescape_mount_path(path) == self.root);
        match self.root == "/" || (self.fs_type == "btrfs" && is_subvolume) {
            true => MountedPart::Whole,
            false => MountedPart::Folder(self.root.clone()),
        }
    }
}

fn has_option(options: &str, name: &str) -> bool {
    options.split(',').any(|option| option == name)
}

/// Parses the mount table. Lines that cannot be parsed are skipped.
pub(super) fn parse_mountinfo(text: &str) -> Vec<MountEntry> {
    text.lines().filter_map(parse_line).collect()
}

/// Returns the mount on `/`. If the table still has several, it is the last one, which covers the
/// others.
pub(super) fn root_device(mounts: &[MountEntry]) -> Option<&MountEntry> {
    mounts.iter().rev().find(|mount| mount.mount_point == "/")
}

/// Returns the mount that holds the path, as the kernel finds it (`path_resolution(7)`): from the
/// root of the process on, it goes to the first mount point on the way, in the mount that it is in.
/// A mount below a folder that a later mount covers is not reached.
pub(super) fn covering_mount<'a>(mounts: &'a [MountEntry], path: &str) -> Option<&'a MountEntry> {
    let holds = |mount: &&MountEntry| Path::new(path).starts_with(&mount.mount_point);
    // In a chroot, the table does not list the mount of the root.
    let is_listed = |id| mounts.iter().any(|mount| mount.id == id);
    let mut present = root_device(mounts);
    // A damaged table may lead back, so that the number of steps is bounded.
    for _ in mounts {
        let lies_inside = |mount: &&MountEntry| match present {
            Some(present) => mount.parent == present.id && mount.id != present.id,
            None => !is_listed(mount.parent),
        };
        let inside = mounts.iter().filter(lies_inside).filter(holds);
        match inside.min_by_key(|mount| mount.mount_point.len()) {
            Some(next) => present = Some(next),
            None => break,
        }
    }
    present
}

fn parse_line(text: &str) -> Option<MountEntry> {
    let MountLine { id, parent, device, root, mount_point, fs_type, super_options, .. } =
        MountLine::parse(text)?;
    let (device, fs_type) = (device.to_owned(), fs_type.to_owned());
    let super_options = super_options.to_owned();
    Some(MountEntry { id, parent, device, root, mount_point, fs_type, super_options })
}

/// Returns the mount id of an open descriptor, from the text of its `/proc/self/fdinfo` entry.
pub(super) fn mount_id(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 22 98:0 /mnt1 /srv/my\040images\134x rw,noatime master:1 propagate_from:2 - xfs /dev/sdb rw,errors=continue
37 22 0:44 / /ro ro,nosuid - overlay overlay rw,lowerdir=/a
38 22 0:45 / /dying rw - ext4 /dev/sdc rw,emergency_ro
nonsense
";

    #[test]
    fn fields_and_escapes_are_read() {
        let mounts = parse_mountinfo(TEXT);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].mount_point, r"/srv/my images\x");
        assert_eq!((mounts[1].id, mounts[1].device.as_str()), (36, "98:0"));
        assert_eq!(mounts[1].part(), MountedPart::Folder("/mnt1".to_owned()));
        assert_eq!(mounts[0].part(), MountedPart::Whole);
        assert_eq!(mounts[1].fs_type, "xfs");
        // A mount that is read-only says nothing about its filesystem.
        assert!(!mounts[2].superblock_is_read_only());
        assert!(mounts[3].superblock_is_read_only());
        assert_eq!(root_device(&mounts).unwrap().id, 22);
    }

    #[test]
    fn the_last_mount_on_the_root_counts() {
        let text = "1 0 0:1 / / rw - rootfs none rw\n2 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(root_device(&parse_mountinfo(text)).unwrap().id, 2);
    }

    #[test]
    fn a_mount_that_covers_the_root_of_the_process_is_not_its_root() {
        let text = "22 1 254:0 / / rw - ext4 /dev/vda rw\n36 22 8:1 / /srv rw - xfs /dev/sda rw\n\
                    40 22 0:44 / / rw - tmpfs none rw\n";
        for (mount_id, device, expected) in [
            (Some(22), Some("254:0"), vec![22, 36]),
            (Some(22), None, vec![22, 36]),
            (Some(40), Some("0:44"), vec![36, 40]),
            // On btrfs, `stat` reports the number of the subvolume.
            (Some(22), Some("0:91"), vec![22, 36]),
            // A chroot into a folder: the table does not list its mount.
            (Some(9), Some("8:1"), vec![36]),
            (Some(9), Some("254:0"), vec![22, 36]),
            // The kernel reports no id.
            (None, Some("254:0"), vec![22, 36, 40]),
            (None, None, vec![22, 36, 40]),
        ] {
            let root = ProcessRoot { mount_id, device: device.map(str::to_owned) };
            let kept = keep_own_root(parse_mountinfo(text), &root);
            let ids: Vec<u64> = kept.iter().map(|mount| mount.id).collect();
            assert_eq!(ids, expected, "{root:?}");
        }
    }

    #[test]
    fn the_last_mount_that_is_reached_on_the_way_holds_a_path() {
        let mounts = parse_mountinfo(
            "1 1 8:1 / / rw - ext4 a rw\n2 1 8:2 / /srv rw - xfs b rw\n\
             3 2 8:3 / /srv/disk rw - xfs c rw\n",
        );
        for (path, id) in
            [("/srv/disk", 3), ("/srv/disk/x", 3), ("/srv/diskette", 2), ("/srv", 2), ("/var", 1)]
        {
            assert_eq!(covering_mount(&mounts, path).unwrap().id, id, "{path}");
        }
        // A mount over the folder covers the disk below it, until a disk is mounted in the new one.
        let covered = "4 2 8:4 / /srv rw - xfs d rw\n";
        let again = "5 4 8:5 / /srv/disk rw - xfs e rw\n";
        let table = |more: &str| {
            let text = "1 1 8:1 / / rw - ext4 a rw\n2 1 8:2 / /srv rw - xfs b rw\n\
                        3 2 8:3 / /srv/disk rw - xfs c rw\n";
            parse_mountinfo(&format!("{text}{more}"))
        };
        for (more, id) in [("", 3), (covered, 4), (&format!("{covered}{again}"), 5)] {
            assert_eq!(covering_mount(&table(more), "/srv/disk/x").unwrap().id, id, "{more}");
        }
        // In a chroot, and with ids that lead in a circle.
        let chroot =
            parse_mountinfo("3 9 8:3 / /srv rw - xfs c rw\n4 3 8:4 / /srv/x rw - xfs d rw\n");
        assert_eq!(covering_mount(&chroot, "/srv/x").unwrap().id, 4);
        assert!(covering_mount(&chroot, "/var").is_none());
        let circle = parse_mountinfo("3 4 8:3 / / rw - xfs c rw\n4 3 8:4 / / rw - xfs d rw\n");
        assert!(covering_mount(&circle, "/srv").is_some());
        assert!(covering_mount(&[], "/").is_none());
    }

    #[test]
    fn a_descriptor_names_its_mount() {
        assert_eq!(mount_id("pos:\t0\nflags:\t0200000\nmnt_id:\t36\nino:\t2\n"), Some(36));
        assert_eq!(mount_id("pos:\t0\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\\\\0-9\n]{0,200}") {
            parse_mountinfo(&text);
            unescape_mount_path(&text);
        }
    }
}
