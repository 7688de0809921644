//! `check-config`: every fault of the settings, and of the files they name, at once.

use std::path::Path;

use super::exit::Exit;
use super::secret_files::Files;
use crate::settings::{Settings, SettingsError, environment_variables, format_report};

/// Parses and validates, and says what it found.
pub fn check_config(config: Option<&Path>) -> Exit {
    match checked(config) {
        Ok(settings) => {
            for key in settings.not_yet() {
                println!("{key}: takes effect in a later version");
            }
            println!("the settings are good");
            Exit::Ok
        }
        Err(bad) => {
            eprint!("{}", format_report(bad.setting_faults()));
            Exit::Settings
        }
    }
}

/// Stricter than a start, which does without some files.
fn checked(config: Option<&Path>) -> Result<Settings, SettingsError> {
    let settings = Settings::load(config, environment_variables())?;
    let Files { spared, .. } = Files::read(&settings)?;
    if spared.is_empty() { Ok(settings) } else { Err(SettingsError::new(spared)) }
}
