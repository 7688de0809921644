//! The command `check-config`: reports every fault of the settings and of the files that they name.

use std::path::Path;

use super::exit::ExitStatus;
use super::secret_files::SecretFiles;
use crate::settings::{Settings, SettingsError, environment_variables, format_report};

/// Loads and validates the settings and their files, and prints the faults or the success.
pub fn check_config(config: Option<&Path>) -> ExitStatus {
    match print_report(config) {
        Ok(settings) => {
            for key in settings.not_yet() {
                println!("{key}: takes effect in a later version");
            }
            println!("the settings are good");
            ExitStatus::Ok
        }
        Err(bad) => {
            eprint!("{}", format_report(bad.setting_faults()));
            ExitStatus::Settings
        }
    }
}

/// Returns the settings if they and all of their files are usable. This is stricter than a start,
/// which can do without some files.
fn print_report(config: Option<&Path>) -> Result<Settings, SettingsError> {
    let settings = Settings::load(config, environment_variables())?;
    let SecretFiles { optional_failures: spared, .. } = SecretFiles::read_files(&settings)?;
    if spared.is_empty() { Ok(settings) } else { Err(SettingsError::new(spared)) }
}
