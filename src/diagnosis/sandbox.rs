//! The diagnosis of the sandbox of the service: the roots against the paths that the unit lets it
//! write.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Verdict};
use crate::catalog::{DoctorCheck, Observation};
use crate::model::Fact;

/// The sandbox of the unit, as systemd reports it (systemd.exec(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxFacts {
    /// `ProtectSystem`: `no`, `yes`, `full` or `strict`.
    pub protect_system: String,
    /// `ProtectHome`: `no`, `yes`, `read-only` or `tmpfs`.
    pub protect_home: String,
    /// `ReadWritePaths`, without their prefixes.
    pub read_write: Vec<PathBuf>,
    /// `ReadOnlyPaths` and `InaccessiblePaths`, without their prefixes.
    pub denied: Vec<PathBuf>,
}

impl SandboxFacts {
    /// Returns true if the service can write below the path, as far as these settings decide. The
    /// most specific one counts.
    fn allows(&self, path: &Path) -> bool {
        let depth = |paths: &[PathBuf]| {
            let above = paths.iter().filter(|above| path.starts_with(above));
            above.map(|above| above.components().count()).max()
        };
        let protected: Vec<PathBuf> = protected_paths(&self.protect_system, &self.protect_home);
        let denied = depth(&self.denied).max(depth(&protected));
        denied.is_none_or(|denied| depth(&self.read_write).is_some_and(|written| written >= denied))
    }
}

/// Returns the paths that `ProtectSystem` and `ProtectHome` make read-only or empty.
fn protected_paths(system: &str, home: &str) -> Vec<PathBuf> {
    let system: &[&str] = match system {
        "strict" => &["/"],
        "full" => &["/usr", "/boot", "/efi", "/etc"],
        "yes" | "true" => &["/usr", "/boot", "/efi"],
        _ => &[],
    };
    let home: &[&str] = match home {
        "no" | "false" | "" => &[],
        _ => &["/home", "/root", "/run/user"],
    };
    system.iter().chain(home).map(PathBuf::from).collect()
}

/// Returns the finding `settings.sandbox`.
pub fn diagnose_sandbox(sandbox: &SandboxFacts, roots: &[PathBuf]) -> Finding {
    let check = DoctorCheck::SettingsSandbox;
    let outside: Vec<String> = roots
        .iter()
        .filter(|root| !sandbox.allows(root))
        .map(|root| root.display().to_string())
        .collect();
    if outside.is_empty() {
        return Finding::new(check, Verdict::Ok, Observation::RootsWritable);
    }
    let summary = Observation::RootsReadOnly { roots: outside.join(", ") };
    let mut finding = Finding::new(check, Verdict::Error, summary);
    let written = sandbox.read_write.iter().map(|path| path.display().to_string()).collect();
    let evidence = &mut finding.evidence.facts;
    evidence.insert("roots".to_owned(), Fact::List(outside));
    evidence.insert("readWritePaths".to_owned(), Fact::List(written));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    #[test]
    fn the_most_specific_path_of_the_unit_decides() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (system, home, written, denied, root, allowed) in [
            ("strict", "yes", &["/var/lib/imagestore"][..], &[][..], "/var/lib/imagestore", true),
            ("strict", "yes", &["/var/lib/imagestore"], &[], "/var/lib/imagestore/a", true),
            ("strict", "yes", &["/var/lib/imagestore"], &[], "/var/lib/imagestores", false),
            ("strict", "yes", &["/var/lib/imagestore"], &[], "/var/lib", false),
            ("strict", "yes", &[], &[], "/data", false),
            ("strict", "no", &["/"], &[], "/data", true),
            ("strict", "no", &["/"], &["/data"], "/data/images", false),
            ("full", "no", &[], &[], "/data", true),
            ("full", "no", &[], &[], "/etc/images", false),
            ("yes", "yes", &[], &[], "/home/images", false),
            ("no", "no", &[], &[], "/home/images", true),
            ("no", "read-only", &["/home/images"], &[], "/home/images", true),
            ("", "", &[], &["/data"], "/data", false),
        ] {
            let sandbox = SandboxFacts {
                protect_system: system.to_owned(),
                protect_home: home.to_owned(),
                read_write: paths(written),
                denied: paths(denied),
            };
            let finding = diagnose_sandbox(&sandbox, &paths(&[root]));
            let expected = if allowed { Verdict::Ok } else { Verdict::Error };
            assert_eq!(finding.verdict, expected, "{sandbox:?} {root}");
            assert_eq!(
                finding.summary.text(Language::English).contains(root),
                !allowed,
                "{finding:?}"
            );
        }
    }
}
