//! The diagnosis of the state directory, as a process beside the daemon sees it.

use serde::{Deserialize, Serialize};

use super::finding::{Finding, ProblemWord, Verdict};
use super::summary::Summary;
use crate::catalog::{DoctorCheck, Observation};
use crate::model::{InodeCounts, Reason};

/// Available space below which a warning is due, in bytes (256 MiB): a ledger that is migrated
/// needs a second copy of itself.
const LOW_BYTES: u64 = 256 << 20;
/// Share of the disk below which a warning is due, as a divisor (5 %).
const LOW_SHARE: u64 = 20;
/// Available space below which the disk counts as full, in bytes (1 MiB). A commit writes whole
/// pages to the log, and the log needs an index.
const FULL_BYTES: u64 = 1 << 20;

/// The facts about the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirFacts {
    /// The disk, or the reason why the directory cannot be looked at.
    pub disk: Result<StateDiskFact, StateDirProblem>,
    /// True if the observer can tell what the daemon's user may do.
    pub knows_access: bool,
    /// The reason why the daemon's user cannot write in the directory.
    pub write_problem: Option<String>,
    /// The file of the master key.
    pub key: KeyFact,
    /// True if the ledger has a sealed secret, or `None` if it was not read.
    pub has_secrets: Option<bool>,
    /// The number of stores whose secret the daemon cannot open, or `None` if it does not answer.
    pub locked_stores: Option<usize>,
}

/// The reason why the state directory cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateDirProblem {
    /// It has this path and does not exist. The first start creates it.
    Absent(String),
    /// Owner, mode, mount or kind of a file is wrong.
    Unusable(String),
    /// The disk does not respond, or returns an error.
    Trouble(String),
}

/// The space of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateDiskFact {
    /// Size of the filesystem, in bytes.
    pub total: u64,
    /// Free space for the daemon's user, in bytes.
    pub available: u64,
    /// The inodes, if the filesystem counts them.
    pub inodes: Option<InodeCounts>,
}

/// The file of the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFact {
    /// The daemon's user can read it, and it contains a key.
    Usable {
        /// The number of stored secrets, each of which the key opens, or `None` if the ledger was
        /// not read.
        opened: Option<usize>,
    },
    /// It contains no key, or one that does not open each stored secret. `is_configured` is true if
    /// the settings name it.
    Useless {
        /// The reason.
        problem: String,
        /// True if the settings name the file.
        is_configured: bool,
    },
    /// It does not exist. `is_configured` is true if the settings name it.
    Missing {
        /// True if the settings name the file.
        is_configured: bool,
    },
    /// The daemon's user cannot read it, for this reason.
    Unreadable(String),
}

/// Returns the findings `state.writable`, `state.space` and `state.key`.
pub fn diagnose_state_dir(facts: &StateDirFacts) -> Vec<Finding> {
    vec![writable(facts), space(facts), key(facts)]
}

fn writable(facts: &StateDirFacts) -> Finding {
    let check = DoctorCheck::StateWritable;
    match (&facts.disk, &facts.write_problem) {
        (Err(StateDirProblem::Trouble(problem)), _) => {
            let summary = Summary::of_reason(Reason::StateDiskTrouble, problem);
            let mut finding = Finding::new(check, Verdict::Error, summary);
            finding.words = vec![ProblemWord::Reason(Reason::StateDiskTrouble)];
            finding
        }
        (Err(_), _) if !facts.knows_access => Finding::skipped(check, Observation::NeedsAccount),
        (Err(StateDirProblem::Absent(path)), _) => {
            let summary = Observation::StateDirAbsent { path: path.clone() };
            Finding::new(check, Verdict::Ok, summary)
        }
        (Err(StateDirProblem::Unusable(problem)), _) | (Ok(_), Some(problem)) => {
            let summary = Observation::StateDirUnusable { problem: problem.clone() };
            Finding::new(check, Verdict::Error, summary)
        }
        (Ok(_), None) if !facts.knows_access => Finding::skipped(check, Observation::NeedsAccount),
        (Ok(_), None) => Finding::new(check, Verdict::Ok, Observation::StateWritable),
    }
}

fn space(facts: &StateDirFacts) -> Finding {
    let check = DoctorCheck::StateSpace;
    let StateDiskFact { total, available, inodes } = match &facts.disk {
        Ok(disk) => *disk,
        Err(problem) => return skipped_without_dir(check, problem),
    };
    let no_inode = inodes.is_some_and(|inodes| inodes.available == 0);
    let verdict = match () {
        () if available < FULL_BYTES || no_inode => Verdict::Error,
        () if available < LOW_BYTES || available < total / LOW_SHARE => Verdict::Warning,
        () => Verdict::Ok,
    };
    let (free, all) = (available.to_string(), total.to_string());
    let summary = match no_inode {
        true => Observation::BytesWithoutInode { available: free, total: all },
        false => Observation::BytesAvailable { available: free, total: all },
    };
    let mut finding = Finding::new(check, verdict, summary);
    let facts = &mut finding.evidence.facts;
    facts.insert("availableBytes".to_owned(), available.into());
    facts.insert("totalBytes".to_owned(), total.into());
    if let Some(InodeCounts { total, available }) = inodes {
        facts.insert("availableInodes".to_owned(), available.into());
        facts.insert("totalInodes".to_owned(), total.into());
    }
    finding
}

/// Returns the finding of a check that needs the directory.
fn skipped_without_dir(check: DoctorCheck, problem: &StateDirProblem) -> Finding {
    match problem {
        StateDirProblem::Absent(_) => {
            Finding::skipped(check, Observation::NeedsMore { problem: "state.dir".to_owned() })
        }
        StateDirProblem::Unusable(_) | StateDirProblem::Trouble(_) => {
            Finding::skipped(check, DoctorCheck::StateWritable)
        }
    }
}

fn key(facts: &StateDirFacts) -> Finding {
    let check = DoctorCheck::StateKey;
    let unreadable = |summary: Summary| {
        let mut finding = Finding::new(check, Verdict::Error, summary);
        finding.words = vec![ProblemWord::Reason(Reason::SecretUnreadable)];
        finding
    };
    if let Some(stores) = facts.locked_stores.filter(|stores| *stores > 0) {
        return unreadable(Observation::SecretsLocked { stores: stores.to_string() }.into());
    }
    if let Err(problem) = &facts.disk {
        return skipped_without_dir(check, problem);
    }
    let knows_access = facts.knows_access;
    match (&facts.key, facts.has_secrets) {
        (KeyFact::Missing { is_configured: true }, _) => {
            unreadable(Observation::KeyFileMissing.into())
        }
        (KeyFact::Usable { .. } | KeyFact::Useless { .. } | KeyFact::Unreadable(_), _)
            if !knows_access =>
        {
            Finding::skipped(check, Observation::NeedsAccount)
        }
        (KeyFact::Unreadable(problem), _) => {
            unreadable(Summary::of_reason(Reason::SecretUnreadable, problem))
        }
        (KeyFact::Useless { problem, is_configured }, _) => {
            let mut summary = Summary::of_reason(Reason::SecretUnreadable, problem);
            if !is_configured {
                summary.add_other(Observation::CredentialFirst.into());
            }
            unreadable(summary)
        }
        (KeyFact::Usable { opened: Some(0) }, _) => {
            Finding::new(check, Verdict::Ok, Observation::KeyReadable)
        }
        (KeyFact::Usable { opened: Some(count) }, _) => {
            let summary = Observation::KeyOpens { count: count.to_string() };
            Finding::new(check, Verdict::Ok, summary)
        }
        (KeyFact::Usable { opened: None }, _) if facts.locked_stores.is_some() => {
            Finding::new(check, Verdict::Ok, Observation::KeyUncontested)
        }
        (KeyFact::Usable { opened: None }, _) => Finding::skipped(check, Observation::NeedsLedger),
        (KeyFact::Missing { .. }, Some(false)) => {
            Finding::new(check, Verdict::Ok, Observation::KeyNotNeeded)
        }
        // Only the service itself sees the credentials that systemd passes to it.
        (KeyFact::Missing { .. }, Some(true)) => {
            Finding::new(check, Verdict::Warning, Observation::KeyOfService)
        }
        (KeyFact::Missing { .. }, None) => Finding::skipped(check, Observation::NeedsLedger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn facts(available: u64, total: u64) -> StateDirFacts {
        StateDirFacts {
            disk: Ok(StateDiskFact { total, available, inodes: None }),
            knows_access: true,
            write_problem: None,
            key: KeyFact::Usable { opened: Some(1) },
            has_secrets: Some(true),
            locked_stores: None,
        }
    }

    fn verdicts(facts: &StateDirFacts) -> Vec<Verdict> {
        diagnose_state_dir(facts).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn the_space_that_is_left_decides() {
        use Verdict::{Error, Ok as Well, Warning};
        for (available, total, verdict) in [
            (1024 * MIB, 4096 * MIB, Well),
            (256 * MIB, 1024 * MIB, Well),
            (256 * MIB - 1, 1024 * MIB, Warning),
            // Less than 5 % of a large disk.
            (512 * MIB, 16_384 * MIB, Warning),
            (MIB, 1024 * MIB, Warning),
            (MIB - 1, 1024 * MIB, Error),
            (0, 1024 * MIB, Error),
        ] {
            assert_eq!(verdicts(&facts(available, total))[1], verdict, "{available} of {total}");
        }
        let mut without_inode = facts(1024 * MIB, 4096 * MIB);
        let inodes = Some(InodeCounts { total: 64, available: 0 });
        without_inode.disk = without_inode.disk.map(|disk| StateDiskFact { inodes, ..disk });
        assert_eq!(verdicts(&without_inode), [Well, Error, Well]);
    }

    #[test]
    fn access_and_key_decide() {
        use Verdict::{Error, Ok as Well, Skipped, Warning};
        let good = facts(1024 * MIB, 4096 * MIB);
        let with_key =
            |key: KeyFact, has_secrets| StateDirFacts { key, has_secrets, ..good.clone() };
        let missing = |is_configured| KeyFact::Missing { is_configured };
        let without = |problem| StateDirFacts { disk: Err(problem), ..good.clone() };
        let usable = |opened| KeyFact::Usable { opened };
        let useless = KeyFact::Useless { problem: "another key".into(), is_configured: false };
        let answered =
            |locked| StateDirFacts { locked_stores: Some(locked), ..with_key(usable(None), None) };
        for (facts, expected) in [
            (good.clone(), [Well, Well, Well]),
            (without(StateDirProblem::Trouble("gone".into())), [Error, Skipped, Skipped]),
            (without(StateDirProblem::Unusable("a file".into())), [Error, Skipped, Skipped]),
            (without(StateDirProblem::Absent("/s".into())), [Well, Skipped, Skipped]),
            (
                StateDirFacts {
                    knows_access: false,
                    ..without(StateDirProblem::Unusable("denied".into()))
                },
                [Skipped, Skipped, Skipped],
            ),
            (
                StateDirFacts { write_problem: Some("no".into()), ..good.clone() },
                [Error, Well, Well],
            ),
            (StateDirFacts { knows_access: false, ..good.clone() }, [Skipped, Well, Skipped]),
            (with_key(KeyFact::Unreadable("mode 0000".into()), None), [Well, Well, Error]),
            (with_key(missing(true), Some(false)), [Well, Well, Error]),
            (with_key(missing(false), Some(false)), [Well, Well, Well]),
            (with_key(missing(false), Some(true)), [Well, Well, Warning]),
            (with_key(missing(false), None), [Well, Well, Skipped]),
            (with_key(usable(None), None), [Well, Well, Skipped]),
            (with_key(usable(Some(0)), Some(false)), [Well, Well, Well]),
            (with_key(useless.clone(), Some(true)), [Well, Well, Error]),
            (
                StateDirFacts { knows_access: false, ..with_key(useless, Some(true)) },
                [Skipped, Well, Skipped],
            ),
            (answered(0), [Well, Well, Well]),
            (answered(2), [Well, Well, Error]),
        ] {
            assert_eq!(verdicts(&facts), expected, "{facts:?}");
        }
    }
}
