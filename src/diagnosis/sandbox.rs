//! The diagnosis of the sandbox of the service: the roots against the paths that the unit lets it
//! write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Verdict};
use super::summary::Summary;
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
    /// `ReadOnlyPaths`, without their prefixes.
    pub read_only: Vec<PathBuf>,
    /// `InaccessiblePaths`, without their prefixes.
    pub inaccessible: Vec<PathBuf>,
    /// The destinations of `BindPaths`.
    pub bound: Vec<PathBuf>,
}

/// The treatment of a path by a setting. The first one counts if two settings name the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathTreatment {
    /// Nothing in it can be used, not even a path that another setting names.
    Inaccessible,
    /// It is mounted there, and can be written.
    Bound,
    ReadOnly,
    ReadWrite,
    /// An empty filesystem hides it. Only what is bound below it exists.
    Emptied,
    /// `ProtectSystem=strict` does not apply to it.
    Unprotected,
}

/// The access of the service to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RootAccess {
    Writable,
    ReadOnly,
    Hidden,
}

impl SandboxFacts {
    /// Returns the access to a path, as far as these settings decide. The deepest one above the
    /// path counts, except below a directory that is hidden.
    fn access(&self, path: &Path) -> RootAccess {
        use PathTreatment::{Bound, Emptied, Inaccessible, ReadOnly, ReadWrite, Unprotected};
        let listed = [
            (&self.inaccessible, Inaccessible),
            (&self.bound, Bound),
            (&self.read_only, ReadOnly),
            (&self.read_write, ReadWrite),
        ];
        let listed = listed.into_iter().flat_map(|(paths, treatment)| {
            paths.iter().map(move |above| (above.as_path(), treatment))
        });
        let protected = protected_paths(&self.protect_system, &self.protect_home);
        // All of them lie above one path, so that those of one depth are the same.
        let mut above: BTreeMap<usize, PathTreatment> = BTreeMap::new();
        for (ancestor, treatment) in listed.chain(protected) {
            if path.starts_with(ancestor) {
                let known = above.entry(ancestor.components().count()).or_insert(treatment);
                *known = treatment.min(*known);
            }
        }
        let mut access = RootAccess::Writable;
        for treatment in above.into_values() {
            access = match (treatment, access) {
                (Inaccessible, _) => return RootAccess::Hidden,
                (Emptied, _) => RootAccess::Hidden,
                (Bound, _) => RootAccess::Writable,
                (ReadOnly | ReadWrite | Unprotected, RootAccess::Hidden) => RootAccess::Hidden,
                (ReadOnly, _) => RootAccess::ReadOnly,
                (ReadWrite | Unprotected, _) => RootAccess::Writable,
            };
        }
        access
    }
}

/// Returns the paths that `ProtectSystem` and `ProtectHome` name. `strict` leaves the homes to
/// `ProtectHome`, and the filesystems of the kernel to other settings.
fn protected_paths(system: &str, home: &str) -> Vec<(&'static Path, PathTreatment)> {
    use PathTreatment::{Emptied, Inaccessible, ReadOnly, Unprotected};
    const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
    let read_only: &[&str] = match system {
        "strict" => &["/"],
        "full" => &["/usr", "/boot", "/efi", "/etc"],
        "yes" | "true" => &["/usr", "/boot", "/efi"],
        _ => &[],
    };
    let of_homes = match home {
        "no" | "false" | "" => Unprotected,
        "read-only" => ReadOnly,
        "tmpfs" => Emptied,
        _ => Inaccessible,
    };
    let system = read_only.iter().map(|path| (*path, ReadOnly));
    let kernel = ["/dev", "/proc", "/sys"].map(|path| (path, Unprotected));
    let homes = HOMES.map(|path| (path, of_homes));
    let all = system.chain(kernel).chain(homes);
    all.map(|(path, treatment)| (Path::new(path), treatment)).collect()
}

/// Returns the finding `settings.sandbox`.
pub fn diagnose_sandbox(sandbox: &SandboxFacts, roots: &[PathBuf]) -> Finding {
    let check = DoctorCheck::SettingsSandbox;
    let names = |wanted: RootAccess| -> Vec<String> {
        let found = roots.iter().filter(|root| sandbox.access(root) == wanted);
        found.map(|root| root.display().to_string()).collect()
    };
    let (hidden, read_only) = (names(RootAccess::Hidden), names(RootAccess::ReadOnly));
    let joined = |roots: &[String]| (!roots.is_empty()).then(|| roots.join(", "));
    let observations = [
        joined(&hidden).map(|roots| Observation::RootsHidden { roots }),
        joined(&read_only).map(|roots| Observation::RootsReadOnly { roots }),
    ];
    let mut observations = observations.into_iter().flatten();
    let Some(first) = observations.next() else {
        return Finding::new(check, Verdict::Ok, Observation::RootsWritable);
    };
    let mut summary = Summary::from(first);
    observations.for_each(|other| summary.add_other(other.into()));
    let outside = [hidden, read_only].concat();
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

    /// The lines of a unit, such as `ProtectHome=yes`, with one path a line.
    fn sandbox_of(lines: &[&str]) -> SandboxFacts {
        let mut sandbox = SandboxFacts::default();
        for line in lines {
            let (name, value) = line.split_once('=').unwrap();
            match name {
                "ProtectSystem" => sandbox.protect_system = value.to_owned(),
                "ProtectHome" => sandbox.protect_home = value.to_owned(),
                "ReadWritePaths" => sandbox.read_write.push(value.into()),
                "ReadOnlyPaths" => sandbox.read_only.push(value.into()),
                "InaccessiblePaths" => sandbox.inaccessible.push(value.into()),
                "BindPaths" => sandbox.bound.push(value.into()),
                _ => panic!("{name}"),
            }
        }
        sandbox
    }

    #[test]
    fn the_settings_of_a_unit_decide_as_in_systemd() {
        use RootAccess::{Hidden, ReadOnly, Writable};
        const STRICT: &str = "ProtectSystem=strict";
        const STORES: &str = "ReadWritePaths=/var/lib/imagestore";
        for (lines, root, access) in [
            (&[STRICT, "ProtectHome=yes", STORES][..], "/var/lib/imagestore", Writable),
            (&[STRICT, STORES], "/var/lib/imagestore/a", Writable),
            (&[STRICT, STORES], "/var/lib/imagestores", ReadOnly),
            (&[STRICT, STORES], "/var/lib", ReadOnly),
            (&[STRICT], "/data", ReadOnly),
            (&["ProtectSystem=full"], "/data", Writable),
            (&["ProtectSystem=full"], "/etc/images", ReadOnly),
            (&["ProtectSystem=yes"], "/etc/images", Writable),
            (&["ProtectSystem=yes"], "/usr/images", ReadOnly),
            (&["ProtectSystem=no", "ProtectHome=no"], "/home/images", Writable),
            (&[], "/home/images", Writable),
            // Of two settings with the same path, the stricter one counts.
            (&[STRICT, "ReadWritePaths=/"], "/data", ReadOnly),
            (&["ReadOnlyPaths=/data", "ReadWritePaths=/data"], "/data/images", ReadOnly),
            (&["InaccessiblePaths=/data", "ReadOnlyPaths=/data"], "/data", Hidden),
            (&["ProtectHome=read-only", "ReadWritePaths=/home"], "/home/images", ReadOnly),
            // A path inside a read-only one can be writable, and the reverse.
            (&["ReadOnlyPaths=/data", "ReadWritePaths=/data/a"], "/data/a", Writable),
            (&["ReadWritePaths=/data", "ReadOnlyPaths=/data/a"], "/data/a", ReadOnly),
            (&["ProtectHome=read-only", "ReadWritePaths=/home/a"], "/home/a", Writable),
            // One inside an inaccessible one cannot.
            (&["ProtectHome=yes", "ReadWritePaths=/home/a"], "/home/a", Hidden),
            (&["ProtectHome=yes", "BindPaths=/root/a"], "/root/a", Hidden),
            (&["InaccessiblePaths=/data", "ReadWritePaths=/data/a"], "/data/a", Hidden),
            // Below an empty filesystem, only what is bound exists.
            (&["ProtectHome=tmpfs", "ReadWritePaths=/home/a"], "/home/a", Hidden),
            (&["ProtectHome=tmpfs", "BindPaths=/home/a"], "/home/a/b", Writable),
            (&["ProtectHome=tmpfs", "BindPaths=/home/a"], "/home/b", Hidden),
            // `strict` leaves the homes and the filesystems of the kernel to other settings.
            (&[STRICT, "ProtectHome=no"], "/home/images", Writable),
            (&[STRICT, "ProtectHome=no"], "/root/images", Writable),
            (&[STRICT, "ProtectHome=no", "ReadOnlyPaths=/home"], "/home/images", ReadOnly),
            (&[STRICT, "ProtectHome=no"], "/dev/images", Writable),
            (&[STRICT, "BindPaths=/data"], "/data", Writable),
        ] {
            let sandbox = sandbox_of(lines);
            assert_eq!(sandbox.access(Path::new(root)), access, "{lines:?} {root}");
            let verdict = diagnose_sandbox(&sandbox, &[root.into()]).verdict;
            let expected = if access == Writable { Verdict::Ok } else { Verdict::Error };
            assert_eq!(verdict, expected, "{lines:?} {root}");
        }
    }

    #[test]
    fn a_hidden_root_is_said_apart_from_a_read_only_one() {
        let sandbox = sandbox_of(&["ProtectSystem=strict", "ProtectHome=yes"]);
        let roots = ["/data", "/home/a"].map(PathBuf::from);
        let text = diagnose_sandbox(&sandbox, &roots).summary.text(Language::English);
        assert!(text.contains("hides /home/a from the service"), "{text}");
        assert!(text.contains("not write below /data"), "{text}");
        let action = DoctorCheck::SettingsSandbox.guidance().action;
        assert!(action.en.contains("ProtectHome") && action.zh.contains("ProtectHome"));
    }
}
