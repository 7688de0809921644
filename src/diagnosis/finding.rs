//! The result of one check.

use std::time::Duration;

use super::{ReportFact, StoreTitle, Summary};
use crate::catalog::{CheckCase, DoctorCheck, Observation};
use crate::common::{Timestamp, string_enum};
use crate::model::{Condition, Facts, Fault, Reason};

string_enum! {
    /// The verdict of a check, from the best to the worst.
    pub Verdict {
        /// The check could not run, because it needs something that is not there.
        Skipped = "skipped",
        /// The fact that the check verifies is so.
        Ok = "ok",
        /// It will not be so for long, or it could not be proved.
        Warning = "warning",
        /// It is not so.
        Error = "error",
    }
}

/// The word of a problem, which `explain` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemWord {
    /// The reason of a fault.
    Reason(Reason),
    /// A condition.
    Condition(Condition),
}

impl ProblemWord {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.as_str(),
            Self::Condition(condition) => condition.as_str(),
        }
    }
}

/// The observations behind a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingEvidence {
    /// The evidence by name, as in the `opaque` of an error.
    pub facts: Facts,
    /// The time at which the present result of the check began.
    pub since: Option<Timestamp>,
    /// The time at which the check was last good.
    pub last_good: Option<Timestamp>,
    /// The duration of the last run.
    pub took: Option<Duration>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: DoctorCheck,
    /// The store that was checked, or `None` if the check concerns the daemon.
    pub store: Option<StoreTitle>,
    /// The verdict.
    pub verdict: Verdict,
    /// The observation.
    pub summary: Summary,
    /// The reasons and conditions that the check found. The first one decides the verdict.
    pub words: Vec<ProblemWord>,
    /// The fault behind the finding, if there is one. Its action is more specific than that of its
    /// reason.
    pub fault: Option<Fault>,
    /// The case whose texts replace those of the check, if there is one.
    pub case: Option<CheckCase>,
    /// The evidence.
    pub evidence: FindingEvidence,
    /// The delivery of the store's notices, if something is not well and there is a callback.
    pub reported: Option<ReportFact>,
    /// True if the check could not run because no daemon answers.
    pub lacks_daemon: bool,
}

impl Finding {
    /// Creates a finding without evidence.
    pub fn new(check: DoctorCheck, verdict: Verdict, summary: impl Into<Summary>) -> Self {
        Self {
            check,
            store: None,
            verdict,
            summary: summary.into(),
            words: Vec::new(),
            fault: None,
            case: None,
            evidence: FindingEvidence::default(),
            reported: None,
            lacks_daemon: false,
        }
    }

    /// Returns the finding with the texts of a case.
    #[must_use]
    pub fn with_case(self, case: CheckCase) -> Self {
        Self { case: Some(case), ..self }
    }

    /// Creates the finding of a check that could not run. `need` says what it needs.
    pub fn skipped(check: DoctorCheck, need: impl Into<Observation>) -> Self {
        Self::new(check, Verdict::Skipped, need.into())
    }

    /// Creates the finding of a check that could not run without a setting.
    pub fn skipped_without(check: DoctorCheck, setting: &str) -> Self {
        Self::skipped(check, Observation::NeedsSetting { setting: setting.to_owned() })
    }

    /// Creates the finding of a check that could not run, because no daemon answers. `need` says
    /// what it needs.
    pub fn without_daemon(check: DoctorCheck, need: impl Into<Observation>) -> Self {
        Self { lacks_daemon: true, ..Self::skipped(check, need) }
    }

    /// Creates the finding of a fault.
    pub fn of_fault(check: DoctorCheck, verdict: Verdict, fault: &Fault) -> Self {
        Self {
            words: vec![ProblemWord::Reason(fault.reason())],
            evidence: FindingEvidence { facts: fault.facts().clone(), ..Default::default() },
            fault: Some(fault.clone()),
            ..Self::new(check, verdict, Summary::of_fault(fault))
        }
    }

    /// Adds another finding of the same check. The worse one decides the verdict, and of two equal
    /// ones the first. The text and the word of the other one are appended.
    #[must_use]
    pub(super) fn merged_with(self, other: Self) -> Self {
        let (mut main, lesser) =
            if other.verdict > self.verdict { (other, self) } else { (self, other) };
        main.summary.add_other(lesser.summary);
        let new = lesser.words.into_iter().filter(|word| !main.words.contains(word));
        let new: Vec<ProblemWord> = new.collect();
        main.words.extend(new);
        main
    }
}
