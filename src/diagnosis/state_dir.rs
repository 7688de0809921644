//! The diagnosis of the state directory, as a process beside the daemon sees it.

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
    pub disk: Result<StateDiskFact, String>,
    /// True if the observer can tell what the daemon's user may do.
    pub knows_access: bool,
    /// The reason why the daemon's user cannot write in the directory.
    pub write_problem: Option<String>,
    /// The file of the master key.
    pub key: KeyFact,
    /// True if the ledger has a sealed secret, or `None` if it was not read.
    pub has_secrets: Option<bool>,
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
    /// The daemon's user can read it.
    Readable,
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
        (Err(problem), _) | (Ok(_), Some(problem)) => {
            let summary = Summary::of_reason(Reason::StateDiskTrouble, problem);
            let mut finding = Finding::new(check, Verdict::Error, summary);
            finding.words = vec![ProblemWord::Reason(Reason::StateDiskTrouble)];
            finding
        }
        (Ok(_), None) if !facts.knows_access => Finding::skipped(check, Observation::NeedsAccount),
        (Ok(_), None) => Finding::new(check, Verdict::Ok, Observation::StateWritable),
    }
}

fn space(facts: &StateDirFacts) -> Finding {
    let check = DoctorCheck::StateSpace;
    let Ok(disk) = facts.disk else {
        return Finding::skipped(check, DoctorCheck::StateWritable);
    };
    let StateDiskFact { total, available, inodes } = disk;
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

fn key(facts: &StateDirFacts) -> Finding {
    let check = DoctorCheck::StateKey;
    if facts.disk.is_err() {
        return Finding::skipped(check, DoctorCheck::StateWritable);
    }
    let unreadable = |summary: Summary| {
        let mut finding = Finding::new(check, Verdict::Error, summary);
        finding.words = vec![ProblemWord::Reason(Reason::SecretUnreadable)];
        finding
    };
    match (&facts.key, facts.has_secrets) {
        (KeyFact::Unreadable(problem), _) if facts.knows_access => {
            unreadable(Summary::of_reason(Reason::SecretUnreadable, problem))
        }
        (KeyFact::Readable | KeyFact::Unreadable(_), _) if !facts.knows_access => {
            Finding::skipped(check, Observation::NeedsAccount)
        }
        (KeyFact::Readable | KeyFact::Unreadable(_), _) => {
            Finding::new(check, Verdict::Ok, Observation::KeyReadable)
        }
        (KeyFact::Missing { is_configured: true }, _) => {
            unreadable(Observation::KeyFileMissing.into())
        }
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
            key: KeyFact::Readable,
            has_secrets: Some(true),
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
        for (facts, expected) in [
            (good.clone(), [Well, Well, Well]),
            (StateDirFacts { disk: Err("gone".into()), ..good.clone() }, [Error, Skipped, Skipped]),
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
        ] {
            assert_eq!(verdicts(&facts), expected, "{facts:?}");
        }
    }
}
