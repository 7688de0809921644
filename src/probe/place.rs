//! Where the directory lies, and whether the disk that held it is still there.

use super::identity::Purpose;
use super::mountinfo;
use super::order::MountSeen;
use crate::model::{Fault, FsPlace, Reason};

/// The disk that held the store when it was last good is not where it was.
pub(super) fn not_mounted(place: &FsPlace, now: &MountSeen) -> Fault {
    let told = format!(
        "the directory was on {} ({}) mounted at {}; now it lies on {}",
        place.device, place.fs_type, place.mount_point, now.mount_point
    );
    placed(Fault::new(Reason::NotMounted, told), now)
        .fact("expectedMountPoint", place.mount_point.as_str())
        .fact("expectedFsType", place.fs_type.as_str())
}

/// A fault with the mount that the directory lies on.
pub(super) fn placed(fault: Fault, mount: &MountSeen) -> Fault {
    fault
        .fact("mountPoint", mount.mount_point.as_str())
        .fact("fsType", mount.fs_type.as_str())
        .fact("device", mount.device.as_str())
}

/// A directory that is not there because the disk that holds it is not: says so.
pub(super) fn missing_mount(fault: Fault, purpose: &Purpose) -> Fault {
    let Purpose::Serve { place, .. } = purpose else { return fault };
    if fault.reason() != Reason::DirectoryMissing || place.on_root_disk {
        return fault;
    }
    // Without `/proc` there is no telling more than what was seen.
    let mounts = mountinfo::read().unwrap_or_default();
    if mounts.iter().any(|mount| mount.mount_point == place.mount_point) {
        return fault;
    }
    match mountinfo::root(&mounts) {
        Some(root) => not_mounted(
            place,
            &MountSeen {
                mount_point: root.mount_point.clone(),
                fs_type: root.fs_type.clone(),
                device: root.device.clone(),
                on_root_disk: true,
                mount_read_only: root.is_read_only(),
                superblock_read_only: root.superblock_is_read_only(),
            },
        ),
        None => fault,
    }
}
