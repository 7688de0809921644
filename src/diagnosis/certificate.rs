//! The diagnosis of a certificate: the time that is left, and the one in use against the one in the
//! file.

use super::finding::{Finding, Verdict};
use super::summary::Summary;
use crate::catalog::{DoctorCheck, Observation};
use crate::common::Timestamp;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Days left below which a warning is due. An authority of an enterprise needs weeks.
const WARNING_DAYS: i64 = 21;
/// Days left below which it is an error. Fewer do not outlast a weekend.
const ERROR_DAYS: i64 = 3;

/// A certificate with its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFact {
    /// The time from which all certificates of the chain are valid.
    pub not_before: Timestamp,
    /// The time at which the first certificate of the chain ends.
    pub not_after: Timestamp,
    /// The SHA-256 digest of the chain, in hexadecimal digits.
    pub sha256: String,
}

/// The facts about a certificate of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// `certificate.server` or `certificate.client`.
    pub check: DoctorCheck,
    /// The certificate that the daemon uses, if it says so.
    pub in_use: Option<CertificateFact>,
    /// True if the daemon says that it uses none, although the settings name one.
    pub is_unused: bool,
    /// The certificate in the file, or the reason why the file has none that can be used. `None` if
    /// the file was not looked at.
    pub file: Option<Result<CertificateFact, String>>,
    /// The present time.
    pub now: Timestamp,
}

/// Names of the evidence.
pub const NOT_BEFORE: &str = "notBefore";
/// The end of the certificate.
pub const NOT_AFTER: &str = "notAfter";
/// The digest of the certificate.
pub const SHA256: &str = "sha256";

/// Returns the finding about a certificate. `need` names the setting that it needs.
pub fn diagnose_certificate(facts: &CertificateFacts, need: &str) -> Finding {
    let check = facts.check;
    let file = facts.file.as_ref().and_then(|file| file.as_ref().ok());
    let shown = facts.in_use.as_ref().or(file);
    let unused = || Observation::CertificateUnused { setting: need.to_owned() };
    let mut finding = match (shown, &facts.file) {
        (Some(certificate), _) => validity_finding(check, certificate, facts.now),
        (None, Some(Err(problem))) => Finding::new(check, Verdict::Error, Summary::quoted(problem)),
        (None, _) if facts.is_unused => return Finding::new(check, Verdict::Warning, unused()),
        (None, _) => return Finding::skipped_without(check, need),
    };
    if facts.is_unused {
        finding.verdict = finding.verdict.max(Verdict::Warning);
        let of_file = std::mem::replace(&mut finding.summary, unused().into());
        finding.summary.add_other(of_file);
    }
    let difference = match (&facts.in_use, &facts.file) {
        (Some(in_use), Some(Ok(file))) if in_use.sha256 != file.sha256 => {
            Some(Observation::OtherCertificate { end: file.not_after.to_string() })
        }
        (Some(_), Some(Err(problem))) => {
            Some(Observation::CertificateKept { problem: problem.clone() })
        }
        _ => None,
    };
    if let Some(difference) = difference {
        finding.verdict = finding.verdict.max(Verdict::Warning);
        finding.summary.add_other(difference.into());
    }
    finding
}

fn validity_finding(check: DoctorCheck, certificate: &CertificateFact, now: Timestamp) -> Finding {
    let CertificateFact { not_before, not_after, sha256 } = certificate;
    let days = not_after.0.saturating_sub(now.0).div_euclid(DAY_MS);
    let (verdict, summary) = match () {
        () if *not_before > now => {
            (Verdict::Error, Observation::CertificateEarly { start: not_before.to_string() })
        }
        () if *not_after <= now => {
            (Verdict::Error, Observation::CertificateEnded { end: not_after.to_string() })
        }
        () => {
            let verdict = match days {
                ..ERROR_DAYS => Verdict::Error,
                ERROR_DAYS..WARNING_DAYS => Verdict::Warning,
                WARNING_DAYS.. => Verdict::Ok,
            };
            let (end, days) = (not_after.to_string(), days.to_string());
            (verdict, Observation::CertificateValid { end, days })
        }
    };
    let mut finding = Finding::new(check, verdict, summary);
    let facts = &mut finding.evidence.facts;
    facts.insert(NOT_BEFORE.to_owned(), not_before.to_string().into());
    facts.insert(NOT_AFTER.to_owned(), not_after.to_string().into());
    facts.insert("daysLeft".to_owned(), days.into());
    facts.insert(SHA256.to_owned(), sha256.as_str().into());
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn certificate(first_day: i64, last_day: i64, sha256: &str) -> CertificateFact {
        let at = |day: i64| Timestamp(NOW.0 + day * DAY_MS);
        CertificateFact {
            not_before: at(first_day),
            not_after: at(last_day),
            sha256: sha256.to_owned(),
        }
    }

    #[test]
    fn the_time_left_and_the_file_decide() {
        use Verdict::{Error, Ok as Good, Skipped, Warning};
        let of = |days| Some(certificate(-9, days, "a"));
        let file = |days, sha256| Some(Ok(certificate(-9, days, sha256)));
        let unusable = || Some(Err("no certificate".to_owned()));
        let mut cases = [
            (of(400), None, Good, ", 400 d"),
            (of(21), None, Good, ", 21 d"),
            (of(20), None, Warning, ", 20 d"),
            (of(3), None, Warning, ", 3 d"),
            (of(2), None, Error, ", 2 d"),
            (of(0), None, Error, "has ended"),
            (of(-1), None, Error, "has ended"),
            (Some(certificate(1, 400, "a")), None, Error, "is not valid before"),
            // The certificate in use counts, and another one in the file is said.
            (of(400), file(400, "a"), Good, ", 400 d"),
            (of(400), file(800, "b"), Warning, "the daemon does not use"),
            (of(-1), file(800, "b"), Error, "the daemon does not use"),
            (of(400), unusable(), Warning, "a reload keeps it: no certificate"),
            // Without the daemon, the file counts.
            (None, file(400, "a"), Good, ", 400 d"),
            (None, file(2, "a"), Error, ", 2 d"),
            (None, unusable(), Error, "no certificate"),
            (None, None, Skipped, "needs server.tls.cert"),
        ]
        .into_iter()
        .map(|(in_use, file, verdict, words)| (in_use, false, file, verdict, words))
        .collect::<Vec<_>>();
        // The settings name one that the daemon does not use.
        cases.extend([
            (None, true, file(400, "a"), Warning, "uses no certificate, although server.tls.cert"),
            (None, true, file(400, "a"), Warning, ", 400 d"),
            (None, true, file(-1, "a"), Error, "has ended"),
            (None, true, unusable(), Error, "no certificate"),
            (None, true, None, Warning, "uses no certificate"),
        ]);
        for (in_use, is_unused, file, verdict, words) in cases {
            let check = DoctorCheck::CertificateServer;
            let facts = CertificateFacts { check, in_use, is_unused, file, now: NOW };
            let finding = diagnose_certificate(&facts, "server.tls.cert");
            assert_eq!(finding.verdict, verdict, "{facts:?} {finding:?}");
            let summary = finding.summary.text(Language::English);
            assert!(summary.contains(words), "{summary}");
        }
    }
}
