//! The decision whether another user can reach and use a file. The permission bits decide, as the
//! kernel applies them (`path_resolution(7)`).
//!
//! # Never
//! - It never reports a denial of a file with an access list, because the list may grant more.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::getxattr;

use super::open::{FolderOnWay, Found, PathEnd, walk_path};
use super::{FileStatus, FileType};

/// The attributes that contain an access list: POSIX (`acl(5)`), and that of an NFS server.
const ACCESS_LISTS: [&str; 2] = ["system.posix_acl_access", "system.nfs4_acl"];
/// Size of the buffer for an access list. Only the existence of the list counts, and a longer list
/// is an error that says as much.
const ACCESS_LIST_BYTES: usize = 64;

/// A user of the system, with all of its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemUser {
    /// User id.
    pub user: u32,
    /// Ids of the main group and of the supplementary groups.
    pub groups: Vec<u32>,
}

/// The access to a file that a user needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// To read a file.
    Read,
    /// To read and write a file.
    ReadAndWrite,
    /// To look an entry up in a folder.
    Search,
}

impl FileAccess {
    /// Returns the bits of the access, as for the users of no other class.
    fn bits(self) -> u32 {
        match self {
            Self::Read => 0o4,
            Self::ReadAndWrite => 0o6,
            Self::Search => 0o1,
        }
    }
}

/// The class of users whose permission bits decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserClass {
    /// The owner of the file.
    Owner,
    /// The members of the group of the file.
    Group,
    /// Every other user.
    Others,
}

/// The permission bits deny an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeDenial {
    /// The class of the user.
    pub class: UserClass,
    /// True if the group of the file has the access. A service manager may give this group to the
    /// daemon, and the system does not know of it.
    pub is_granted_to_group: bool,
}

/// A file or folder that a user cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedAccess {
    /// The file, or a folder on the way to it.
    pub path: PathBuf,
    /// Its owner, group and mode.
    pub status: FileStatus,
    /// The access that is denied.
    pub access: FileAccess,
    /// The reason.
    pub denial: ModeDenial,
}

/// Returns the denial by the permission bits, or `None` if they grant the access. One class decides
/// alone: the owner cannot read a file that only its group can read. Root has every access.
fn mode_denial(status: &FileStatus, user: &SystemUser, access: FileAccess) -> Option<ModeDenial> {
    if user.user == 0 {
        return None;
    }
    let bits = access.bits();
    let grants = |shift: u32| (status.mode >> shift) & bits == bits;
    let (class, is_granted) = if status.user == user.user {
        (UserClass::Owner, grants(6))
    } else if user.groups.contains(&status.group) {
        (UserClass::Group, grants(3))
    } else {
        (UserClass::Others, grants(0))
    };
    let is_granted_to_group =
        class == UserClass::Others && status.group != 0 && grants(3) && !is_granted;
    (!is_granted).then_some(ModeDenial { class, is_granted_to_group })
}

/// Returns the first folder on the way to a file that the user cannot search, else the file if the
/// user lacks the access to it. Returns `None` if nothing is denied, or if an access list may grant
/// what the permission bits deny.
///
/// # Errors
/// Returns the error of the system if this process cannot look the file up.
pub fn find_denied_access(
    path: &Path,
    user: &SystemUser,
    access: FileAccess,
) -> io::Result<Option<DeniedAccess>> {
    let judge = |path: &Path, file: &dyn AsRawFd, status: FileStatus, access| {
        let denial = mode_denial(&status, user, access)?;
        let denied = DeniedAccess { path: path.to_owned(), status, access, denial };
        (!may_have_access_list(file)).then_some(denied)
    };
    let mut denied = None;
    let end = walk_path(path, |FolderOnWay { folder, shown, status }, _| {
        if denied.is_none() {
            denied = judge(shown, folder, status, FileAccess::Search);
        }
    })?;
    if denied.is_some() {
        return Ok(denied);
    }
    let PathEnd { found: Found::Entry(status, entry), shown, .. } = end else { return Ok(None) };
    let access = if status.file_type == FileType::Folder { FileAccess::Search } else { access };
    Ok(judge(&shown, &entry, status, access))
}

/// Returns true if the file has an access list, or if the system does not say.
fn may_have_access_list(file: &dyn AsRawFd) -> bool {
    use rustix::io::Errno;
    // The descriptor only names the file, and fgetxattr(2) refuses such descriptors.
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    ACCESS_LISTS.iter().any(|name| {
        let mut list = [0_u8; ACCESS_LIST_BYTES];
        !matches!(getxattr(&*link, *name, &mut list), Err(Errno::NODATA | Errno::OPNOTSUPP))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::FileAccess::{Read, ReadAndWrite, Search};
    use super::UserClass::{Group, Others, Owner};
    use super::*;

    fn daemon() -> SystemUser {
        SystemUser { user: 64, groups: vec![65, 66] }
    }

    fn status(user: u32, group: u32, mode: u32) -> FileStatus {
        FileStatus { file_type: FileType::Regular, user, group, mode, links: 1 }
    }

    #[test]
    fn one_class_of_permission_bits_decides() {
        let denied = |class| Some(ModeDenial { class, is_granted_to_group: false });
        let of_group = Some(ModeDenial { class: Others, is_granted_to_group: true });
        for (user, group, mode, access, expected) in [
            // The documented modes of a file with a secret.
            (0, 65, 0o640, Read, None),
            (0, 66, 0o640, Read, None),
            (64, 64, 0o400, Read, None),
            (0, 0, 0o600, Read, denied(Others)),
            // The group of root is no group of a daemon.
            (0, 0, 0o640, Read, denied(Others)),
            (0, 7, 0o600, Read, denied(Others)),
            (0, 7, 0o640, Read, of_group),
            (0, 7, 0o644, Read, None),
            (7, 7, 0o604, Read, None),
            (0, 65, 0o600, Read, denied(Group)),
            // The bits of the others do not help a member, and those of the group not the owner.
            (0, 65, 0o604, Read, denied(Group)),
            (64, 65, 0o044, Read, denied(Owner)),
            // A folder is searched, and need not be readable.
            (0, 0, 0o700, Search, denied(Others)),
            (0, 0, 0o744, Search, denied(Others)),
            (0, 0, 0o711, Search, None),
            (0, 7, 0o710, Search, of_group),
            (0, 65, 0o710, Search, None),
            (0, 65, 0o701, Search, denied(Group)),
            (64, 0, 0o600, Search, denied(Owner)),
            (0, 0, 0o1777, Search, None),
            // Both are needed.
            (64, 65, 0o600, ReadAndWrite, None),
            (64, 65, 0o400, ReadAndWrite, denied(Owner)),
            (0, 0, 0o600, ReadAndWrite, denied(Others)),
            (0, 65, 0o640, ReadAndWrite, denied(Group)),
            (0, 65, 0o660, ReadAndWrite, None),
        ] {
            let found = mode_denial(&status(user, group, mode), &daemon(), access);
            assert_eq!(found, expected, "{user}:{group} {mode:o} {access:?}");
        }
        let root = SystemUser { user: 0, groups: vec![0] };
        assert_eq!(mode_denial(&status(7, 7, 0), &root, ReadAndWrite), None);
    }

    proptest! {
        /// A bit that is added never takes an access away, and all bits grant every access.
        #[test]
        fn a_wider_mode_never_denies_more(
            user in prop_oneof![Just(0_u32), Just(64), Just(7)],
            group in prop_oneof![Just(0_u32), Just(65), Just(7)],
            mode in 0_u32..0o1000,
            more in 0_u32..0o1000,
        ) {
            for access in [Read, ReadAndWrite, Search] {
                if mode_denial(&status(user, group, mode), &daemon(), access).is_none() {
                    let wider = status(user, group, mode | more);
                    prop_assert_eq!(mode_denial(&wider, &daemon(), access), None);
                }
                prop_assert_eq!(mode_denial(&status(user, group, 0o777), &daemon(), access), None);
            }
        }
    }

    #[test]
    fn the_folders_of_links_count_and_are_named() {
        use std::os::unix::fs::PermissionsExt as _;
        #[expect(clippy::disallowed_methods, reason = "a folder of the test")]
        let (dir, secret) = {
            // A private folder of `TMPDIR` would deny the access to everything in it.
            let dir = tempfile::tempdir_in("/tmp").unwrap();
            let archive = dir.path().join("archive");
            std::fs::create_dir(&archive).unwrap();
            std::fs::write(archive.join("key1"), "").unwrap();
            std::os::unix::fs::symlink("archive/../archive/key1", dir.path().join("key")).unwrap();
            (dir, archive.join("key1"))
        };
        #[expect(clippy::disallowed_methods, reason = "a folder of the test")]
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        // A user whom no test machine knows has the rights of the others.
        let other = SystemUser { user: 3_000_000_001, groups: vec![3_000_000_002] };
        let found = |path: &Path| {
            let denied = find_denied_access(path, &other, Read).unwrap();
            denied.map(|denied| (denied.path, denied.access))
        };
        let (link, archive) = (dir.path().join("key"), dir.path().join("archive"));
        set_mode(dir.path(), 0o711);
        set_mode(&archive, 0o755);
        set_mode(&secret, 0o644);
        assert_eq!((found(&link), found(&secret)), (None, None));
        set_mode(&secret, 0o600);
        let end = dir.path().join("archive/../archive/key1");
        assert_eq!(found(&link), Some((end, Read)));
        set_mode(&archive, 0o700);
        // The process of the test may be another user than root, who owns these folders.
        assert_eq!(found(&link), Some((archive, Search)));
        set_mode(dir.path(), 0o700);
        assert_eq!(found(&link), Some((dir.path().to_owned(), Search)));
        assert!(find_denied_access(&dir.path().join("absent"), &other, Read).is_err());
    }
}
