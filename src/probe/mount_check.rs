//! Mount checks: the mount that holds a directory, and the loss of its disk.

use std::path::Path;

use super::mountinfo;
use super::types::ProbeExpectation;
use super::worker::protocol::MountState;
use crate::model::{Fault, MountLocation, Reason};

/// Returns true if the mount that held the directory is gone, so that the directory below its mount
/// point is visible. A copy left there has the marker too, but it is not the store.
///
/// This check does not distinguish a filesystem that is mounted elsewhere, or another one at the
/// same mount point. The marker names the store that it holds. The check also ignores a missing
/// bind mount of the same filesystem, such as systemd creates for each `ReadWritePaths` of a unit.
pub(super) fn mount_is_missing(place: &MountLocation, now: &MountState) -> bool {
    if now.on_root_disk {
        return !place.on_root_disk;
    }
    let is_ancestor = place.mount_point != now.mount_point
        && Path::new(&place.mount_point).starts_with(&now.mount_point);
    is_ancestor && (&now.device, &now.fs_type) != (&place.device, &place.fs_type)
}

/// Returns true if another disk is mounted in place of the one that held the directory. An example
/// is a container with a mount point whose disk the host has not mounted. The check applies only
/// without a marker, because the number of a disk may change with a boot. Filesystems without a
/// block device get a new number with each mount (major 0, `admin-guide/devices.txt` of the
/// kernel), so their numbers are not compared.
pub(super) fn is_another_disk(place: &MountLocation, now: &MountState) -> bool {
    let has_block_device = |device: &str| !device.starts_with("0:");
    let both_numbered = has_block_device(&place.device) && has_block_device(&now.device);
    let other = place.fs_type != now.fs_type || (both_numbered && place.device != now.device);
    other && !place.on_root_disk
}

/// Returns the fault for a disk that is not mounted where it was at the last successful probe.
pub(super) fn not_mounted_fault(place: &MountLocation, now: &MountState) -> Fault {
    let details = format!(
        "the directory was on {} ({}) mounted at {}; now it is on {} ({}) mounted at {}",
        place.device, place.fs_type, place.mount_point, now.device, now.fs_type, now.mount_point
    );
    with_mount_details(Fault::new(Reason::NotMounted, details), now)
        .with_detail("expectedMountPoint", place.mount_point.as_str())
        .with_detail("expectedFsType", place.fs_type.as_str())
}

/// Adds the mount that holds the directory to a fault.
pub(super) fn with_mount_details(fault: Fault, mount: &MountState) -> Fault {
    fault
        .with_detail("mountPoint", mount.mount_point.as_str())
        .with_detail("fsType", mount.fs_type.as_str())
        .with_detail("device", mount.device.as_str())
}

/// Replaces the fault of a missing directory with `not_mounted` if its disk is not mounted.
pub(super) fn explain_missing_directory(fault: Fault, expectation: &ProbeExpectation) -> Fault {
    let ProbeExpectation::Serve { place, .. } = expectation else { return fault };
    if fault.reason() != Reason::DirectoryMissing || place.on_root_disk {
        return fault;
    }
    // Without `/proc` the fault stays as it is.
    let mounts = mountinfo::read_mounts().unwrap_or_default();
    // The last mount covers the others.
    let at_mount_point = mounts.iter().rev().find(|mount| mount.mount_point == place.mount_point);
    match at_mount_point
        .or_else(|| mountinfo::root_device(&mounts))
        .map(|mount| MountState::from_mount(mount, &mounts))
    {
        Some(now) if now.mount_point != place.mount_point || is_another_disk(place, &now) => {
            not_mounted_fault(place, &now)
        }
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_disk_has_another_number_or_another_type() {
        for (was, is, expected) in [
            (("8:1", "xfs"), ("8:1", "xfs"), false),
            (("8:1", "xfs"), ("8:17", "xfs"), true),
            (("8:1", "xfs"), ("8:1", "ext4"), true),
            (("0:44", "nfs4"), ("0:51", "nfs4"), false),
            (("0:44", "nfs4"), ("254:0", "ext4"), true),
        ] {
            let place = MountLocation {
                mount_point: "/srv".to_owned(),
                fs_type: was.1.to_owned(),
                device: was.0.to_owned(),
                on_root_disk: false,
            };
            let now = MountState {
                mount_point: "/srv".to_owned(),
                fs_type: is.1.to_owned(),
                device: is.0.to_owned(),
                on_root_disk: false,
                superblock_read_only: false,
            };
            assert_eq!(is_another_disk(&place, &now), expected, "{was:?} {is:?}");
        }
    }

    #[test]
    fn a_mount_that_is_gone_lets_its_parent_show() {
        let was = |mount_point: &str, on_root_disk| MountLocation {
            mount_point: mount_point.to_owned(),
            fs_type: "xfs".to_owned(),
            device: "8:1".to_owned(),
            on_root_disk,
        };
        let (disk, bound) = (was("/srv/disk", false), was("/srv/disk", true));
        for (place, mount_point, device, fs_type, on_root_disk, expected) in [
            (&disk, "/srv/disk", "8:1", "xfs", false, false),
            // Remounted: another number at the same place, or another place.
            (&disk, "/srv/disk", "8:2", "ext4", false, false),
            (&disk, "/mnt", "8:1", "xfs", false, false),
            (&disk, "/srv/dis", "8:2", "xfs", false, false),
            // A bind mount of the directory, or one taken away.
            (&disk, "/srv/disk/images", "8:1", "xfs", false, false),
            (&disk, "/srv", "8:1", "xfs", false, false),
            (&bound, "/", "8:2", "xfs", true, false),
            // The disk is gone.
            (&disk, "/srv", "8:2", "xfs", false, true),
            (&disk, "/srv", "8:1", "ext4", false, true),
            (&disk, "/", "8:2", "xfs", false, true),
            (&disk, "/", "8:2", "xfs", true, true),
            // Also where the sandbox binds a folder of the root disk around it.
            (&disk, "/srv/disk", "8:2", "xfs", true, true),
        ] {
            let now = MountState {
                mount_point: mount_point.to_owned(),
                fs_type: fs_type.to_owned(),
                device: device.to_owned(),
                on_root_disk,
                superblock_read_only: false,
            };
            assert_eq!(mount_is_missing(place, &now), expected, "{place:?} {now:?}");
        }
    }
}
