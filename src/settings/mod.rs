//! Layer 3. What the operator decided, valid by construction.
//!
//! Promises: a [`Settings`] value has passed every range and cross check; a file that has not is
//! answered with every fault it has, each with key, value and allowed range.
//! Never: lets an unknown key pass, opens a path of a store, shows a value that may be a secret.
//!
//! ```text
//! file ─► layer ─┐
//!                ├─ merged by `config` ─► reader ─► walk ─► Settings | every fault
//! environment ──►┘                        rule, measure, text: what one value may be
//!                                         file: what the files it names hold, for other rooms
//! ```

mod error;
mod files;
mod later;
mod load;
mod rules;
mod schema;
mod sections;
mod source;

pub use error::{SettingFault, SettingsError, format_report};
pub use files::{read_file, read_text};
pub use load::{DEFAULT_SETTINGS_FILE, MASTER_KEY_FILE, environment_variables, required_at_start};
pub use sections::{
    ApiSettings, AuthSettings, CallbackFormat, CallbackSettings, HostKeyPolicy, MonitorSettings,
    ReplyMode, ServerSettings, Settings, SshSettings, StateSettings, StorageSettings, TlsSettings,
};

#[cfg(test)]
mod documented {
    //! `config/agent.toml` and the walk tell the same story.

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
        let known: Vec<&str> = known_keys().iter().map(|known| known.key).collect();
        assert_eq!(documented_keys(), known);
    }
}
