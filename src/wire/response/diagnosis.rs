//! The diagnosis: the findings of the checks, as `doctor` shows them.

use serde::Serialize;
use serde_json::{Map, Value};

use super::DeliveryBody;
use super::error::fact_value;
use crate::catalog::{
    Guidance, Language, condition_guidance, fault_action, fault_commands, reason_guidance,
};
use crate::diagnosis::{Finding, ProblemWord, ReportFact, StoreTitle, Verdict};

/// The version of the output of a diagnosis. It grows with a change that is not an addition.
pub const DIAGNOSIS_VERSION: u32 = 1;

/// The body of a diagnosis, before the fields of [`DiagnosisTotal`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiagnosisResponse {
    /// The version of the output.
    pub output_version: u32,
    /// The version of the daemon.
    pub version: &'static str,
    /// The findings, each a [`FindingBody`]. [`ListWriter`](crate::wire::ListWriter) writes them.
    pub checks: [(); 0],
}

/// The end of the body of a diagnosis, which is known after the last finding.
#[derive(Clone, Debug, Serialize)]
pub struct DiagnosisTotal {
    /// The worst verdict: `ok`, `warning` or `error`.
    pub worst: &'static str,
}

/// The body of one finding.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingBody {
    /// The id of the check.
    pub id: &'static str,
    /// The subject of the check.
    pub group: &'static str,
    /// The store, or null if the check concerns the daemon.
    pub store: Option<StoreTitleBody>,
    /// The verdict.
    pub verdict: &'static str,
    /// The observation. In another language than English, an observation of a fault or a condition
    /// has the meaning of its word before it.
    pub summary: String,
    /// The evidence by name.
    pub evidence: Map<String, Value>,
    /// The effect on the images and the management node.
    pub impact: Option<String>,
    /// The time at which the present result began, in RFC 3339 format.
    pub since: Option<String>,
    /// The time at which the check was last good, in RFC 3339 format.
    pub last_good: Option<String>,
    /// The duration of the last run.
    pub took_ms: Option<f64>,
    /// The reason or condition that decides the verdict.
    pub reason: Option<&'static str>,
    /// Other reasons and conditions of the same check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<&'static str>,
    /// The action that helps, if something is not well.
    pub remedy: Option<RemedyBody>,
    /// The command that explains more, if something is not well.
    pub see: Option<String>,
    /// The delivery of the notices of the store, if something is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<DeliveryBody>,
}

/// The store of a finding.
#[derive(Clone, Debug, Serialize)]
pub struct StoreTitleBody {
    name: String,
    uuid: String,
}

impl From<&StoreTitle> for StoreTitleBody {
    fn from(title: &StoreTitle) -> Self {
        Self { name: title.name.clone(), uuid: title.uuid.to_string() }
    }
}

/// The action that helps.
#[derive(Clone, Debug, Serialize)]
pub struct RemedyBody {
    /// The action, as a sentence.
    pub text: String,
    /// The commands in it.
    pub commands: Vec<String>,
}

impl FindingBody {
    /// Creates the body of a finding.
    pub fn new(finding: &Finding, language: Language) -> Self {
        let is_bad = finding.verdict > Verdict::Ok;
        let main = finding.words.first().copied();
        let id = finding.check.as_str();
        let evidence = &finding.evidence;
        let facts = evidence.facts.iter();
        Self {
            id,
            group: id.split_once('.').map_or("storage", |(group, _)| group),
            store: finding.store.as_ref().map(StoreTitleBody::from),
            verdict: finding.verdict.as_str(),
            summary: finding.summary.text(language),
            evidence: facts.map(|(name, fact)| (name.clone(), fact_value(fact))).collect(),
            impact: is_bad.then(|| guidance(finding).impact.plain(language).into_owned()),
            since: evidence.since.map(|at| at.to_string()),
            last_good: evidence.last_good.map(|at| at.to_string()),
            took_ms: evidence.took.map(super::store_health::rounded_millis),
            reason: main.map(ProblemWord::as_str),
            also: finding.words.iter().skip(1).map(|word| word.as_str()).collect(),
            remedy: is_bad.then(|| remedy(finding, language)),
            see: is_bad.then(|| {
                let word = main.map_or(id, ProblemWord::as_str);
                format!("imagestore-agent explain {word}")
            }),
            reported: finding.reported.as_ref().map(delivery_body),
        }
    }
}

/// Returns the texts of the case, of the reason or condition that decides the verdict, or of the
/// check.
fn guidance(finding: &Finding) -> Guidance {
    if let Some(case) = finding.case {
        return case.guidance();
    }
    match finding.words.first() {
        Some(ProblemWord::Reason(reason)) => reason_guidance(*reason),
        Some(ProblemWord::Condition(condition)) => condition_guidance(*condition),
        None => finding.check.guidance(),
    }
}

/// Returns the action that helps: that of the fault, or of the texts of the finding.
/// Its commands are those of this action: that of one fault may need others, or none.
fn remedy(finding: &Finding, language: Language) -> RemedyBody {
    if let Some(fault) = &finding.fault {
        let text = fault_action(fault, language).into_owned();
        return RemedyBody { text, commands: fault_commands(fault) };
    }
    let general = guidance(finding).action;
    RemedyBody {
        text: general.plain(language).into_owned(),
        commands: general.commands().map(str::to_owned).collect(),
    }
}

fn delivery_body(report: &ReportFact) -> DeliveryBody {
    DeliveryBody {
        destination: report.destination.clone(),
        last_reply: report.last_reply.clone(),
        next_try: report.next_try.map(|at| at.to_string()),
        pending: report.pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::DoctorCheck;
    use crate::model::{Fault, Reason, Remedy};

    fn commands(fault: &Fault, language: Language) -> Vec<String> {
        let finding = Finding::of_fault(DoctorCheck::SshLogin, Verdict::Error, fault);
        FindingBody::new(&finding, language).remedy.unwrap().commands
    }

    #[test]
    fn the_commands_of_a_remedy_stand_in_its_text() {
        let fault = Fault::new(Reason::CredentialsRefused, "rejected");
        let update = "imagestore-agent update STORE";
        assert_eq!(commands(&fault, Language::English), [update]);
        assert_eq!(commands(&fault, Language::Chinese), [update]);
        let own = fault.clone().with_remedy(Remedy::CheckAccountRules);
        assert_eq!(commands(&own, Language::English), [""; 0]);
        let longer = fault.clone().with_further_remedy(Remedy::RetryWithForce);
        assert_eq!(commands(&longer, Language::Chinese), [update]);
        let other = fault.with_remedy(Remedy::MountProc);
        assert_eq!(commands(&other, Language::Chinese), ["mount -t proc proc /proc"]);
    }
}
