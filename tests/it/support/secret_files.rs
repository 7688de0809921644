//! Files that the program only uses if nobody else can read them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

/// Writes a file with mode 0600.
pub(crate) fn write_secret(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::write(&path, content).unwrap();
    set_mode(&path, 0o600);
}

/// Sets the permission bits of a file or folder.
pub(crate) fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets a group read a file of root, as the documented installation does.
pub(crate) fn let_group_read(path: &Path, group: u32) {
    chown(path, None, Some(group)).unwrap();
    set_mode(path, 0o640);
}
