//! The results of the checks of a store that neither a fault nor a condition names.

use super::daemon::{CALLBACK_URLS, destination_or_setting};
use super::finding::{Finding, FindingEvidence, Verdict};
use super::store_facts::{EXAMINED_CHECKS, ReportFact, StoreFacts, StoreObserver};
use super::summary::Summary;
use crate::catalog::{DoctorCheck, Observation};
use crate::lifecycle::CheckState;
use crate::model::{Capacity, Condition, HostIdentity, InodeCounts};

/// Returns the result of a check of the directory that no fault names.
pub(super) fn storage_result(check: DoctorCheck, facts: &StoreFacts<'_>) -> Finding {
    match (facts.observer, check) {
        (StoreObserver::OtherProcess { has_node_id }, check)
            if EXAMINED_CHECKS.contains(&check) =>
        {
            let need = match has_node_id {
                true => Observation::NeedsLook,
                false => Observation::NeedsNodeId,
            };
            state_result(check, &facts.checks.examine, Observation::DirectoryGood, need)
        }
        (_, DoctorCheck::Write | DoctorCheck::Permission) => {
            write_dependent(check, facts, Observation::FileWritten)
        }
        _ => {
            let (good, need) = (Observation::ProbeGood, Observation::NeedsFirstProbe);
            state_result(check, &facts.checks.examine, good, need)
        }
    }
}

pub(super) fn write_dependent(
    check: DoctorCheck,
    facts: &StoreFacts<'_>,
    good: Observation,
) -> Finding {
    match facts.observer {
        StoreObserver::Daemon => {
            state_result(check, &facts.checks.write, good, Observation::NeedsFirstWrite)
        }
        StoreObserver::OtherProcess { .. } => {
            Finding::without_daemon(check, Observation::NeedsDaemon)
        }
    }
}

/// Returns the result of a check of the login that no fault names.
pub(super) fn login_result(check: DoctorCheck, facts: &StoreFacts<'_>) -> Finding {
    let ssh = &facts.checks.ssh;
    if facts.observer != StoreObserver::Daemon {
        return Finding::without_daemon(check, Observation::NeedsDaemon);
    }
    if check != DoctorCheck::SshProof || ssh.is_overdue() {
        return state_result(check, ssh, Observation::LoginGood, Observation::NeedsFirstLogin);
    }
    match facts.host_identity {
        Some(HostIdentity::Verified { evidence, .. }) => {
            let good = Observation::ServerIsNode { evidence: evidence.to_string() };
            state_result(check, ssh, good, Observation::NeedsFirstLogin)
        }
        Some(HostIdentity::NotChecked) => Finding::skipped_without(check, "ssh.prove_host"),
        Some(HostIdentity::Unverified(unverified)) => {
            let condition = Condition::ProofUnavailable;
            let summary = Summary::of_condition(condition, &unverified.details);
            Finding::new(check, Verdict::Warning, summary)
        }
        None => Finding::skipped(check, Observation::NeedsFirstLogin),
    }
}

/// Returns the result of a check that its last run decides. `need` names a first run.
pub(super) fn state_result(
    check: DoctorCheck,
    state: &CheckState,
    good: Observation,
    need: Observation,
) -> Finding {
    if state.is_overdue() {
        return Finding::skipped(check, Observation::NeedsNewestRun);
    }
    if state.last.is_none() {
        return Finding::skipped(check, need);
    }
    let mut finding = Finding::new(check, Verdict::Ok, good);
    finding.evidence = FindingEvidence {
        since: state.since,
        last_good: state.last_good,
        took: Some(state.took),
        ..FindingEvidence::default()
    };
    finding
}

pub(super) fn space_result(capacity: Option<Capacity>) -> Finding {
    let check = DoctorCheck::Space;
    let Some(capacity) = capacity else {
        return Finding::skipped(check, Observation::NeedsFirstProbe);
    };
    let (available, total) = (capacity.available(), capacity.total());
    let summary =
        Observation::BytesAvailable { available: available.to_string(), total: total.to_string() };
    let mut finding = Finding::new(check, Verdict::Ok, summary);
    finding.evidence.facts.insert("availableCapacity".to_owned(), available.into());
    finding.evidence.facts.insert("totalCapacity".to_owned(), total.into());
    finding
}

pub(super) fn inodes_result(capacity: Option<Capacity>, inodes: Option<InodeCounts>) -> Finding {
    let check = DoctorCheck::Inodes;
    match inodes {
        Some(InodeCounts { total, available }) => {
            let summary = Observation::InodesAvailable {
                available: available.to_string(),
                total: total.to_string(),
            };
            let mut finding = Finding::new(check, Verdict::Ok, summary);
            finding.evidence.facts.insert("availableInodes".to_owned(), available.into());
            finding.evidence.facts.insert("totalInodes".to_owned(), total.into());
            finding
        }
        None if capacity.is_some() => Finding::new(check, Verdict::Ok, Observation::InodesOnDemand),
        None => Finding::skipped(check, Observation::NeedsFirstProbe),
    }
}

pub(super) fn reported_result(report: Option<&ReportFact>) -> Finding {
    let check = DoctorCheck::Reported;
    let Some(report) = report else { return Finding::skipped_without(check, CALLBACK_URLS) };
    let destination = destination_or_setting(report.destination.as_deref());
    if report.pending == 0 {
        return Finding::new(check, Verdict::Ok, Observation::NoticesDelivered { destination });
    }
    let pending = report.pending.to_string();
    let summary = match report.last_reply.clone() {
        Some(reply) => Observation::NoticesRejected { pending, destination, reply },
        None => Observation::NoticesWait { pending, destination },
    };
    Finding::new(check, Verdict::Warning, summary)
}
