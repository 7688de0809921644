//! `check-config`: every fault of the settings at once.

use std::path::Path;

use super::exit::Exit;
use crate::settings::{Settings, environment, report};

/// Parses and validates, and says what it found.
pub fn check_config(config: Option<&Path>) -> Exit {
    let settings = match Settings::load(config, environment()) {
        Ok(settings) => settings,
        Err(bad) => {
            eprint!("{}", report(bad.faults()));
            return Exit::Settings;
        }
    };
    let faults = settings.check_files();
    if !faults.is_empty() {
        eprint!("{}", report(&faults));
        return Exit::Settings;
    }
    for key in settings.not_yet() {
        println!("{key}: takes effect in a later version");
    }
    println!("the settings are good");
    Exit::Ok
}
