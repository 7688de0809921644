//! Layer 3. The operator's settings, valid by construction.
//!
//! # Guarantees
//! - A [`Settings`] value has passed every range check and cross check.
//! - An invalid file is reported with all of its faults, each with key, value and allowed range.
//!
//! # Never
//! - It never accepts an unknown key.
//! - It never opens a path of a store.
//! - It never shows a value that may be a secret.
//!
//! ```text
//! file ─► layer ─┐
//!                ├─ merged by `config` ─► reader ─► schema ─► Settings | every fault
//! environment ──►┘                        rules: allowed values of one key
//!                                         files: content and owner of the named files
//! ```

mod conflicts;
mod doubts;
mod error;
mod file_check;
mod files;
mod layer;
mod lines;
mod load;
mod own_address;
mod reader;
mod rules;
mod schema;
mod sections;

pub use error::{SettingFault, SettingsError, format_report};
pub use file_check::{FileReport, MASTER_KEY_SETTING, is_read_at_reload, is_required_at_start};
pub use files::{
    DEFAULT_USER, FileError, FilePolicy, FilePurpose, daemon_owner, open_client_secret, read_file,
    read_text,
};
pub use load::{
    DEFAULT_SETTINGS_FILE, ListenUse, LoadedSettings, environment_variables, settings_file,
};
pub use reader::SettingOrigins;
pub use rules::text::SESSION_PLACEHOLDER;
pub use sections::{
    ApiSettings, AuthSettings, CallbackFormat, CallbackSettings, DateForm, HostKeyPolicy,
    MonitorSettings, ReplyMode, STATE_FILES, ServerSettings, Settings, SshSettings, StateSettings,
    StorageSettings, TlsSettings, state_file_access,
};

#[cfg(test)]
mod documented {
    //! Checks that `config/agent.toml` and the schema agree.

    use super::load::known_keys;

    const FILE: &str = include_str!("../../config/agent.toml");

    /// The keys of the file in order, commented-out ones included.
    fn documented_keys() -> Vec<String> {
        let mut section = String::new();
        let mut keys = Vec::new();
        for line in FILE.lines() {
            // Prose is "# Text"; a key that is off by default is "#key = value".
            let line = line.strip_prefix('#').unwrap_or(line);
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
            } else if let Some((key, _)) = line.split_once(" = ")
                && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            {
                keys.push(format!("{section}.{key}"));
            }
        }
        keys
    }

    #[test]
    fn every_known_key_stands_in_the_example_in_the_same_order_and_no_other() {
        let schema_keys: Vec<&str> = known_keys().iter().map(|known| known.key).collect();
        assert_eq!(documented_keys(), schema_keys);
    }
}
