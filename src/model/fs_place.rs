//! Location of an image directory in the mount table.

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
    /// True if this is the root filesystem.
    pub on_root_disk: bool,
}
