//! The decision whether the daemon may use a file: its owner, its mode, its type and the folders on
//! the way to it. Also the decision whether a user can use it.
//!
//! # Guarantees
//! - Every file that decides about access or contains a secret is checked by this module alone.
//! - The decision is about an open descriptor. A name that changes meanwhile has no effect.

mod access;
mod open;

pub use access::{DeniedAccess, FileAccess, ModeDenial, SystemUser, UserClass, find_denied_access};
pub use open::{OpenedFile, inspect_folder, open_file, open_folder};

use std::path::PathBuf;

use nix::libc::S_ISVTX;
use nix::sys::stat::{FileStat, SFlag};

/// The user and the group that a file may belong to, besides root and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedOwner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

/// The protection that a file needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileProtection {
    /// Only trusted users may write the file.
    Write,
    /// Only trusted users may read or write the file.
    ReadAndWrite,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, with or without a name.
    Pipe,
    /// A socket or a device.
    Other,
}

/// The status of a file, as far as its safety depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Type of the file.
    pub file_type: FileType,
    /// User id of the owner.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Permission bits, with the sticky bit.
    pub mode: u32,
    /// Number of hard links.
    pub links: u64,
}

impl From<&FileStat> for FileStatus {
    #[allow(clippy::useless_conversion, reason = "the number of links has 32 bits on arm64")]
    fn from(stat: &FileStat) -> Self {
        let file_type = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => FileType::Regular,
            SFlag::S_IFDIR => FileType::Folder,
            SFlag::S_IFLNK => FileType::Link,
            SFlag::S_IFIFO => FileType::Pipe,
            _ => FileType::Other,
        };
        Self {
            file_type,
            user: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            links: u64::from(stat.st_nlink),
        }
    }
}

/// The reason why a file is not safe, as a clause that follows its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileRisk {
    /// The file has a type that is not accepted.
    #[error("is not a regular file")]
    NotRegular,
    /// The file is a symbolic link where none is followed.
    #[error("is a symbolic link")]
    Link,
    /// Another name of the file exists.
    #[error("has {0} hard links")]
    HardLinks(u64),
    /// A user who is not trusted owns the file.
    #[error("belongs to the user {user}, not to root{}", or_user(*.trusted))]
    ForeignOwner {
        /// User id of the owner.
        user: u32,
        /// The trusted user.
        trusted: u32,
    },
    /// A group that is not trusted, or every user, has access.
    #[error("is {} by {} (mode {mode:04o})", access_word(*.write), holder(*.group))]
    TooOpen {
        /// True if the access is to write.
        write: bool,
        /// The group, or `None` for every user.
        group: Option<u32>,
        /// Permission bits of the file.
        mode: u32,
    },
    /// A folder on the way lets an untrusted user replace the file.
    #[error("lies below {path}, which {risk}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The risk of the folder.
        risk: Box<FileRisk>,
    },
}

fn or_user(user: u32) -> String {
    if user == 0 { String::new() } else { format!(" or the user {user}") }
}

fn access_word(write: bool) -> &'static str {
    if write { "writable" } else { "readable" }
}

fn holder(group: Option<u32>) -> String {
    group.map_or_else(|| "every user".to_owned(), |group| format!("the group {group}"))
}

impl TrustedOwner {
    fn trusts_user(self, user: u32) -> bool {
        user == 0 || user == self.user
    }

    fn trusts_group(self, group: u32) -> bool {
        group == 0 || group == self.group
    }
}

/// Returns the risk of a file, or `None` if it is safe. The type and the folders do not count.
pub fn file_risk(
    status: &FileStatus,
    protection: FileProtection,
    trusted: TrustedOwner,
) -> Option<FileRisk> {
    if !trusted.trusts_user(status.user) {
        return Some(FileRisk::ForeignOwner { user: status.user, trusted: trusted.user });
    }
    let risk = open_access(status, true, trusted);
    match protection {
        FileProtection::Write => risk,
        FileProtection::ReadAndWrite => risk.or_else(|| open_access(status, false, trusted)),
    }
}

/// Returns the risk of a file of the daemon's own directory, or `None` if it is safe. Such a file
/// is regular and has one link: another link to it would have another owner's name.
pub fn own_file_risk(
    status: &FileStatus,
    protection: FileProtection,
    trusted: TrustedOwner,
) -> Option<FileRisk> {
    structure_risk(status).or_else(|| file_risk(status, protection, trusted))
}

/// Returns the risk of a file that is not regular or has several links. No setting permits it in
/// the daemon's own directory.
pub fn structure_risk(status: &FileStatus) -> Option<FileRisk> {
    match status.file_type {
        FileType::Regular if status.links > 1 => Some(FileRisk::HardLinks(status.links)),
        FileType::Regular => None,
        FileType::Link => Some(FileRisk::Link),
        _ => Some(FileRisk::NotRegular),
    }
}

/// Returns the risk of a folder for an entry that belongs to `entry_user`, or `None` if only
/// trusted users can replace the entry. In a folder with the sticky bit, others cannot replace the
/// entries of trusted users (`unlink(2)`).
fn folder_risk(folder: &FileStatus, entry_user: u32, trusted: TrustedOwner) -> Option<FileRisk> {
    let is_sticky = folder.mode & S_ISVTX != 0;
    if !trusted.trusts_user(folder.user) {
        return Some(FileRisk::ForeignOwner { user: folder.user, trusted: trusted.user });
    }
    if is_sticky && trusted.trusts_user(entry_user) {
        return None;
    }
    open_access(folder, true, trusted)
}

/// Returns the risk if a group that is not trusted, or every user, has this access.
fn open_access(status: &FileStatus, write: bool, trusted: TrustedOwner) -> Option<FileRisk> {
    let mode = status.mode;
    let has = |read_bit: u32, write_bit: u32| mode & if write { write_bit } else { read_bit } != 0;
    if has(0o004, 0o002) {
        return Some(FileRisk::TooOpen { write, group: None, mode });
    }
    (has(0o040, 0o020) && !trusted.trusts_group(status.group)).then_some(FileRisk::TooOpen {
        write,
        group: Some(status.group),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::FileProtection::{ReadAndWrite, Write};
    use super::*;

    const DAEMON: TrustedOwner = TrustedOwner { user: 64, group: 65 };

    fn file(user: u32, group: u32, mode: u32) -> FileStatus {
        FileStatus { file_type: FileType::Regular, user, group, mode, links: 1 }
    }

    fn text(risk: Option<FileRisk>) -> String {
        risk.map_or_else(|| "safe".to_owned(), |risk| risk.to_string())
    }

    #[test]
    fn owner_group_and_mode_decide_who_can_read_and_write_a_file() {
        let foreign = "belongs to the user 7, not to root or the user 64";
        for (user, group, mode, to_write, to_read) in [
            (0, 65, 0o640, "safe", "safe"),
            (0, 0, 0o600, "safe", "safe"),
            (64, 65, 0o400, "safe", "safe"),
            (64, 65, 0o660, "safe", "safe"),
            (0, 0, 0o440, "safe", "safe"),
            (7, 65, 0o600, foreign, foreign),
            (7, 0, 0o400, foreign, foreign),
            (0, 7, 0o640, "safe", "is readable by the group 7 (mode 0640)"),
            (0, 7, 0o600, "safe", "safe"),
            (0, 65, 0o644, "safe", "is readable by every user (mode 0644)"),
            (
                64,
                7,
                0o660,
                "is writable by the group 7 (mode 0660)",
                "is writable by the group 7 (mode 0660)",
            ),
            (
                64,
                7,
                0o620,
                "is writable by the group 7 (mode 0620)",
                "is writable by the group 7 (mode 0620)",
            ),
            (
                0,
                0,
                0o602,
                "is writable by every user (mode 0602)",
                "is writable by every user (mode 0602)",
            ),
            (
                0,
                0,
                0o666,
                "is writable by every user (mode 0666)",
                "is writable by every user (mode 0666)",
            ),
            (0, 0, 0o601, "safe", "safe"),
        ] {
            let status = file(user, group, mode);
            assert_eq!(
                text(file_risk(&status, Write, DAEMON)),
                to_write,
                "{user}:{group} {mode:o}"
            );
            assert_eq!(
                text(file_risk(&status, ReadAndWrite, DAEMON)),
                to_read,
                "{user}:{group} {mode:o}"
            );
        }
        let root = TrustedOwner { user: 0, group: 0 };
        assert_eq!(
            text(file_risk(&file(64, 65, 0o600), Write, root)),
            "belongs to the user 64, not to root"
        );
    }

    #[test]
    fn an_own_file_is_regular_and_has_one_link() {
        let safe = file(64, 65, 0o600);
        assert_eq!(own_file_risk(&safe, ReadAndWrite, DAEMON), None);
        for (status, expected) in [
            (FileStatus { links: 2, ..safe }, "has 2 hard links"),
            (FileStatus { file_type: FileType::Link, ..safe }, "is a symbolic link"),
            (FileStatus { file_type: FileType::Pipe, ..safe }, "is not a regular file"),
            (FileStatus { file_type: FileType::Folder, ..safe }, "is not a regular file"),
            (FileStatus { file_type: FileType::Other, ..safe }, "is not a regular file"),
        ] {
            assert_eq!(text(own_file_risk(&status, Write, DAEMON)), expected);
        }
    }

    #[test]
    fn a_folder_is_safe_if_only_trusted_users_can_replace_the_entry() {
        let folder = |user, group, mode| FileStatus {
            file_type: FileType::Folder,
            ..file(user, group, mode)
        };
        for (folder, entry_user, expected) in [
            (folder(0, 0, 0o755), 0, "safe"),
            (folder(64, 65, 0o770), 64, "safe"),
            (folder(0, 65, 0o2775), 7, "safe"),
            (folder(0, 7, 0o750), 0, "safe"),
            (folder(0, 7, 0o770), 0, "is writable by the group 7 (mode 0770)"),
            (folder(0, 0, 0o777), 0, "is writable by every user (mode 0777)"),
            // The folders of secrets in Kubernetes, and /tmp.
            (folder(0, 0, 0o1777), 0, "safe"),
            (folder(0, 0, 0o1777), 64, "safe"),
            (folder(0, 0, 0o1777), 7, "is writable by every user (mode 1777)"),
            (folder(7, 0, 0o1755), 0, "belongs to the user 7, not to root or the user 64"),
            (folder(7, 7, 0o700), 0, "belongs to the user 7, not to root or the user 64"),
        ] {
            assert_eq!(text(folder_risk(&folder, entry_user, DAEMON)), expected, "{folder:?}");
        }
    }

    proptest! {
        /// A bit that is taken away never makes a safe file unsafe.
        #[test]
        fn a_stricter_mode_is_never_less_safe(
            user in prop_oneof![Just(0_u32), Just(64), Just(7)],
            group in prop_oneof![Just(0_u32), Just(65), Just(7)],
            mode in 0_u32..0o1000,
            less in 0_u32..0o1000,
        ) {
            for protection in [Write, ReadAndWrite] {
                if file_risk(&file(user, group, mode), protection, DAEMON).is_none() {
                    let stricter = file(user, group, mode & less);
                    prop_assert_eq!(file_risk(&stricter, protection, DAEMON), None);
                }
            }
            // A file that is safe to read is safe to write.
            if file_risk(&file(user, group, mode), ReadAndWrite, DAEMON).is_none() {
                prop_assert_eq!(file_risk(&file(user, group, mode), Write, DAEMON), None);
            }
        }
    }
}
