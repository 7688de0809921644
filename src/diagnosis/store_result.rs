//! The results of the checks of a store that neither a fault nor a condition names.

use super::finding::{Finding, FindingEvidence, Verdict};
use super::store::{EXAMINED_CHECKS, ReportFact, StoreFacts, StoreObserver};
use crate::catalog::DoctorCheck;
use crate::lifecycle::CheckState;
use crate::model::{Capacity, HostIdentity, InodeCounts};

/// The need of a check that only the daemon makes.
const DAEMON: &str = "the daemon";

/// Returns the result of a check of the directory that no fault names.
pub(super) fn storage_result(check: DoctorCheck, facts: &StoreFacts<'_>) -> Finding {
    match (facts.observer, check) {
        (StoreObserver::OtherProcess { look_need }, check) if EXAMINED_CHECKS.contains(&check) => {
            state_result(check, &facts.checks.examine, "the directory is good now", look_need)
        }
        (_, DoctorCheck::Write | DoctorCheck::Permission) => {
            write_dependent(check, facts, "a file was written, synced and removed")
        }
        _ => state_result(check, &facts.checks.examine, "the probe is good", "the first probe"),
    }
}

pub(super) fn write_dependent(check: DoctorCheck, facts: &StoreFacts<'_>, good: &str) -> Finding {
    match facts.observer {
        StoreObserver::Daemon => {
            state_result(check, &facts.checks.write, good, "the first write probe")
        }
        StoreObserver::OtherProcess { .. } => Finding::without_daemon(check, DAEMON),
    }
}

/// Returns the result of a check of the login that no fault names.
pub(super) fn login_result(check: DoctorCheck, facts: &StoreFacts<'_>) -> Finding {
    let ssh = &facts.checks.ssh;
    if facts.observer != StoreObserver::Daemon {
        return Finding::without_daemon(check, DAEMON);
    }
    if check != DoctorCheck::SshProof || ssh.is_overdue() {
        return state_result(check, ssh, "the login is good", "the first login");
    }
    match facts.host_identity {
        Some(HostIdentity::Verified { evidence, .. }) => {
            let good = format!("the server is this node ({})", evidence.as_str());
            state_result(check, ssh, &good, "the first login")
        }
        Some(HostIdentity::NotChecked) => Finding::skipped(check, "ssh.prove_host"),
        Some(HostIdentity::Unverified(unverified)) => {
            Finding::new(check, Verdict::Warning, &unverified.details)
        }
        None => Finding::skipped(check, "the first login"),
    }
}

/// Returns the result of a check that its last run decides. `need` names a first run.
pub(super) fn state_result(
    check: DoctorCheck,
    state: &CheckState,
    good: &str,
    need: &str,
) -> Finding {
    if state.is_overdue() {
        return Finding::skipped(check, "the newest run, which has not ended");
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
    let Some(capacity) = capacity else { return Finding::skipped(check, "the first probe") };
    let (available, total) = (capacity.available(), capacity.total());
    let summary = format!("{available} of {total} bytes available");
    let mut finding = Finding::new(check, Verdict::Ok, summary);
    finding.evidence.facts.insert("availableCapacity".to_owned(), available.into());
    finding.evidence.facts.insert("totalCapacity".to_owned(), total.into());
    finding
}

pub(super) fn inodes_result(capacity: Option<Capacity>, inodes: Option<InodeCounts>) -> Finding {
    let check = DoctorCheck::Inodes;
    match inodes {
        Some(InodeCounts { total, available }) => {
            let summary = format!("{available} of {total} inodes available");
            let mut finding = Finding::new(check, Verdict::Ok, summary);
            finding.evidence.facts.insert("availableInodes".to_owned(), available.into());
            finding.evidence.facts.insert("totalInodes".to_owned(), total.into());
            finding
        }
        None if capacity.is_some() => {
            Finding::new(check, Verdict::Ok, "the filesystem creates inodes as it needs them")
        }
        None => Finding::skipped(check, "the first probe"),
    }
}

pub(super) fn reported_result(report: Option<&ReportFact>) -> Finding {
    let check = DoctorCheck::Reported;
    let Some(report) = report else { return Finding::skipped(check, "callback.urls") };
    let destination = report.destination.as_deref().unwrap_or("the management node");
    let reply = report.last_reply.as_ref().map(|reply| format!("; last reply: {reply}"));
    let reply = reply.unwrap_or_default();
    match report.pending {
        0 => Finding::new(check, Verdict::Ok, format!("{destination} has every notice")),
        pending => {
            let summary = format!("{pending} notices wait for {destination}{reply}");
            Finding::new(check, Verdict::Warning, summary)
        }
    }
}
