//! The diagnosis of the daemon, as far as it knows itself.

use super::finding::{Finding, Verdict};
use super::summary::Summary;
use crate::catalog::{DoctorCheck, Observation};
use crate::common::Timestamp;
use crate::model::{Fault, Reason};

/// The notices of all stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFact {
    /// The host and port of the receiver in use.
    pub destination: Option<String>,
    /// The number of notices that wait.
    pub pending: u64,
    /// The number of stores whose first notice failed.
    pub stores_behind: usize,
    /// The time of the oldest notice that waits, if it is known.
    pub oldest: Option<Timestamp>,
    /// The reply of the newest failure.
    pub last_failure: Option<String>,
}

/// The facts about the daemon that its diagnosis needs.
#[derive(Clone, Copy, Debug)]
pub struct DaemonFacts<'a> {
    /// The time at which the daemon started.
    pub started: Timestamp,
    /// The reasons why the daemon is not ready; empty if it is.
    pub unready: &'a [String],
    /// The problem of the state disk, if there is one.
    pub state_disk: Option<&'a str>,
    /// The notices of all stores, or `None` without a callback.
    pub delivery: Option<&'a DeliveryFact>,
    /// The present time.
    pub now: Timestamp,
}

/// The setting without which no notice is delivered.
pub(super) const CALLBACK_URLS: &str = "callback.urls";

/// Returns one finding for each check that the daemon makes of itself.
pub fn diagnose_daemon(facts: &DaemonFacts<'_>) -> Vec<Finding> {
    vec![
        state_writable(facts.state_disk),
        service_answers(facts),
        delivered(facts.delivery, facts.now),
    ]
}

fn state_writable(problem: Option<&str>) -> Finding {
    let check = DoctorCheck::StateWritable;
    match problem {
        None => Finding::new(check, Verdict::Ok, Observation::LedgerWritable),
        Some(problem) => {
            let fault = Fault::new(Reason::StateDiskTrouble, problem);
            Finding::of_fault(check, Verdict::Error, &fault)
        }
    }
}

fn service_answers(facts: &DaemonFacts<'_>) -> Finding {
    let check = DoctorCheck::ServiceAnswers;
    let mut finding = match facts.unready {
        [] => Finding::new(check, Verdict::Ok, Observation::DaemonReady),
        reasons => {
            let problems = reasons.join("; ");
            Finding::new(check, Verdict::Error, Observation::DaemonNotReady { problems })
        }
    };
    finding.evidence.since = Some(facts.started);
    finding
}

/// Returns the receiver in use, or the setting that names the receivers.
pub fn destination_or_setting(destination: Option<&str>) -> String {
    destination.unwrap_or(CALLBACK_URLS).to_owned()
}

/// Age from which a notice that waits is a warning without a failure, in milliseconds (5 min).
const LONG_WAIT_MS: i64 = 5 * 60 * 1000;

fn delivered(delivery: Option<&DeliveryFact>, now: Timestamp) -> Finding {
    let check = DoctorCheck::ManagementDelivered;
    let Some(delivery) = delivery else { return Finding::skipped_without(check, CALLBACK_URLS) };
    let destination = destination_or_setting(delivery.destination.as_deref());
    if delivery.pending == 0 {
        return Finding::new(check, Verdict::Ok, Observation::NoNoticeWaits { destination });
    }
    let pending = delivery.pending.to_string();
    let age = delivery.oldest.map(|oldest| now.0.saturating_sub(oldest.0).max(0));
    let mut summary: Summary = match age.map(|age| (age / 1000).to_string()) {
        Some(seconds) => Observation::NoticesWaitSince { pending, destination, seconds },
        None => Observation::NoticesWait { pending, destination },
    }
    .into();
    let failure = delivery.last_failure.as_ref();
    if let Some(reply) = failure.cloned() {
        summary.add_other(Observation::LastFailure { reply }.into());
    }
    let last_failure = failure.map(|failure| failure.as_str().into());
    // A notice that was sent a moment ago has no reply yet.
    let is_late = delivery.stores_behind > 0 || age.is_some_and(|age| age >= LONG_WAIT_MS);
    let verdict = if is_late { Verdict::Warning } else { Verdict::Ok };
    let mut finding = Finding::new(check, verdict, summary);
    finding.evidence.facts.insert("pending".to_owned(), delivery.pending.into());
    finding.evidence.facts.insert("storesBehind".to_owned(), delivery.stores_behind.into());
    finding.evidence.since = delivery.oldest;
    finding.evidence.facts.extend(last_failure.map(|it| ("lastFailure".to_owned(), it)));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    fn verdicts(facts: DaemonFacts<'_>) -> Vec<(DoctorCheck, Verdict)> {
        diagnose_daemon(&facts).iter().map(|it| (it.check, it.verdict)).collect()
    }

    #[test]
    fn each_fact_decides_its_own_check() {
        use DoctorCheck::{ManagementDelivered, ServiceAnswers, StateWritable};
        let delivery = |pending, stores_behind, oldest| DeliveryFact {
            destination: Some("mn-1:8080".into()),
            pending,
            stores_behind,
            oldest: Some(Timestamp(oldest)),
            last_failure: (stores_behind > 0).then(|| "503 Service Unavailable".to_owned()),
        };
        let (none, fresh) = (delivery(0, 0, 0), delivery(2, 0, LONG_WAIT_MS));
        let (behind, old) = (delivery(2, 1, LONG_WAIT_MS), delivery(1, 0, 0));
        let unready = ["the daemon is stopping".to_owned()];
        let good = DaemonFacts {
            started: Timestamp(0),
            unready: &[],
            state_disk: None,
            delivery: Some(&none),
            now: Timestamp(LONG_WAIT_MS),
        };
        let expected = |answers, writable, delivered| {
            [(StateWritable, writable), (ServiceAnswers, answers), (ManagementDelivered, delivered)]
        };
        use Verdict::{Error, Ok, Skipped, Warning};
        for (facts, verdict) in [
            (good, expected(Ok, Ok, Ok)),
            (DaemonFacts { unready: &unready, ..good }, expected(Error, Ok, Ok)),
            (DaemonFacts { state_disk: Some("full"), ..good }, expected(Ok, Error, Ok)),
            (DaemonFacts { delivery: Some(&fresh), ..good }, expected(Ok, Ok, Ok)),
            (DaemonFacts { delivery: Some(&behind), ..good }, expected(Ok, Ok, Warning)),
            (DaemonFacts { delivery: Some(&old), ..good }, expected(Ok, Ok, Warning)),
            (DaemonFacts { delivery: None, ..good }, expected(Ok, Ok, Skipped)),
        ] {
            assert_eq!(verdicts(facts), verdict, "{facts:?}");
        }
        let said = |delivery: &DeliveryFact| {
            delivered(Some(delivery), good.now).summary.text(Language::English)
        };
        let expected = "2 notices wait for mn-1:8080, the oldest for 0 s; also: last failure: 503 \
                        Service Unavailable";
        assert_eq!(said(&behind), expected);
        assert_eq!(said(&old), "1 notices wait for mn-1:8080, the oldest for 300 s");
    }
}
