//! Mount checks: the mount that holds a directory, and the loss of its disk.

use std::path::Path;

use super::mountinfo;
use super::root_disk::{RootDisk, RootRelation};
use super::types::ProbeExpectation;
use super::worker::protocol::MountState;
use crate::model::{Fault, MountLocation, MountedPart, Reason, Remedy};

/// Returns true if the mount that held the directory is gone, so that the directory below its mount
/// point is visible. A copy left there has the marker too, but it is not the store.
///
/// This check does not distinguish a filesystem that is mounted elsewhere, or another one at the
/// same mount point. The marker names the store that it holds. The check also ignores a missing
/// bind mount of the same filesystem, such as systemd creates for each `ReadWritePaths` of a unit.
///
/// The bind mount of a folder may be all that is left of a mount of the disk: a container runtime
/// or a sandbox binds the empty mount point of the host. The folder is then on another disk, which
/// need not be the root disk.
pub(super) fn mount_is_missing(place: &MountLocation, now: &MountState) -> bool {
    if now.is_on_root_disk() {
        return !place.on_root_disk && !was_on_this_disk(place, now);
    }
    let may_be_root_disk = now.root_relation == RootRelation::BoundFolder;
    if place.part == Some(MountedPart::Whole)
        && now.folder.is_some()
        && (may_be_root_disk || place.mount_point == now.mount_point)
    {
        return is_another_disk(place, now);
    }
    let is_ancestor = place.mount_point != now.mount_point
        && Path::new(&place.mount_point).starts_with(&now.mount_point);
    is_ancestor && (&now.device, &now.fs_type) != (&place.device, &place.fs_type)
}

/// Returns true if an earlier version stored the same mount. It did not know the root disk of the
/// host of a container, and recorded such a directory as one on a disk of its own.
fn was_on_this_disk(place: &MountLocation, now: &MountState) -> bool {
    place.part.is_none()
        && matches!(now.root_relation, RootRelation::DeviceOfFile(_))
        && (&place.mount_point, &place.device, &place.fs_type)
            == (&now.mount_point, &now.device, &now.fs_type)
}

/// Returns the fault of a directory on the root disk, or `None` if it is on another one.
pub(super) fn root_disk_fault(mount: &MountState) -> Option<Fault> {
    let MountState { mount_point, fs_type, device, .. } = mount;
    let folder = mount.folder.as_deref().unwrap_or("/");
    let fault = |details: String| {
        let fault = with_mount_details(Fault::new(Reason::OnRootDisk, details), mount);
        match &mount.folder {
            Some(folder) => fault.with_detail("folder", folder.as_str()),
            None => fault,
        }
    };
    match &mount.root_relation {
        RootRelation::Separate => None,
        RootRelation::RootDevice => {
            Some(fault("the directory lies on the root filesystem".to_owned()))
        }
        RootRelation::DeviceOfFile(file) => {
            let details = format!(
                "the directory lies on {device} ({fs_type}), the disk of {file}: / is an overlay, as \
                 in a container, and this is the disk of the host that holds the container"
            );
            Some(
                fault(details).with_detail("file", file.as_str()).with_remedy(
                    Remedy::PassDataDisk { device: device.clone(), file: file.clone() },
                ),
            )
        }
        RootRelation::BoundFolder => {
            let details = format!(
                "{mount_point} shows only the folder {folder} of {device} ({fs_type}): / is an \
                 overlay, as in a container, and it is unknown whether this is the root disk of the \
                 host, because none of /etc/hosts, /etc/hostname and /etc/resolv.conf is bound from \
                 a disk"
            );
            Some(fault(details).with_remedy(Remedy::PassMountPoint {
                folder: folder.to_string(),
                device: device.clone(),
            }))
        }
    }
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
        "the directory was on {} ({}) mounted at {}; now its path lies on {} ({}) mounted at {}",
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
    let root_disk = RootDisk::from_mounts(&mounts, None);
    let covering = mountinfo::covering_mount(&mounts, &place.mount_point);
    match covering.map(|mount| MountState::from_mount(mount, &root_disk)) {
        Some(now) if now.mount_point != place.mount_point || is_another_disk(place, &now) => {
            not_mounted_fault(place, &now)
        }
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};

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
                part: None,
                quota_folder: None,
            };
            let now = MountState {
                mount_point: "/srv".to_owned(),
                fs_type: is.1.to_owned(),
                device: is.0.to_owned(),
                folder: None,
                root_relation: RootRelation::Separate,
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
            part: None,
            quota_folder: None,
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
                folder: None,
                root_relation: match on_root_disk {
                    true => RootRelation::RootDevice,
                    false => RootRelation::Separate,
                },
                superblock_read_only: false,
            };
            assert_eq!(mount_is_missing(place, &now), expected, "{place:?} {now:?}");
        }
    }

    #[test]
    fn a_mount_of_its_own_that_became_a_folder_of_another_disk_is_missing() {
        let was = |part| MountLocation {
            mount_point: "/srv/disk".to_owned(),
            fs_type: "xfs".to_owned(),
            device: "8:1".to_owned(),
            on_root_disk: false,
            part,
            quota_folder: None,
        };
        let whole = was(Some(MountedPart::Whole));
        let folder = was(Some(MountedPart::Folder("/images".to_owned())));
        let of_file = || RootRelation::DeviceOfFile("/etc/hosts".to_owned());
        for (place, device, fs_type, relation, expected) in [
            (&whole, "8:1", "xfs", RootRelation::Separate, false),
            // The container was given the folder of the same disk instead of its mount point.
            (&whole, "8:1", "xfs", RootRelation::BoundFolder, false),
            (&whole, "254:0", "ext4", RootRelation::BoundFolder, true),
            (&whole, "8:17", "xfs", RootRelation::BoundFolder, true),
            // The mount point was on a disk that is not the root disk.
            (&whole, "8:17", "xfs", RootRelation::Separate, true),
            (&folder, "8:17", "xfs", RootRelation::Separate, false),
            (&whole, "254:0", "ext4", of_file(), true),
            (&whole, "8:1", "xfs", of_file(), true),
            // It was always a folder, and its disk got another number.
            (&folder, "8:17", "xfs", RootRelation::BoundFolder, false),
            (&folder, "254:0", "ext4", of_file(), true),
            // A location of an earlier version, which did not look at the files.
            (&was(None), "8:1", "xfs", of_file(), false),
            (&was(None), "254:0", "xfs", of_file(), true),
            (&was(None), "8:1", "xfs", RootRelation::RootDevice, true),
            (&was(None), "254:0", "ext4", RootRelation::BoundFolder, false),
        ] {
            let now = MountState {
                mount_point: "/srv/disk".to_owned(),
                fs_type: fs_type.to_owned(),
                device: device.to_owned(),
                folder: Some("/srv/disk".to_owned()),
                root_relation: relation,
                superblock_read_only: false,
            };
            assert_eq!(mount_is_missing(place, &now), expected, "{place:?} {now:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_file_the_device_and_the_option() {
        let mount = |relation| MountState {
            mount_point: "/srv/disk".to_owned(),
            fs_type: "ext4".to_owned(),
            device: "254:0".to_owned(),
            folder: Some("/var/lib/docker/volumes/v/_data".to_owned()),
            root_relation: relation,
            superblock_read_only: false,
        };
        assert_eq!(root_disk_fault(&mount(RootRelation::Separate)), None);
        let of_file = RootRelation::DeviceOfFile("/etc/hostname".to_owned());
        for (relation, words) in [
            (RootRelation::RootDevice, vec!["allow_root_disk"]),
            (of_file, vec!["allow_root_disk", "/etc/hostname", "254:0"]),
            (
                RootRelation::BoundFolder,
                vec!["allow_root_disk", "/docker/volumes/v/_data", "254:0"],
            ),
        ] {
            let fault = root_disk_fault(&mount(relation)).unwrap();
            assert_eq!(fault.reason(), Reason::OnRootDisk);
            for word in words {
                assert!(
                    fault_action(&fault, Language::English).contains(word),
                    "{word}: {}",
                    fault_action(&fault, Language::English)
                );
            }
        }
    }
}
