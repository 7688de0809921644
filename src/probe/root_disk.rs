//! Relation of a mount to the root disk. In a container the root filesystem is an overlay, and its
//! device says nothing about the root disk of the host. The container runtime binds files and
//! folders of that disk into the container, and these show its device.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::mountinfo;
use super::mountinfo::MountEntry;
use crate::model::MountedPart;

/// Files that container runtimes bind from their own disk, which usually is the root disk of the
/// host.
const RUNTIME_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// Types of filesystems that combine the layers of a container image.
const LAYERED_TYPES: [&str; 5] =
    ["overlay", "overlayfs", "aufs", "fuse.fuse-overlayfs", "fuse-overlayfs"];
/// Filesystems on local disks whose device number has no block device (major 0).
const LOCAL_TYPES_WITHOUT_DEVICE: [&str; 4] = ["btrfs", "zfs", "bcachefs", "overlay"];

/// Relation of a mount to the root disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RootRelation {
    /// The mount is on another disk.
    Separate,
    /// The mount is on the device of `/`.
    RootDevice,
    /// The root filesystem is an overlay, and the mount is on the device of this file.
    DeviceOfFile(String),
    /// The root filesystem is an overlay, no file shows the disk of the container runtime, and the
    /// mount shows only a folder of a local disk. The disk may be the root disk of the host.
    BoundFolder,
}

/// Evidence about the root disk from the mount table.
pub(super) struct RootDisk<'a> {
    /// The device of `/`.
    device: Option<String>,
    /// True if `/` is an overlay.
    is_layered: bool,
    /// The bound files of the container runtime, with their devices.
    files: Vec<(&'a str, &'a str)>,
    /// True if one of these files is on a local disk. Podman keeps them in a tmpfs.
    shows_runtime_disk: bool,
    /// Devices of which a mount shows the whole filesystem.
    whole: BTreeSet<&'a str>,
}

impl<'a> RootDisk<'a> {
    /// Finds the evidence in the mount table. `device_of_root` is the device of `/` as `stat(2)`
    /// reports it. It counts only if the table has no mount on `/`, as in a chroot into a folder.
    pub(super) fn from_mounts(mounts: &'a [MountEntry], device_of_root: Option<&str>) -> Self {
        let root = mountinfo::root_device(mounts);
        // The last mount on a file covers the others.
        let mount_on = |file| mounts.iter().rev().find(|mount| mount.mount_point == file);
        let files: Vec<_> =
            RUNTIME_FILES.iter().filter_map(|file| Some((*file, mount_on(*file)?))).collect();
        let whole = mounts.iter().filter(|mount| mount.part() == MountedPart::Whole);
        Self {
            device: root.map(|mount| mount.device.as_str()).or(device_of_root).map(str::to_owned),
            is_layered: root.is_some_and(|root| LAYERED_TYPES.contains(&root.fs_type.as_str())),
            shows_runtime_disk: files
                .iter()
                .any(|(_, mount)| is_local(&mount.device, &mount.fs_type)),
            files: files.into_iter().map(|(file, mount)| (file, mount.device.as_str())).collect(),
            whole: whole.map(|mount| mount.device.as_str()).collect(),
        }
    }

    /// Returns the relation of a mount of this table.
    pub(super) fn relation_of(&self, mount: &MountEntry) -> RootRelation {
        let device = mount.device.as_str();
        if self.device.as_deref() == Some(device) {
            return RootRelation::RootDevice;
        }
        if !self.is_layered {
            return RootRelation::Separate;
        }
        if let Some((file, _)) = self.files.iter().find(|(_, of_file)| *of_file == device) {
            return RootRelation::DeviceOfFile((*file).to_owned());
        }
        let shows_folder = mount.part() != MountedPart::Whole && !self.whole.contains(device);
        match shows_folder && is_local(&mount.device, &mount.fs_type) && !self.shows_runtime_disk {
            true => RootRelation::BoundFolder,
            false => RootRelation::Separate,
        }
    }
}

/// Returns true if the filesystem is on a disk of its machine. A network filesystem is never the
/// root disk of a host with containers.
pub(crate) fn is_local(device: &str, fs_type: &str) -> bool {
    !device.starts_with("0:") || LOCAL_TYPES_WITHOUT_DEVICE.contains(&fs_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAY: &str = "500 400 0:60 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u\n";
    const EXT4_ROOT: &str = "27 1 254:0 / / rw - ext4 /dev/vda rw\n";

    /// Returns the relation of the mount on `/srv/images`.
    fn relation(mounts: &[&str], device_of_root: Option<&str>) -> RootRelation {
        let mounts = mountinfo::parse_mountinfo(&mounts.concat());
        let mount = mounts.iter().find(|mount| mount.mount_point == "/srv/images").unwrap();
        RootDisk::from_mounts(&mounts, device_of_root).relation_of(mount)
    }

    #[test]
    fn each_shape_of_a_mount_table_has_its_relation() {
        use RootRelation::{BoundFolder, DeviceOfFile, RootDevice, Separate};
        let of_hosts = || DeviceOfFile("/etc/hosts".to_owned());
        // Docker: the three files lie in its data root.
        let docker = "510 500 254:0 /var/lib/docker/containers/c/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw\n\
                      511 500 254:0 /var/lib/docker/containers/c/hosts /etc/hosts rw - ext4 /dev/vda rw\n";
        // Podman keeps them in /run, which is a tmpfs.
        let podman = "511 500 0:25 /containers/c/hosts /etc/hosts rw - tmpfs tmpfs rw,mode=755\n";
        let kubernetes = "511 500 259:1 /var/lib/kubelet/pods/p/etc-hosts /etc/hosts rw - xfs /dev/nvme0n1p1 rw\n";
        let fuse_overlay =
            "500 400 0:60 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0\n";
        for (name, mounts, expected) in [
            (
                "docker, a volume",
                vec![
                    OVERLAY,
                    docker,
                    "520 500 254:0 /var/lib/docker/volumes/v/_data /srv/images rw - ext4 /dev/vda rw\n",
                ],
                of_hosts(),
            ),
            (
                "docker, a data disk",
                vec![OVERLAY, docker, "520 500 8:17 / /srv/images rw - xfs /dev/sdb1 rw\n"],
                Separate,
            ),
            (
                "docker, a folder of a data disk",
                vec![OVERLAY, docker, "520 500 8:17 /images /srv/images rw - xfs /dev/sdb1 rw\n"],
                Separate,
            ),
            (
                "docker with its data root on another disk, a folder of that disk",
                vec![
                    OVERLAY,
                    "511 500 8:17 /docker/containers/c/hosts /etc/hosts rw - xfs /dev/sdb1 rw\n",
                    "520 500 8:17 /images /srv/images rw - xfs /dev/sdb1 rw\n",
                ],
                of_hosts(),
            ),
            (
                "an overlay without files of a runtime, a folder of a disk",
                vec![OVERLAY, "520 500 8:17 /images /srv/images rw - xfs /dev/sdb1 rw\n"],
                BoundFolder,
            ),
            (
                "an overlay without files of a runtime, a disk",
                vec![OVERLAY, "520 500 8:17 / /srv/images rw - xfs /dev/sdb1 rw\n"],
                Separate,
            ),
            (
                "podman, a folder beside its whole disk",
                vec![
                    OVERLAY,
                    podman,
                    "519 500 8:17 / /srv rw - xfs /dev/sdb1 rw\n",
                    "520 519 8:17 /images /srv/images rw - xfs /dev/sdb1 rw\n",
                ],
                Separate,
            ),
            (
                "docker, the whole host",
                vec![
                    OVERLAY,
                    docker,
                    "519 500 254:0 / /host rw - ext4 /dev/vda rw\n",
                    "520 500 254:0 /srv/images /srv/images rw - ext4 /dev/vda rw\n",
                ],
                of_hosts(),
            ),
            (
                "docker, an NFS folder",
                vec![OVERLAY, docker, "520 500 0:71 /images /srv/images rw - nfs4 server:/ rw\n"],
                Separate,
            ),
            (
                "docker, a tmpfs",
                vec![OVERLAY, docker, "520 500 0:72 / /srv/images rw - tmpfs tmpfs rw\n"],
                Separate,
            ),
            (
                "podman, a volume",
                vec![
                    OVERLAY,
                    podman,
                    "520 500 254:0 /var/lib/containers/storage/volumes/v/_data /srv/images rw - ext4 /dev/vda rw\n",
                ],
                BoundFolder,
            ),
            (
                "podman without root",
                vec![
                    fuse_overlay,
                    "520 500 254:0 /home/u/images /srv/images rw - ext4 /dev/vda rw\n",
                ],
                BoundFolder,
            ),
            (
                "podman, a folder in /run",
                vec![
                    OVERLAY,
                    podman,
                    "520 500 0:25 /images /srv/images rw - tmpfs tmpfs rw,mode=755\n",
                ],
                of_hosts(),
            ),
            (
                "kubernetes, hostPath",
                vec![
                    OVERLAY,
                    kubernetes,
                    "520 500 259:1 /srv/images /srv/images rw - xfs /dev/nvme0n1p1 rw\n",
                ],
                of_hosts(),
            ),
            (
                "kubernetes, a block volume",
                vec![
                    OVERLAY,
                    kubernetes,
                    "520 500 259:7 / /srv/images rw - ext4 /dev/nvme1n1 rw\n",
                ],
                Separate,
            ),
            (
                "a btrfs host, its subvolume",
                vec![
                    OVERLAY,
                    "511 500 0:30 /@/var/lib/docker/containers/c/hosts /etc/hosts rw - btrfs /dev/sda2 rw,subvolid=256,subvol=/@\n",
                    "520 500 0:30 /@images /srv/images rw - btrfs /dev/sda2 rw,subvolid=300,subvol=/@images\n",
                ],
                of_hosts(),
            ),
            (
                "a subvolume of a data disk",
                vec![
                    OVERLAY,
                    docker,
                    "520 500 0:44 /@images /srv/images rw - btrfs /dev/sdb rw,subvolid=300,subvol=/@images\n",
                ],
                Separate,
            ),
            (
                "docker, a folder of a subvolume of a data disk",
                vec![
                    OVERLAY,
                    docker,
                    "520 500 0:44 /@images/a /srv/images rw - btrfs /dev/sdb rw,subvolid=300,subvol=/@images\n",
                ],
                Separate,
            ),
            (
                "podman, a folder of a subvolume",
                vec![
                    OVERLAY,
                    podman,
                    "520 500 0:44 /@images/a /srv/images rw - btrfs /dev/sdb rw,subvolid=300,subvol=/@images\n",
                ],
                BoundFolder,
            ),
            (
                "nspawn, a folder of the host",
                vec![
                    "500 400 254:0 /var/lib/machines/m / rw - ext4 /dev/vda rw\n",
                    "520 500 254:0 /srv/images /srv/images rw - ext4 /dev/vda rw\n",
                ],
                RootDevice,
            ),
            (
                "LXC, a disk",
                vec![
                    "500 400 254:0 /var/lib/lxc/c/rootfs / rw - ext4 /dev/vda rw\n",
                    "520 500 8:17 / /srv/images rw - ext4 /dev/sdb1 rw\n",
                ],
                Separate,
            ),
            (
                "a machine, a disk",
                vec![EXT4_ROOT, "520 27 8:17 / /srv/images rw - ext4 /dev/sdb1 rw\n"],
                Separate,
            ),
            (
                "a machine, a sandbox that binds a folder of a disk",
                vec![EXT4_ROOT, "520 27 8:17 /images /srv/images rw - ext4 /dev/sdb1 rw\n"],
                Separate,
            ),
            (
                "a machine, a sandbox that binds a folder of the root disk",
                vec![EXT4_ROOT, "520 27 254:0 /srv/images /srv/images rw - ext4 /dev/vda rw\n"],
                RootDevice,
            ),
            (
                "a machine whose root is an overlay, a disk in a sandbox",
                vec![
                    OVERLAY,
                    "519 500 8:17 / /srv ro - ext4 /dev/sdb1 rw\n",
                    "520 519 8:17 /images /srv/images rw - ext4 /dev/sdb1 rw\n",
                ],
                Separate,
            ),
            (
                "a folder of the overlay itself",
                vec![
                    OVERLAY,
                    "520 500 0:60 /srv/images /srv/images rw - overlay overlay rw,lowerdir=/l\n",
                ],
                RootDevice,
            ),
            (
                "a folder of another overlay",
                vec![OVERLAY, "520 500 0:61 /a /srv/images rw - overlay overlay rw,lowerdir=/l\n"],
                BoundFolder,
            ),
            (
                "a mount over another one on /etc/hosts",
                vec![
                    OVERLAY,
                    docker,
                    "512 511 8:33 /hosts /etc/hosts rw - ext4 /dev/sdc1 rw\n",
                    "520 500 254:0 /images /srv/images rw - ext4 /dev/vda rw\n",
                ],
                DeviceOfFile("/etc/resolv.conf".to_owned()),
            ),
        ] {
            assert_eq!(relation(&mounts, None), expected, "{name}");
        }
    }

    #[test]
    fn a_chroot_into_a_folder_has_the_device_of_its_root() {
        let bound = "520 27 254:0 /images /srv/images rw - ext4 /dev/vda rw\n";
        assert_eq!(relation(&[bound], Some("254:0")), RootRelation::RootDevice);
        assert_eq!(relation(&[bound], Some("8:1")), RootRelation::Separate);
        // A mount on `/` counts more: on btrfs, `stat` reports the number of the subvolume.
        let other = "500 400 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(relation(&[other, bound], Some("254:0")), RootRelation::Separate);
    }
}
