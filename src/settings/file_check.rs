//! The check of all files that the settings name: those that cannot be read, and those that are not
//! safe from other users.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::lstat;

use super::error::SettingFault;
use super::files::{FileError, FilePolicy, FilePurpose, inspect_file};
use super::sections::Settings;

/// The key that names the file of the master key, which seals stored secrets.
pub const MASTER_KEY_SETTING: &str = "state.master_key_file";
/// The key that stands for the settings file itself.
const SETTINGS_OPTION: &str = "--config";
/// Name of the master key in the state directory.
const DEFAULT_MASTER_KEY: &str = "master-key";

/// The result of the check of all files.
#[derive(Debug, Default)]
pub struct FileReport {
    /// Files that the current user cannot read. The daemon's user may be able to read others.
    pub unreadable: Vec<SettingFault>,
    /// Files that are not safe, and that are therefore not used.
    pub refused: Vec<SettingFault>,
    /// Files that are not safe, and that are used nevertheless.
    pub warnings: Vec<SettingFault>,
}

/// Returns true if a start needs to read the file of this key. `serve` only warns of the others.
pub fn is_required_at_start(key: &str) -> bool {
    // Without the master key the daemon still shows and probes the stores. It does not create a new
    // key, so restoring the file makes every secret readable again.
    key != MASTER_KEY_SETTING
}

/// Returns true if a reload reads the file of this key again.
pub fn is_read_at_reload(key: &str) -> bool {
    let is_tls = key.starts_with("server.tls.");
    is_tls
        || matches!(
            key,
            "auth.tokens_file"
                | "auth.access_keys_file"
                | "auth.accounts_file"
                | "callback.signing_secret_file"
                | SETTINGS_OPTION
        )
}

impl Settings {
    /// Returns the files that the settings name: the key of each, its path and its purpose.
    pub fn named_files(&self) -> impl Iterator<Item = (&'static str, &Path, FilePurpose)> {
        use FilePurpose::{Access, Public, Secret};
        let tls = self.server.tls.as_ref();
        let callback = &self.callback;
        let client_ca = tls.and_then(|tls| tls.client_ca.as_deref());
        let clients = tls.and_then(|tls| tls.clients_file.as_deref());
        [
            ("server.tls.cert", tls.map(|tls| &*tls.cert), Public),
            ("server.tls.key", tls.map(|tls| &*tls.key), Secret),
            ("server.tls.client_ca", client_ca, Access),
            ("server.tls.clients_file", clients, Access),
            ("auth.tokens_file", self.auth.tokens_file.as_deref(), Secret),
            ("auth.access_keys_file", self.auth.access_keys_file.as_deref(), Secret),
            ("auth.accounts_file", self.auth.accounts_file.as_deref(), Secret),
            (MASTER_KEY_SETTING, self.state.master_key_file.as_deref(), Secret),
            ("callback.signing_secret_file", callback.signing_secret_file.as_deref(), Secret),
            ("callback.ca_file", callback.ca_file.as_deref(), Public),
            ("callback.client_cert", callback.client_cert.as_deref(), Public),
            ("callback.client_key", callback.client_key.as_deref(), Secret),
        ]
        .into_iter()
        .filter_map(|(key, path, purpose)| Some((key, path?, purpose)))
    }

    /// Checks the files that the settings name, and the settings file itself. Opening the state
    /// directory checks the files in it. The call blocks on those files.
    pub fn inspect_files(&self, settings_file: Option<&Path>, policy: &FilePolicy) -> FileReport {
        let mut report = FileReport::default();
        for (key, path, purpose) in self.named_files() {
            report.add_file(key, path, purpose, policy);
        }
        let own_key = self.state.dir.join(DEFAULT_MASTER_KEY);
        if self.state.master_key_file.as_ref() == Some(&own_key) {
            // A start creates the key there, as if the setting were absent.
            report
                .unreadable
                .retain(|fault| fault.key != MASTER_KEY_SETTING || !is_absent(&own_key));
        }
        // The settings themselves have been read from it, possibly from a pipe.
        if let Some(path) = settings_file.filter(|path| is_readable(path, policy)) {
            report.add_file(SETTINGS_OPTION, path, FilePurpose::Public, policy);
        }
        report
    }
}

fn is_absent(path: &Path) -> bool {
    lstat(path) == Err(Errno::ENOENT)
}

/// Returns true if the file is regular and this user can open it.
fn is_readable(path: &Path, policy: &FilePolicy) -> bool {
    inspect_file(path, FilePurpose::Public, policy).is_ok()
}

impl FileReport {
    fn add_file(&mut self, key: &str, path: &Path, purpose: FilePurpose, policy: &FilePolicy) {
        let found: io::Result<_> = inspect_file(path, purpose, policy);
        let (list, error) = match found {
            Ok(None) => return,
            Ok(Some(risk)) => {
                let is_refused = purpose != FilePurpose::Public && !policy.takes_unsafe;
                let list = if is_refused { &mut self.refused } else { &mut self.warnings };
                (list, FileError::Unsafe { risk, allowed: policy.describe_allowed(purpose) })
            }
            Err(error) => (&mut self.unreadable, FileError::Unreadable(error)),
        };
        list.push(SettingFault::unusable_file(key, path, &error));
    }
}
