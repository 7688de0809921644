//! Facts about the filesystem of an image directory: its space, its mount, and whether it accepts a
//! write.

use std::time::Duration;

/// An error for figures that cannot be those of a real filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("total {total} and available {available} bytes cannot both be true")]
pub struct ImplausibleCapacity {
    /// The total as computed, in bytes.
    pub total: u64,
    /// The available space as computed, in bytes.
    pub available: u64,
}

/// Space of the filesystem that contains an image directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    total: u64,
    available: u64,
}

impl Capacity {
    /// Creates a capacity from plausible figures: `total` from 1 to `i64::MAX`, `available` at most
    /// `total`. JSON clients and the ledger can hold at most `i64::MAX`.
    ///
    /// # Errors
    /// Returns [`ImplausibleCapacity`] otherwise. The caller then reports `capacity_implausible`
    /// and keeps the last good figures.
    pub fn new(total: u64, available: u64) -> Result<Self, ImplausibleCapacity> {
        if total == 0 || i64::try_from(total).is_err() || available > total {
            return Err(ImplausibleCapacity { total, available });
        }
        Ok(Self { total, available })
    }

    /// Returns the size of the filesystem in bytes; at least 1.
    pub fn total(self) -> u64 {
        self.total
    }

    /// Returns the free space for an unprivileged writer (`f_bavail`) in bytes; at most `total`.
    pub fn available(self) -> u64 {
        self.available
    }
}

/// Inodes of the filesystem. A filesystem without a fixed number (btrfs) has no such figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeCounts {
    /// `f_files`; above 0.
    pub total: u64,
    /// `f_favail`; at most `total`.
    pub available: u64,
}

/// The mount that contained an image directory when it was measured.
///
/// The value is kept from the last good probe. It distinguishes an unmounted disk (`not_mounted`)
/// from a directory without its marker (`marker_missing`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLocation {
    /// The mount point, as `/proc/self/mountinfo` names it.
    pub mount_point: String,
    /// The filesystem's type, such as `ext4` or `nfs4`.
    pub fs_type: String,
    /// The superblock's device as `major:minor`.
    pub device: String,
    /// True if this is the root filesystem, or in a container a disk of the host that is known to
    /// hold the container.
    pub on_root_disk: bool,
    /// The part of the filesystem that the mount shows. `None` in a location that an earlier
    /// version stored.
    pub part: Option<MountedPart>,
    /// The folder of the filesystem whose quota limits the directory. `None` if the directory
    /// shares the space of the whole filesystem.
    pub quota_folder: Option<String>,
}

/// The part of a filesystem that a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountedPart {
    /// The filesystem or the btrfs subvolume from its top.
    Whole,
    /// A folder of it: a bind mount.
    Folder(String),
}

/// The space that the figures of a directory describe. Directories with the same space report the
/// same figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpaceId<'a> {
    /// The device of the filesystem.
    pub device: &'a str,
    /// The folder with the quota that limits the space, if there is one.
    pub quota_folder: Option<&'a str>,
}

impl MountLocation {
    /// Returns true if both are the same mount. A quota, and the part that an earlier version did
    /// not store, do not count.
    pub fn is_same_mount(&self, other: &Self) -> bool {
        let Self { mount_point, fs_type, device, on_root_disk, part, quota_folder: _ } = self;
        let same_part = part.is_none() || other.part.is_none() || *part == other.part;
        (mount_point, fs_type, device) == (&other.mount_point, &other.fs_type, &other.device)
            && same_part
            && *on_root_disk == other.on_root_disk
    }

    /// Returns true if figures of both continue each other: it is the same mount with the same
    /// quota.
    pub fn continues(&self, other: &Self) -> bool {
        self.is_same_mount(other) && self.quota_folder == other.quota_folder
    }

    /// Returns the space that the figures of the directory describe.
    pub fn space(&self) -> SpaceId<'_> {
        SpaceId { device: &self.device, quota_folder: self.quota_folder.as_deref() }
    }
}

/// A write probe that found the disk writable, or without space for the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The time of creating a file, writing 4 KiB, fdatasync and unlink.
    Succeeded(Duration),
    /// The same time. The filesystem cannot sync a file, so a crash of the node may lose it.
    Unsynced(Duration),
    /// `ENOSPC` with inodes left: no space.
    Full,
    /// `ENOSPC` without an inode left.
    InodesFull,
    /// `EDQUOT`.
    QuotaExceeded,
}

impl WriteOutcome {
    /// Returns the duration, or zero if there was no space to write.
    pub fn duration(self) -> Duration {
        match self {
            Self::Succeeded(took) | Self::Unsynced(took) => took,
            Self::Full | Self::InodesFull | Self::QuotaExceeded => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_and_an_unknown_part_make_no_other_mount() {
        let mount = MountLocation {
            mount_point: "/srv".to_owned(),
            fs_type: "xfs".to_owned(),
            device: "8:1".to_owned(),
            on_root_disk: false,
            part: Some(MountedPart::Whole),
            quota_folder: None,
        };
        let limited = MountLocation { quota_folder: Some("/a".to_owned()), ..mount.clone() };
        let earlier = MountLocation { part: None, ..mount.clone() };
        let folder =
            MountLocation { part: Some(MountedPart::Folder("/a".to_owned())), ..mount.clone() };
        let other = MountLocation { device: "8:2".to_owned(), ..mount.clone() };
        let root = MountLocation { on_root_disk: true, ..mount.clone() };
        for (now, expected) in
            [(&limited, true), (&earlier, true), (&folder, false), (&other, false), (&root, false)]
        {
            assert_eq!(mount.is_same_mount(now), expected, "{now:?}");
            assert_eq!(now.is_same_mount(&mount), expected, "{now:?}");
            let same_space = expected && now.quota_folder.is_none();
            assert_eq!(mount.continues(now), same_space, "{now:?}");
        }
        assert_ne!(mount.space(), limited.space());
        assert_eq!(mount.space(), folder.space());
    }

    #[test]
    fn available_is_never_above_total_and_total_never_zero() {
        assert!(Capacity::new(10, 10).is_ok());
        assert!(Capacity::new(10, 0).is_ok());
        for (total, available) in [(0, 0), (10, 11), (u64::MAX, 0), (1 << 63, 1)] {
            assert_eq!(
                Capacity::new(total, available),
                Err(ImplausibleCapacity { total, available })
            );
        }
    }
}
