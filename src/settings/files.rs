//! Reading of files that a setting or an option names. They must be regular files of at most 1 MiB,
//! and those that decide about access must be safe from other users.
#![expect(
    clippy::disallowed_methods,
    reason = "reads what the settings name, never a store's path"
)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::unistd::{User, getegid, geteuid};
use zeroize::Zeroizing;

use super::sections::StateSettings;
use crate::common::{
    FileProtection, FileRisk, OpenedFile, TrustedOwner, file_risk, open_file, skip_byte_order_mark,
};

/// Maximum size of a file, in bytes (1 MiB). It is enough for about ten thousand callers or a
/// thousand certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The user of the packaged systemd unit.
pub const DEFAULT_USER: &str = "imagestore-agent";

/// The purpose of a file, which decides about the protection that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePurpose {
    /// The file contains a secret. An unsafe file is a fault.
    Secret,
    /// The file decides who has access, and contains no secret. An unsafe file is a fault.
    Access,
    /// Any other file. An unsafe file is only warned of.
    Public,
}

impl FilePurpose {
    fn protection(self) -> FileProtection {
        match self {
            Self::Secret => FileProtection::ReadAndWrite,
            Self::Access | Self::Public => FileProtection::Write,
        }
    }
}

/// The rule by which files are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePolicy {
    /// The user and group whose files are taken, besides those of root.
    pub trusted: TrustedOwner,
    /// True if unsafe files are taken too.
    pub takes_unsafe: bool,
    /// The setting that would permit unsafe files, if there is one.
    pub permitted_by: Option<&'static str>,
}

/// A file could not be read, or may not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system returned an error, or the file is not of the right form.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is not safe from other users.
    #[error("{risk}; allowed: {allowed}")]
    Unsafe {
        /// The reason.
        risk: FileRisk,
        /// The allowed owner and mode.
        allowed: String,
    },
}

impl FilePolicy {
    /// Returns the policy for the files that the user of this process owns.
    pub fn of_process() -> Self {
        let trusted = TrustedOwner { user: geteuid().as_raw(), group: getegid().as_raw() };
        Self { trusted, takes_unsafe: false, permitted_by: None }
    }

    /// Returns the policy of the daemon. As root it is that of the user who owns the state
    /// directory, so that root checks the files by the same rule as the daemon. Blocks on the state
    /// directory.
    pub fn of_daemon(state: &StateSettings) -> Self {
        let own = Self::of_process();
        let trusted = if geteuid().is_root() {
            daemon_owner(&state.dir).unwrap_or(own.trusted)
        } else {
            own.trusted
        };
        let permitted_by = Some("state.trust_file_modes = true");
        Self { trusted, takes_unsafe: state.trust_file_modes, permitted_by }
    }

    /// Returns the allowed owner and mode of a file, as a text for operators.
    pub fn describe_allowed(&self, purpose: FilePurpose) -> String {
        let mode = match purpose {
            FilePurpose::Secret => "0640",
            FilePurpose::Access | FilePurpose::Public => "0644",
        };
        let (user, group) = match self.trusted {
            TrustedOwner { user: 0, group: 0 } => (String::new(), String::new()),
            TrustedOwner { user, group } => (format!(" or {user}"), format!(" or {group}")),
        };
        let permitted = self.permitted_by.map(|setting| format!("; or {setting}"));
        format!(
            "mode {mode} or stricter, user 0{user}, group 0{group}, no folder above it that other \
             users can write to{}",
            permitted.unwrap_or_default()
        )
    }

    /// Returns the error of an unsafe file.
    fn refuse(&self, risk: FileRisk, purpose: FilePurpose) -> FileError {
        FileError::Unsafe { risk, allowed: self.describe_allowed(purpose) }
    }
}

/// Returns the owner of the state directory, else the packaged user.
pub fn daemon_owner(state_dir: &Path) -> Option<TrustedOwner> {
    if let Ok(found) = nix::sys::stat::stat(state_dir) {
        return Some(TrustedOwner { user: found.st_uid, group: found.st_gid });
    }
    let user = User::from_name(DEFAULT_USER).ok().flatten()?;
    Some(TrustedOwner { user: user.uid.as_raw(), group: user.gid.as_raw() })
}

/// Reads a file that may contain a secret. It blocks, so it must be called before the runtime
/// starts or on a separate thread.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a regular file, is too large, or is not safe
/// for its purpose.
pub fn read_file(
    path: &Path,
    purpose: FilePurpose,
    policy: &FilePolicy,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let opened = open_file(path, false, policy.trusted)?;
    match enforced_risk(&opened, purpose, policy) {
        Some(risk) => Err(policy.refuse(risk, purpose)),
        None => Ok(read_bounded(opened.file)?),
    }
}

/// Reads a file as [`read_file`] does, and requires UTF-8.
///
/// # Errors
/// Returns the errors of [`read_file`], and an error if the content is not UTF-8.
pub fn read_text(
    path: &Path,
    purpose: FilePurpose,
    policy: &FilePolicy,
) -> Result<Zeroizing<String>, FileError> {
    Ok(into_text(read_file(path, purpose, policy)?)?)
}

/// Opens a secret of a client command for reading. It may be a pipe, such as one of the shell.
///
/// # Errors
/// Returns an error if the file cannot be opened, or is not safe for a secret of this user.
pub fn open_client_secret(path: &Path) -> Result<impl Read + use<>, FileError> {
    let policy = FilePolicy::of_process();
    let opened = open_file(path, true, policy.trusted)?;
    match enforced_risk(&opened, FilePurpose::Secret, &policy) {
        Some(risk) => Err(policy.refuse(risk, FilePurpose::Secret)),
        None => Ok(opened.file),
    }
}

/// Reads text from a file that may be a pipe.
pub(crate) fn read_any_text(path: &Path) -> io::Result<Zeroizing<String>> {
    into_text(read_bounded(File::open(path)?)?)
}

/// Opens a file as [`read_file`] does and returns its risk, whether it is enforced or not.
///
/// # Errors
/// Returns an error if the file cannot be opened or is not a regular file.
pub(super) fn inspect_file(
    path: &Path,
    purpose: FilePurpose,
    policy: &FilePolicy,
) -> io::Result<Option<FileRisk>> {
    open_file(path, false, policy.trusted).map(|opened| risk_of(&opened, purpose, policy))
}

fn enforced_risk(
    opened: &OpenedFile,
    purpose: FilePurpose,
    policy: &FilePolicy,
) -> Option<FileRisk> {
    let is_enforced = purpose != FilePurpose::Public && !policy.takes_unsafe;
    is_enforced.then(|| risk_of(opened, purpose, policy)).flatten()
}

fn risk_of(opened: &OpenedFile, purpose: FilePurpose, policy: &FilePolicy) -> Option<FileRisk> {
    file_risk(&opened.status, purpose.protection(), policy.trusted)
        .or_else(|| opened.folder_risk.clone())
}

fn into_text(bytes: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<String>> {
    match std::str::from_utf8(skip_byte_order_mark(&bytes)) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn read_bounded(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // The capacity is reserved at once, because growing the buffer would leave copies of the secret
    // in memory.
    let size = file.metadata()?.len().min(MAX_FILE_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0)));
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read <= MAX_FILE_BYTES => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")),
    }
}
