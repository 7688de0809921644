//! Where an image directory lies among the mounts.

/// The mount that covered an image directory when it was measured.
///
/// Kept from the last good probe: it tells an unmounted disk (`not_mounted`) from a directory whose
/// marker is gone (`marker_missing`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLocation {
    /// The mount point, as `/proc/self/mountinfo` names it.
    pub mount_point: String,
    /// The filesystem's type, such as `ext4` or `nfs4`.
    pub fs_type: String,
    /// The superblock's device as `major:minor`.
    pub device: String,
    /// Whether this is the filesystem of `/` itself.
    pub on_root_disk: bool,
}
