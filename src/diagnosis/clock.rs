//! The diagnosis of the wall clock: against the ledger, against the program, and against the time
//! that has passed.

use super::finding::{Finding, Verdict};
use crate::catalog::{DoctorCheck, Observation};
use crate::common::Timestamp;

/// Difference that is no fault of the clock, in milliseconds (1 min). A correction by NTP is
/// smaller, and each start and each add advances the epoch by at least 1 ms.
const TOLERANCE_MS: i64 = 60_000;
/// A time before every release of this program: 2026-01-01.
const BEFORE_RELEASE: Timestamp = Timestamp(1_767_225_600_000);

/// The facts about the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFacts {
    /// The wall clock.
    pub now: Timestamp,
    /// The newest time in the ledger, such as the epoch of this run, or `None` if it is not known.
    pub newest_record: Option<Timestamp>,
    /// The milliseconds by which the wall clock was set forward while the daemon ran, as seen
    /// within the last hour, or `None` without a daemon.
    pub jump: Option<i64>,
}

/// Returns the finding `service.clock`.
pub fn diagnose_clock(facts: &ClockFacts) -> Finding {
    let check = DoctorCheck::ServiceClock;
    let ClockFacts { now, newest_record, jump } = *facts;
    let behind = newest_record.map(|newest| newest.0.saturating_sub(now.0));
    let (verdict, summary) = match (behind, jump) {
        _ if now < BEFORE_RELEASE => {
            (Verdict::Error, Observation::ClockBeforeProgram { now: now.to_string() })
        }
        (Some(behind), _) if behind > TOLERANCE_MS => {
            let seconds = (behind / 1000).to_string();
            (Verdict::Error, Observation::ClockBehindLedger { seconds })
        }
        (_, Some(jump)) if jump.saturating_abs() > TOLERANCE_MS => {
            let seconds = (jump.saturating_abs() / 1000).to_string();
            let summary = match jump > 0 {
                true => Observation::ClockSetForward { seconds },
                false => Observation::ClockSetBack { seconds },
            };
            (Verdict::Warning, summary)
        }
        _ => (Verdict::Ok, Observation::ClockGood),
    };
    let mut finding = Finding::new(check, verdict, summary);
    let evidence = &mut finding.evidence.facts;
    evidence.insert("now".to_owned(), now.to_string().into());
    if let Some(newest) = newest_record {
        evidence.insert("newestRecord".to_owned(), newest.to_string().into());
    }
    if let Some(jump) = jump {
        evidence.insert("jumpMs".to_owned(), jump.into());
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    #[test]
    fn the_ledger_the_program_and_the_passed_time_judge_the_clock() {
        use Verdict::{Error, Ok, Warning};
        let now = Timestamp(1_800_000_000_000);
        let record = |ms| Some(Timestamp(now.0 + ms));
        for (facts, verdict, words) in [
            ((now, None, None), Ok, "behind neither"),
            ((now, record(-5), Some(0)), Ok, "behind neither"),
            ((now, record(60_000), Some(60_000)), Ok, "behind neither"),
            ((now, record(61_000), None), Error, "61 s behind the newest time"),
            ((now, record(0), Some(61_000)), Warning, "set forward by 61 s"),
            ((now, record(0), Some(-3_600_000)), Warning, "set back by 3600 s"),
            ((Timestamp(0), None, None), Error, "1970-01-01"),
            // The worst one is said.
            ((now, record(61_000), Some(-61_000)), Error, "behind the newest time"),
        ] {
            let (now, newest_record, jump) = facts;
            let finding = diagnose_clock(&ClockFacts { now, newest_record, jump });
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            let summary = finding.summary.text(Language::English);
            assert!(summary.contains(words), "{summary}");
        }
    }
}
