//! Space of an image directory: that of its filesystem, or of a folder with a quota. A filesystem
//! with project quotas reports the limit of the project as the size of each directory in it.

use std::path::{Path, PathBuf};

use super::mountinfo::MountEntry;
use super::worker::protocol::FilesystemStats;
use crate::model::MountedPart;

/// Returns the mount whose figures are those of the filesystem: the mount of the directory, or one
/// that shows more of the same filesystem. A mount below another filesystem is not considered,
/// because the other one may hang.
pub(super) fn widest_mount<'a>(mount: &'a MountEntry, all: &'a [MountEntry]) -> &'a MountEntry {
    if mount.part() == MountedPart::Whole {
        return mount;
    }
    let is_reachable = |wider: &MountEntry| {
        !all.iter().any(|other| {
            other.mount_point != "/"
                && other.device != mount.device
                && Path::new(&wider.mount_point).starts_with(&other.mount_point)
        })
    };
    let wider = all.iter().filter(|other| {
        (&other.device, &other.fs_type) == (&mount.device, &mount.fs_type)
            && Path::new(&mount.root).starts_with(&other.root)
            && other.root.len() < mount.root.len()
            && is_reachable(other)
    });
    wider.min_by_key(|other| other.root.len()).unwrap_or(mount)
}

/// Returns the folder `target` as a path in its filesystem, or `None` if `target` is not below the
/// mount point.
pub(super) fn path_in_filesystem(mount: &MountEntry, target: &Path) -> Option<String> {
    let below = target.strip_prefix(&mount.mount_point).ok()?;
    let path: PathBuf = Path::new(&mount.root).join(below).components().collect();
    path.to_str().map(str::to_owned)
}

/// Number of folders between the directory and its mount point, the mount point included.
pub(super) fn depth_below(mount: &MountEntry, target: &Path) -> usize {
    target.strip_prefix(&mount.mount_point).map_or(0, |below| below.components().count())
}

/// Figure that shows the quota of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuotaFigure {
    /// The number of blocks, `f_blocks`.
    Blocks,
    /// The number of inodes, `f_files`.
    Files,
}

impl QuotaFigure {
    /// Returns the figure in which a directory differs from its filesystem, or `None` if it has no
    /// quota. The directory is measured before and after the filesystem. A filesystem that
    /// creates inodes as needed (XFS) changes their number with each write, and such a change is
    /// no quota.
    pub(super) fn between(
        before: &FilesystemStats,
        filesystem: &FilesystemStats,
        after: &FilesystemStats,
    ) -> Option<Self> {
        [Self::Blocks, Self::Files].into_iter().find(|figure| {
            figure.of(before) == figure.of(after) && figure.of(before) != figure.of(filesystem)
        })
    }

    /// Returns this figure.
    pub(super) fn of(self, stats: &FilesystemStats) -> u64 {
        match self {
            Self::Blocks => stats.blocks,
            Self::Files => stats.files,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::mountinfo::parse_mountinfo;
    use super::*;

    fn stats(blocks: u64, files: u64) -> FilesystemStats {
        FilesystemStats {
            fragment_size: 4096,
            blocks,
            blocks_available: 1,
            files,
            files_available: 1,
        }
    }

    #[test]
    fn a_quota_shows_in_the_size_or_in_the_inodes() {
        let filesystem = stats(1000, 500);
        for (before, after, expected) in [
            (stats(1000, 500), stats(1000, 500), None),
            (stats(100, 500), stats(100, 500), Some(QuotaFigure::Blocks)),
            (stats(1000, 20), stats(1000, 20), Some(QuotaFigure::Files)),
            (stats(100, 20), stats(100, 20), Some(QuotaFigure::Blocks)),
            // The filesystem grew or created inodes in between.
            (stats(900, 500), stats(1000, 500), None),
            (stats(1000, 499), stats(1000, 501), None),
            (stats(100, 499), stats(100, 501), Some(QuotaFigure::Blocks)),
        ] {
            let found = QuotaFigure::between(&before, &filesystem, &after);
            assert_eq!(found, expected, "{before:?} {after:?}");
        }
    }

    proptest! {
        #[test]
        fn figures_that_grow_during_the_probe_are_no_quota(
            blocks: [u32; 3], files: [u32; 3],
        ) {
            let (mut blocks, mut files) = (blocks, files);
            blocks.sort_unstable();
            files.sort_unstable();
            let of = |n: usize| stats(blocks[n].into(), files[n].into());
            prop_assert_eq!(QuotaFigure::between(&of(0), &of(1), &of(2)), None);
        }
    }

    #[test]
    fn the_widest_mount_of_the_filesystem_has_its_figures() {
        let table = "1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 8:1 / /srv/disk rw - xfs /dev/sda1 rw
3 2 8:1 /a /srv/disk/a rw - xfs /dev/sda1 rw
4 1 8:17 / /net/disk rw - xfs /dev/sdb1 rw
5 1 0:99 / /net rw - nfs4 server:/ rw
6 1 8:17 /b /srv/b rw - xfs /dev/sdb1 rw
7 1 8:33 /b /srv/c rw - xfs /dev/sdc1 rw
8 1 8:33 /other /srv/other rw - xfs /dev/sdc1 rw
9 1 0:44 /@a /srv/btrfs rw - btrfs /dev/sdd rw,subvolid=9,subvol=/@a
10 1 0:44 / /srv/top rw - btrfs /dev/sdd rw,subvolid=5,subvol=/
";
        let mounts = parse_mountinfo(table);
        for (id, widest) in [(2, 2), (3, 2), (6, 6), (7, 7), (9, 9)] {
            let mount = mounts.iter().find(|mount| mount.id == id).unwrap();
            assert_eq!(widest_mount(mount, &mounts).id, widest, "{mount:?}");
        }
    }

    #[test]
    fn a_directory_has_one_path_in_its_filesystem_whatever_mount_shows_it() {
        let table = "2 1 8:1 / /srv/disk rw - xfs /dev/sda1 rw
3 2 8:1 /a /bound rw - xfs /dev/sda1 rw
";
        let mounts = parse_mountinfo(table);
        for (mount, target, path, depth) in [
            (&mounts[0], "/srv/disk/a/images", Some("/a/images"), 2),
            (&mounts[1], "/bound/images", Some("/a/images"), 1),
            (&mounts[1], "/bound", Some("/a"), 0),
            (&mounts[0], "/elsewhere", None, 0),
        ] {
            let seen = path_in_filesystem(mount, Path::new(target));
            assert_eq!(seen.as_deref(), path, "{target}");
            assert_eq!(depth_below(mount, Path::new(target)), depth, "{target}");
        }
    }
}
