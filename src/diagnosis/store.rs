//! The diagnosis of one store.

use std::collections::BTreeMap;

use super::finding::{Finding, FindingEvidence, ProblemWord, Verdict};
use super::reason_check::{check_of_condition, check_of_reason};
use super::store_facts::{ConditionFact, EXAMINED_CHECKS, StoreFacts, StoreObserver};
use super::store_result::{
    inodes_result, login_result, reported_result, space_result, storage_result, write_dependent,
};
use super::summary::{Summary, SummaryNote};
use crate::catalog::{CheckCase, DoctorCheck, Observation};
use crate::lifecycle::{CheckState, StoreChecks};
use crate::model::{Condition, Fault, Status};

/// The checks of the directory, in the order in which a probe makes them.
const STORAGE_CHECKS: [DoctorCheck; 5] = [
    DoctorCheck::Directory,
    DoctorCheck::Permission,
    DoctorCheck::Mount,
    DoctorCheck::Identity,
    DoctorCheck::Write,
];
/// The checks of a login, in its order.
const LOGIN_CHECKS: [DoctorCheck; 5] = [
    DoctorCheck::SshResolve,
    DoctorCheck::SshConnect,
    DoctorCheck::SshHostKey,
    DoctorCheck::SshLogin,
    DoctorCheck::SshProof,
];

/// Returns one finding for each check that concerns a store, in the order of the checks, and one
/// for each check of the daemon that the store shows to be bad.
pub fn diagnose_store(facts: &StoreFacts<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    find_faults(facts, &mut found);
    for fact in facts.conditions {
        found.add(condition_finding(fact, facts.checks));
    }
    // Without the daemon, no attempt is running.
    if facts.status == Status::Connecting && facts.observer == StoreObserver::Daemon {
        let summary = Observation::AttemptRuns;
        let mut finding = Finding::new(DoctorCheck::SshLogin, Verdict::Warning, summary);
        finding.evidence.since = Some(facts.since);
        found.add(finding.with_case(CheckCase::AttemptRunning));
    }
    for check in overdue_checks(facts.checks) {
        // One that has a finding already is not good, or has the condition.
        if found.is_good(check) {
            found.add(Finding::new(check, Verdict::Warning, Observation::CheckOverdue));
        }
    }
    complete_chain(&STORAGE_CHECKS, &mut found, |check| storage_result(check, facts));
    complete_chain(&LOGIN_CHECKS, &mut found, |check| login_result(check, facts));
    // The last figures say nothing about now.
    let is_overdue = facts.checks.examine.is_overdue();
    let with_figures = |finding: Finding| match is_overdue {
        true => Finding::skipped(finding.check, DoctorCheck::Directory),
        false => finding,
    };
    found.add_missing(with_figures(space_result(facts.capacity)));
    found.add_missing(with_figures(inodes_result(facts.capacity, facts.inodes)));
    found.add_missing(write_dependent(DoctorCheck::Quota, facts, Observation::QuotaKept));
    found.add_missing(reported_result(facts.report));
    found.into_findings(facts)
}

/// The findings so far, by check.
#[derive(Default)]
struct Findings(BTreeMap<DoctorCheck, Finding>);

impl Findings {
    fn add(&mut self, finding: Finding) {
        let merged = match self.0.remove(&finding.check) {
            Some(earlier) => earlier.merged_with(finding),
            None => finding,
        };
        self.0.insert(merged.check, merged);
    }

    /// Adds a finding unless the check has one that says more. What only could be better is a note
    /// on the result of the check.
    fn add_missing(&mut self, finding: Finding) {
        let noted = self.0.get(&finding.check).is_none_or(|earlier| earlier.verdict == Verdict::Ok);
        if noted {
            match self.0.remove(&finding.check) {
                Some(mut note) => {
                    // A note does not make a check good that could not run.
                    note.verdict = note.verdict.min(finding.verdict);
                    self.add(finding.merged_with(note));
                }
                None => self.add(finding),
            }
        }
    }

    /// Returns true if nothing bad was found, so that the result of the check decides.
    fn is_good(&self, check: DoctorCheck) -> bool {
        self.0.get(&check).is_none_or(|finding| finding.verdict <= Verdict::Ok)
    }

    fn has_error(&self, check: DoctorCheck) -> bool {
        self.0.get(&check).is_some_and(|finding| finding.verdict == Verdict::Error)
    }

    fn into_findings(self, facts: &StoreFacts<'_>) -> Vec<Finding> {
        let complete = |mut finding: Finding| {
            finding.store = Some(facts.title.clone());
            if finding.verdict > Verdict::Ok {
                finding.reported = facts.report.cloned();
            }
            finding
        };
        self.0.into_values().map(complete).collect()
    }
}

/// Adds the faults for which the store is Disconnected, and those of the newest checks.
fn find_faults(facts: &StoreFacts<'_>, found: &mut Findings) {
    let decided: Vec<&Fault> =
        facts.failure.iter().flat_map(|failure| failure.all_faults()).collect();
    for fault in &decided {
        let Some(check) = check_of_reason(fault.reason()) else { continue };
        let mut finding = Finding::of_fault(check, Verdict::Error, fault);
        finding.evidence.since = Some(facts.since);
        if facts.observer != StoreObserver::Daemon {
            // The directory was looked at since then.
            if EXAMINED_CHECKS.contains(&check) && facts.checks.examine.last.is_some() {
                continue;
            }
            finding.summary.mark_last_known();
        }
        if let Some(state) = state_of(check, facts.checks) {
            finding.evidence.last_good = state.last_good;
            // The status follows with the next attempt, which an operator may have to request.
            let is_good = state.fault.is_none() && state.last.is_some_and(|at| at > facts.since);
            if is_good {
                finding.summary.add_note(SummaryNote::GoodAgain);
            }
        }
        found.add(finding);
    }
    for state in [&facts.checks.examine, &facts.checks.write, &facts.checks.ssh] {
        let Some(fault) = &state.fault else { continue };
        let Some(check) = check_of_reason(fault.reason()) else { continue };
        let is_reported = facts.observer == StoreObserver::Daemon
            && decided.iter().any(|decided| decided.reason() == fault.reason());
        if is_reported {
            continue;
        }
        // The status of a connected store counts until the fault repeats.
        let (verdict, note) = match (facts.observer, facts.status) {
            (StoreObserver::OtherProcess { .. }, _) | (_, Status::Disconnected) => {
                (Verdict::Error, None)
            }
            (StoreObserver::Daemon, Status::Connected | Status::Connecting) => {
                (Verdict::Warning, Some(SummaryNote::StaysConnected))
            }
        };
        let mut finding = Finding::of_fault(check, verdict, fault);
        if let Some(note) = note {
            finding.summary.add_note(note);
        }
        finding.evidence = FindingEvidence {
            since: state.since,
            last_good: state.last_good,
            took: Some(state.took),
            ..finding.evidence
        };
        found.add(finding);
    }
}

/// Returns the state of the check of the daemon that makes a check of the diagnosis.
fn state_of(check: DoctorCheck, checks: &StoreChecks) -> Option<&CheckState> {
    match check {
        DoctorCheck::Directory | DoctorCheck::Mount | DoctorCheck::Identity => {
            Some(&checks.examine)
        }
        DoctorCheck::Write | DoctorCheck::Permission => Some(&checks.write),
        check if LOGIN_CHECKS.contains(&check) => Some(&checks.ssh),
        _ => None,
    }
}

fn condition_finding(fact: &ConditionFact, checks: &StoreChecks) -> Finding {
    let check = match fact.condition {
        // Several checks can be overdue. Their one condition belongs to the first of them.
        Condition::NotProbed => overdue_checks(checks).next(),
        _ => None,
    };
    let check = check.unwrap_or_else(|| check_of_condition(fact.condition));
    let summary = Summary::of_condition(fact.condition, &fact.message);
    let mut finding = Finding::new(check, condition_verdict(fact.condition), summary);
    finding.words = vec![ProblemWord::Condition(fact.condition)];
    finding.evidence.since = fact.since;
    finding
}

/// Returns the checks of the diagnosis that stand for the overdue checks of the daemon.
fn overdue_checks(checks: &StoreChecks) -> impl Iterator<Item = DoctorCheck> {
    [
        (&checks.examine, DoctorCheck::Directory),
        (&checks.write, DoctorCheck::Write),
        (&checks.ssh, DoctorCheck::SshLogin),
    ]
    .into_iter()
    .filter_map(|(state, check)| state.is_overdue().then_some(check))
}

/// Returns the verdict of a condition.
const fn condition_verdict(condition: Condition) -> Verdict {
    use Condition as C;
    match condition {
        // Nothing can be stored, recorded, or reported.
        C::Full | C::QuotaExceeded | C::InodesFull | C::DeliveryRefused | C::StateDiskTrouble => {
            Verdict::Error
        }
        C::NotProbed
        | C::NearFull
        | C::FillingUp
        | C::SyncUnsupported
        | C::SlowProbe
        | C::ProofUnavailable
        | C::StaleNamespace
        | C::AcceptsAnyHostKey
        | C::DeliveryBehind => Verdict::Warning,
        // These are choices of the operator.
        C::SharedFilesystem | C::LegacyAlgorithms => Verdict::Ok,
        C::Unverified => Verdict::Skipped,
    }
}

/// Gives a finding to each check of a chain that has none. The checks after one that fails need it,
/// unless they have a good result of their own.
fn complete_chain(
    chain: &[DoctorCheck],
    found: &mut Findings,
    result: impl Fn(DoctorCheck) -> Finding,
) {
    let mut failed = None;
    for &check in chain {
        if found.has_error(check) {
            failed = failed.or(Some(check));
            continue;
        }
        let finding = match (result(check), failed) {
            (own, None) => own,
            (_, Some(failed)) => Finding::skipped(check, failed),
        };
        found.add_missing(finding);
    }
}
