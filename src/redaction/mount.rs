//! The lines of the mount table that concern some directories, with the options that are shown.

use std::path::Path;

use serde_json::{Value, json};

use super::redactor::Redactor;
use crate::model::MountLine;

/// Options without a value that are shown: those of all mounts, and of the filesystems that hold
/// images.
const FLAGS: &[&str] = &[
    "acl",
    "allow_other",
    "attr2",
    "autodefrag",
    "barrier",
    "casesensitive",
    "default_permissions",
    "degraded",
    "delalloc",
    "dirsync",
    "discard",
    "emergency_ro",
    "grpquota",
    "hard",
    "inode32",
    "inode64",
    "intr",
    "lazytime",
    "nfsv4acl",
    "noac",
    "noacl",
    "noattr2",
    "nobarrier",
    "nodelalloc",
    "nodev",
    "nodiratime",
    "nodiscard",
    "noexec",
    "nointr",
    "nolock",
    "noquota",
    "norecovery",
    "nosuid",
    "nosymfollow",
    "noatime",
    "noxattr",
    "posixacl",
    "prjquota",
    "quota",
    "relatime",
    "ro",
    "rw",
    "seclabel",
    "soft",
    "ssd",
    "strictatime",
    "sync",
    "uquota",
    "usrquota",
    "volatile",
    "xattr",
];
/// Options with a value that are shown, if the value is a figure or one of [`VALUES`].
const VALUED: &[&str] = &[
    "acdirmax",
    "acdirmin",
    "acregmax",
    "acregmin",
    "allocsize",
    "barrier",
    "blksize",
    "cache",
    "commit",
    "compress",
    "data",
    "discard",
    "errors",
    "gid",
    "group_id",
    "huge",
    "index",
    "local_lock",
    "logbsize",
    "logbufs",
    "lookupcache",
    "max_read",
    "metacopy",
    "minorversion",
    "mode",
    "namlen",
    "nr_inodes",
    "port",
    "proto",
    "redirect_dir",
    "retrans",
    "rsize",
    "sec",
    "size",
    "space_cache",
    "stripe",
    "subvolid",
    "sunit",
    "swidth",
    "timeo",
    "uid",
    "user_id",
    "vers",
    "wsize",
    "xino",
];
/// The words that the options with a value take.
const VALUES: &[&str] = &[
    "all",
    "always",
    "auto",
    "continue",
    "follow",
    "journal",
    "krb5",
    "krb5i",
    "krb5p",
    "loose",
    "lzo",
    "never",
    "nofollow",
    "none",
    "off",
    "on",
    "ordered",
    "panic",
    "pos",
    "positive",
    "rdma",
    "remount-ro",
    "strict",
    "sys",
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "uuid",
    "v2",
    "writeback",
    "within_size",
    "zlib",
    "zstd",
];
/// The filesystems whose type is shown. The subtype of a FUSE filesystem is a free text.
const FS_TYPES: &[&str] = &[
    "9p",
    "bcachefs",
    "beegfs",
    "btrfs",
    "ceph",
    "cifs",
    "ecryptfs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fuse",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.mergerfs",
    "fuse.s3fs",
    "fuse.sshfs",
    "fuseblk",
    "gfs2",
    "glusterfs",
    "jfs",
    "lustre",
    "nfs",
    "nfs4",
    "ntfs3",
    "ocfs2",
    "overlay",
    "ramfs",
    "smb3",
    "squashfs",
    "tmpfs",
    "vfat",
    "virtiofs",
    "xfs",
    "zfs",
];
/// The kinds of block devices whose names are shown, such as `sda1` and `nvme0n1p2`.
const DEVICE_KINDS: &[&str] = &[
    "bcache", "dm-", "drbd", "hd", "loop", "md", "mmcblk", "nbd", "nvme", "rbd", "sd", "vd", "xvd",
];
/// The maximum number of characters behind the kind of a device.
const MAX_DEVICE_CHARS: usize = 6;
/// The maximum number of characters of a figure, such as `1048576k` or `4.2`.
const MAX_FIGURE_CHARS: usize = 20;

/// Returns the lines of a mount table (`proc_pid_mountinfo(5)`) whose mount holds one of the
/// directories, or lies below one of them.
pub fn mounts_of(table: &str, dirs: &[String], redactor: &Redactor) -> Vec<Value> {
    let concerns = |mount_point: &str| {
        let holds = |dir: &String| {
            Path::new(dir).starts_with(mount_point) || Path::new(mount_point).starts_with(dir)
        };
        dirs.iter().any(holds)
    };
    let line = |line: &str| {
        let line = MountLine::parse(line)?;
        concerns(&line.mount_point).then(|| shown(&line, redactor))
    };
    table.lines().filter_map(line).collect()
}

fn shown(line: &MountLine<'_>, redactor: &Redactor) -> Value {
    // Any other source may have a user and a password.
    let is_known = FS_TYPES.contains(&line.fs_type);
    let is_source_shown = is_device(&line.source) || is_known && line.source == line.fs_type;
    let shown_if = |is_shown, text: &str| match is_shown {
        true => text.to_owned(),
        false => redactor.hide(text),
    };
    let (options, left_out) = shown_options(line.options);
    let (super_options, super_left_out) = shown_options(line.super_options);
    json!({
        "id": line.id,
        "parent": line.parent,
        "device": redactor.text(line.device),
        "root": redactor.path(&line.root),
        "mountPoint": redactor.path(&line.mount_point),
        "options": options,
        "type": shown_if(is_known, line.fs_type),
        "source": shown_if(is_source_shown, &line.source),
        "superOptions": super_options,
        "optionsLeftOut": left_out.saturating_add(super_left_out),
    })
}

fn is_device(source: &str) -> bool {
    let Some(name) = source.strip_prefix("/dev/") else { return false };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let kinds = DEVICE_KINDS.iter().filter_map(|kind| name.strip_prefix(kind));
    kinds.into_iter().any(|rest| rest.len() <= MAX_DEVICE_CHARS && rest.chars().all(is_plain))
}

/// Returns the options that are shown, and the number of the others.
fn shown_options(options: &str) -> (Vec<&str>, usize) {
    let all = options.split(',').filter(|option| !option.is_empty());
    let (shown, others): (Vec<&str>, Vec<&str>) = all.partition(|option| is_shown(option));
    (shown, others.len())
}

fn is_shown(option: &str) -> bool {
    match option.split_once('=') {
        None => FLAGS.contains(&option),
        Some((name, value)) => {
            VALUED.contains(&name) && (VALUES.contains(&value) || is_figure(value))
        }
    }
}

/// Returns true if the value is a number, with a unit or parts such as `4.2` or `8:2`.
fn is_figure(value: &str) -> bool {
    let digits = value.trim_end_matches(['k', 'm', 'g', '%']);
    let is_digit = |c: char| c.is_ascii_digit() || matches!(c, '.' | ':');
    value.len() <= MAX_FIGURE_CHARS && !digits.is_empty() && digits.chars().all(is_digit)
}
