//! The look of `check-config` at the access that the daemon's user has to the files of a start, if
//! root runs the command. Root itself can read all of them.
//!
//! # Never
//! - It never reports a fault that a running daemon may not have. If the user database does not
//!   decide, it warns, and it leaves out a file with an access list.

use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

use super::location_check::{LocationReport, STATE_DIR, location_fault};
use crate::common::{
    DeniedAccess, FileAccess, FileStatus, SystemUser, TrustedOwner, UserClass, find_denied_access,
};
use crate::settings::{
    DEFAULT_SETTINGS_FILE, FilePolicy, STATE_FILES, SettingFault, Settings, state_file_access,
};

/// The user that runs the daemon, and not this process.
#[derive(Debug)]
pub(super) struct DaemonUser {
    pub(super) account: SystemUser,
    /// The group of the state directory. A secret may belong to it.
    trusted_group: u32,
    /// True if this user owns the state directory. Before the first start it is assumed.
    is_known: bool,
}

/// Looks at all files of a start that the daemon's user has to read, and at those of the state
/// directory. Reports nothing if this process is the daemon's user.
pub(super) fn inspect_daemon_access(settings: &Settings, settings_file: &Path) -> LocationReport {
    let mut report = LocationReport::default();
    let policy = FilePolicy::of_daemon(&settings.state);
    let Some(daemon) = DaemonUser::other_than_process(policy.trusted, &settings.state.dir) else {
        return report;
    };
    // The settings are often checked at another place before they are installed.
    let is_installed = settings_file == Path::new(DEFAULT_SETTINGS_FILE);
    let named = settings.named_files().map(|(key, path, _)| (key, path, true));
    for (key, path, is_used) in [("--config", settings_file, is_installed)].into_iter().chain(named)
    {
        let denied = daemon.denied_access(path, FileAccess::Read);
        report.add_denied(&daemon, key, path, denied, is_used);
    }
    let state_dir = &settings.state.dir;
    let state_files = STATE_FILES
        .iter()
        .map(|name| daemon.denied_access(&state_dir.join(name), state_file_access(name)));
    let of_dir = daemon.denied_access(state_dir, FileAccess::Search);
    for denied in [of_dir].into_iter().chain(state_files) {
        report.add_denied(&daemon, STATE_DIR, state_dir, denied, true);
    }
    report
}

impl DaemonUser {
    /// Returns the daemon's user if this process is root and the daemon is not. Returns `None` also
    /// if the groups of the user cannot be read.
    pub(super) fn other_than_process(trusted: TrustedOwner, state_dir: &Path) -> Option<Self> {
        if !geteuid().is_root() || trusted.user == 0 {
            return None;
        }
        let user = User::from_uid(Uid::from_raw(trusted.user)).ok()?;
        let database_groups = match &user {
            Some(user) => getgrouplist(&CString::new(user.name.as_str()).ok()?, user.gid).ok()?,
            None => Vec::new(),
        };
        let mut groups: Vec<u32> = database_groups.into_iter().map(Gid::as_raw).collect();
        // A service has a group of its own choice, and gives it to its state directory. The group
        // 0 of a directory that root created shows nothing.
        if trusted.group != 0 || user.is_none() {
            groups.push(trusted.group);
        }
        Some(Self {
            account: SystemUser { user: trusted.user, groups },
            trusted_group: trusted.group,
            is_known: nix::sys::stat::stat(state_dir).is_ok(),
        })
    }

    /// Returns the access to a file, or to a folder on the way, that the user lacks. Another check
    /// reports a file that this process cannot find.
    fn denied_access(&self, path: &Path, access: FileAccess) -> Option<DeniedAccess> {
        find_denied_access(path, &self.account, access).ok().flatten()
    }

    fn fault(&self, key: &str, path: &Path, denied: &DeniedAccess) -> SettingFault {
        let verb = match denied.access {
            FileAccess::Read => "read",
            FileAccess::ReadAndWrite => "read and write",
            FileAccess::Search => "search the folder",
        };
        let FileStatus { user, group, mode, .. } = denied.status;
        let shown = denied.path.display();
        let problem = format!(
            "the daemon's user {} cannot {verb} {shown} (owner {}, group {}, mode {mode:04o}); \
             to correct it: {}",
            user_name(self.account.user),
            user_name(user),
            group_name(group),
            correction(denied, &self.account, self.trusted_group),
        );
        location_fault(key, path, problem, "a file that the daemon's user can reach and use")
    }
}

impl LocationReport {
    /// Adds the fault of a file that the daemon's user cannot use. It is a warning if the daemon
    /// may not use the file, or may have the access.
    fn add_denied(
        &mut self,
        daemon: &DaemonUser,
        key: &str,
        path: &Path,
        denied: Option<DeniedAccess>,
        is_used: bool,
    ) {
        let Some(denied) = denied else { return };
        let is_certain = is_used && daemon.is_known && !denied.denial.is_granted_to_group;
        let list = if is_certain { &mut self.faults } else { &mut self.warnings };
        let fault = daemon.fault(key, path, &denied);
        // A folder above the state directory hides all of its files.
        if !list.contains(&fault) {
            list.push(fault);
        }
    }
}

/// Returns the command that gives the user the access that it lacks, and other users no more than
/// the bits of the file allow: without a group of its own, the user gets it as one of the others.
fn correction(denied: &DeniedAccess, user: &SystemUser, trusted_group: u32) -> String {
    let bits = match denied.access {
        FileAccess::Read => "r",
        FileAccess::ReadAndWrite => "rw",
        FileAccess::Search => "x",
    };
    let path = quote_for_shell(&denied.path.display().to_string());
    let own_name = user_name(user.user);
    // The group of a secret must be that of the state directory.
    let own_group = [trusted_group].into_iter().find(|group| user.groups.contains(group));
    match (denied.denial.class, denied.access, own_group) {
        (UserClass::Owner, ..) => format!("chmod u+{bits} {path}"),
        _ if denied.denial.is_granted_to_group => {
            let group = group_name(denied.status.group);
            format!("usermod -aG {group} {own_name}, unless the service has this group already")
        }
        (UserClass::Group, FileAccess::Search, _) => format!("chmod g+{bits} {path}"),
        (UserClass::Group, FileAccess::Read, Some(group)) if group == denied.status.group => {
            format!("chmod g+{bits} {path}")
        }
        (_, FileAccess::Search, _) => match own_group.or_else(|| user.groups.first().copied()) {
            Some(group) => format!("chgrp {} {path} && chmod g+{bits} {path}", group_name(group)),
            None => format!("chmod o+{bits} {path}"),
        },
        (_, FileAccess::Read, Some(group)) => {
            format!("chgrp {} {path} && chmod g+{bits} {path}", group_name(group))
        }
        (_, FileAccess::Read | FileAccess::ReadAndWrite, _) => {
            format!("chown {own_name} {path} && chmod u+{bits} {path}")
        }
    }
}

fn user_name(id: u32) -> String {
    let user = User::from_uid(Uid::from_raw(id)).ok().flatten();
    user.map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(id)).ok().flatten();
    group.map_or_else(|| id.to_string(), |group| group.name)
}

/// Returns a word that a shell reads as this text.
fn quote_for_shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::common::{FileType, ModeDenial};

    /// Ids that no user database of a test machine has, so that the numbers are shown.
    const USER: u32 = 3_000_000_001;
    const GROUP: u32 = 3_000_000_002;
    const OTHER: u32 = 3_000_000_003;

    fn denied(class: UserClass, access: FileAccess, group: u32, to_group: bool) -> DeniedAccess {
        let file_type =
            if access == FileAccess::Search { FileType::Folder } else { FileType::Regular };
        let status = FileStatus { file_type, user: 0, group, mode: 0, links: 1 };
        let denial = ModeDenial { class, is_granted_to_group: to_group };
        DeniedAccess { path: PathBuf::from("/etc/a b/it's"), status, access, denial }
    }

    #[test]
    fn the_correction_gives_the_access_to_the_daemon_alone() {
        use FileAccess::{Read, ReadAndWrite, Search};
        use UserClass::{Group, Others, Owner};
        let path = r"'/etc/a b/it'\''s'";
        let with_group = SystemUser { user: USER, groups: vec![GROUP] };
        for (denied, trusted_group, expected) in [
            (denied(Owner, Read, 0, false), GROUP, format!("chmod u+r {path}")),
            (denied(Owner, ReadAndWrite, 0, false), GROUP, format!("chmod u+rw {path}")),
            (denied(Group, Read, GROUP, false), GROUP, format!("chmod g+r {path}")),
            (denied(Group, Search, GROUP, false), GROUP, format!("chmod g+x {path}")),
            (
                denied(Others, Read, 0, false),
                GROUP,
                format!("chgrp {GROUP} {path} && chmod g+r {path}"),
            ),
            (
                denied(Others, Search, 0, false),
                GROUP,
                format!("chgrp {GROUP} {path} && chmod g+x {path}"),
            ),
            // The rule for secrets accepts no group but that of the state directory.
            (denied(Others, Read, 0, false), 0, format!("chown {USER} {path} && chmod u+r {path}")),
            (
                denied(Others, Search, 0, false),
                0,
                format!("chgrp {GROUP} {path} && chmod g+x {path}"),
            ),
            (
                denied(Others, ReadAndWrite, 0, false),
                GROUP,
                format!("chown {USER} {path} && chmod u+rw {path}"),
            ),
            (
                denied(Others, Search, OTHER, true),
                GROUP,
                format!("usermod -aG {OTHER} {USER}, unless the service has this group already"),
            ),
        ] {
            assert_eq!(correction(&denied, &with_group, trusted_group), expected, "{denied:?}");
        }
    }
}
