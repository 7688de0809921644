//! The sandbox of the service, as systemd reports it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::app::doctor::service::show_unit;
use crate::catalog::DoctorCheck;
use crate::diagnosis::{Finding, SandboxFacts, diagnose_sandbox};
use crate::settings::Settings;

/// The properties that decide what the service can write (systemd.exec(5)).
const PROPERTIES: &str = "LoadState,ProtectSystem,ProtectHome,ReadWritePaths,ReadOnlyPaths,\
                          InaccessiblePaths,BindPaths";

/// Compares the allowed roots with the unit.
pub(in crate::app::doctor) async fn check_sandbox(settings: &Settings) -> Finding {
    let roots: Vec<PathBuf> = settings.storage.allowed_roots.iter().map(PathBuf::from).collect();
    match show_unit(PROPERTIES).await {
        Ok(properties) => diagnose_sandbox(&sandbox_in(&properties), &roots),
        Err(need) => Finding::skipped(DoctorCheck::SettingsSandbox, need),
    }
}

fn sandbox_in(properties: &BTreeMap<String, String>) -> SandboxFacts {
    let text = |name: &str| properties.get(name).map_or("", String::as_str);
    let paths = |name: &str| split_words(text(name)).into_iter().map(path_in).collect::<Vec<_>>();
    SandboxFacts {
        protect_system: text("ProtectSystem").to_owned(),
        protect_home: text("ProtectHome").to_owned(),
        read_write: paths("ReadWritePaths"),
        read_only: paths("ReadOnlyPaths"),
        inaccessible: paths("InaccessiblePaths"),
        bound: split_words(text("BindPaths")).iter().filter_map(|it| bound_path_in(it)).collect(),
    }
}

/// Returns the destination of a bind mount, which is printed as `SOURCE:DESTINATION:rbind`.
fn bound_path_in(word: &str) -> Option<PathBuf> {
    let destination = word.split(':').nth(1)?;
    destination.starts_with('/').then(|| destination.into())
}

/// Returns the path of a word: `-` before it permits its absence, `+` means the root directory of
/// the unit.
fn path_in(word: String) -> PathBuf {
    PathBuf::from(word.trim_start_matches(['-', '+']))
}

/// Splits a list as systemctl prints it: words between blanks, in quotes with `\\` before special
/// characters where needed.
fn split_words(list: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => is_quoted = !is_quoted,
            '\\' => word.extend(characters.next()),
            ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_a_unit_are_read_as_systemctl_prints_them() {
        let properties = [
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("ReadWritePaths", "-/var/lib/imagestore \"/data/two words\" +/srv/a\\\"b"),
            ("ReadOnlyPaths", "/etc"),
            ("InaccessiblePaths", ""),
            ("BindPaths", "/data/a:/home/a:rbind -/b:/home/b:norbind [unprintable]"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sandbox = sandbox_in(&properties.into_iter().collect());
        let expected = ["/var/lib/imagestore", "/data/two words", "/srv/a\"b"].map(PathBuf::from);
        assert_eq!(sandbox.read_write, expected);
        assert_eq!(sandbox.bound, ["/home/a", "/home/b"].map(PathBuf::from));
        assert_eq!((sandbox.read_only, sandbox.inaccessible), (vec!["/etc".into()], vec![]));
        assert_eq!(sandbox.protect_home, "yes");
    }
}
