//! The remedies of the alerts, which the catalog generates. `UPDATE_DOCS=1` writes them.

use std::fs;

use imagestore_agent::catalog::{
    DoctorCheck, Language, Runbook, Text, condition_guidance, reason_guidance,
};
use imagestore_agent::model::{Condition, Reason};

use super::programs::in_tree;
use super::rules_file::{RULES, RULES_TESTS, alerts, rules_text};
use crate::generated_docs::assert_document;

/// The source of the remedy of an alert.
enum RemedySource {
    /// The action of the reason in the label `reason`.
    OfReason,
    /// The action of the condition in the label `condition`, one of these.
    OfCondition(&'static [Condition]),
    /// A step of the runbook for the condition in the label `condition`.
    OfMissingCheck,
    /// The action for the certificate in the label `which`.
    OfCertificate,
    /// One text.
    Fixed(Text),
}

fn condition(condition: Condition) -> RemedySource {
    RemedySource::Fixed(condition_guidance(condition).action)
}

fn reason(reason: Reason) -> RemedySource {
    RemedySource::Fixed(reason_guidance(reason).action)
}

fn check(check: DoctorCheck) -> RemedySource {
    RemedySource::Fixed(check.guidance().action)
}

/// Returns the first step of a runbook.
fn first_step(runbook: Runbook) -> RemedySource {
    RemedySource::Fixed(runbook.text().steps[0])
}

fn remedy_source(alert: &str) -> RemedySource {
    match alert {
        "ImageStoreAgentDown" => check(DoctorCheck::ServiceAnswers),
        "ImageStoreDisconnected" => RemedySource::OfReason,
        "ImageStoreStuckConnecting" => first_step(Runbook::StuckConnecting),
        "ImageStoreFlapping" => first_step(Runbook::Flapping),
        "ImageStoreHostKeyChanged" => reason(Reason::HostKeyChanged),
        "ImageStoreFull" => RemedySource::OfCondition(&[Condition::Full, Condition::QuotaExceeded]),
        "ImageStoreNearFull" => condition(Condition::NearFull),
        "ImageStoreInodesFull" => condition(Condition::InodesFull),
        "ImageStoreFillingUp" | "ImageStoreInodesFillingUp" => condition(Condition::FillingUp),
        "ImageStoreProbeStuck" => reason(Reason::ProbeStuck),
        "ImageStoreSlow" => condition(Condition::SlowProbe),
        "ImageStoreNoticesWaiting" => condition(Condition::DeliveryBehind),
        "ImageStoreNoticesRefused" => condition(Condition::DeliveryRefused),
        "ImageStoreLedgerTrouble" => condition(Condition::StateDiskTrouble),
        "ImageStoreCertificateEnds" => RemedySource::OfCertificate,
        "ImageStoreAgentRestarts" => check(DoctorCheck::ServiceRunning),
        "ImageStoreUnverified" => RemedySource::OfMissingCheck,
        _ => panic!("{alert}: name the source of its remedy"),
    }
}

/// The remedy of a reason that is not known.
const UNKNOWN_REASON: Text = Text {
    en: "read the evidence on the node: `imagestore-agent show {{ $labels.store }}`",
    zh: "在节点上查看证据：`imagestore-agent show {{ $labels.store }}`",
};

/// Returns the texts that the remedy of an alert is made of, each with its word: the label that
/// has the word, the texts, and the text of another word.
fn cases(alert: &str) -> (&'static str, Vec<(&'static str, Text)>, Option<Text>) {
    match remedy_source(alert) {
        RemedySource::OfReason => {
            let texts = Reason::ALL.iter().map(|it| (it.as_str(), reason_guidance(*it).action));
            ("reason", texts.collect(), Some(UNKNOWN_REASON))
        }
        RemedySource::OfCondition(conditions) => {
            let texts = conditions.iter().map(|it| (it.as_str(), condition_guidance(*it).action));
            ("condition", texts.collect(), None)
        }
        RemedySource::OfMissingCheck => {
            // The actions of the first two are for the moment at which they begin.
            let fresh_check = Runbook::UnverifiedStore.text().steps[1];
            let proof = Condition::ProofUnavailable;
            let texts = [
                (Condition::Unverified.as_str(), fresh_check),
                (Condition::NotProbed.as_str(), fresh_check),
                (proof.as_str(), condition_guidance(proof).action),
            ];
            ("condition", texts.into(), None)
        }
        RemedySource::OfCertificate => {
            let checks = [
                ("server", DoctorCheck::CertificateServer),
                ("client", DoctorCheck::CertificateClient),
            ];
            let texts = checks.map(|(word, check)| (word, check.guidance().action));
            ("which", texts.into(), None)
        }
        RemedySource::Fixed(text) => ("", Vec::new(), Some(text)),
    }
}

/// Returns a text without the full stop that ends a step of a runbook.
fn plain(text: Text, of: Language) -> String {
    text.plain(of).trim_end_matches(['.', '。']).to_owned()
}

/// Returns the lines of the template of a remedy.
fn template(alert: &str, of: Language) -> Vec<String> {
    let (label, texts, other) = cases(alert);
    let mut lines: Vec<String> = Vec::new();
    for (word, text) in texts {
        let head = if lines.is_empty() { "{{ if" } else { "{{- else if" };
        let text = plain(text, of);
        assert!(!text.contains("{{"), "{word}: {text}");
        lines.push(format!("{head} eq $labels.{label} \"{word}\" }}}}{text}"));
    }
    match other.map(|text| plain(text, of)) {
        Some(text) if lines.is_empty() => return vec![text],
        Some(text) => lines.push(format!("{{{{- else }}}}{text}")),
        None => {}
    }
    lines.push("{{- end }}".to_owned());
    lines
}

/// Returns the remedy of a firing alert. `labels` are the lines with its labels.
fn remedy(alert: &str, labels: &[&str], of: Language) -> Vec<String> {
    let (label, texts, other) = cases(alert);
    let value = |key: &str| {
        let key = format!("{key}: ");
        let found = labels.iter().find_map(|line| line.trim().strip_prefix(&key));
        found.map(|value| value.trim_matches('\''))
    };
    let word = value(label);
    let text = texts.iter().find(|(known, _)| Some(*known) == word).map(|(_, text)| *text);
    let text = plain(text.or(other).unwrap(), of);
    vec![text.replace("{{ $labels.store }}", value("store").unwrap_or_default())]
}

/// Returns a text in which the lines below each key of a remedy are those of `lines_of`. Its
/// arguments are the lines before, and the language.
fn with_remedies(text: &str, lines_of: impl Fn(&[&str], Language) -> Vec<String>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut written = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        written += &format!("{line}\n");
        at += 1;
        let language = match line.trim() {
            "remedy: >-" => Language::English,
            "remedy_zh: >-" => Language::Chinese,
            _ => continue,
        };
        let indent = format!("{}  ", line.split('r').next().unwrap());
        for line in lines_of(&lines[..at], language) {
            written += &format!("{indent}{line}\n");
        }
        while lines.get(at).is_some_and(|line| line.starts_with(&indent)) {
            at += 1;
        }
    }
    written
}

/// Returns the newest value of a key, and its place.
fn last_value<'a>(lines: &[&'a str], key: &str) -> (usize, &'a str) {
    let found = lines.iter().enumerate().rev();
    let mut found = found.filter_map(|(at, line)| Some((at, line.trim().strip_prefix(key)?)));
    found.next().unwrap()
}

#[test]
fn the_remedies_of_the_alerts_are_those_of_the_catalog() {
    let rules = rules_text();
    let expected = with_remedies(&rules, |before, language| {
        template(last_value(before, "- alert: ").1, language)
    });
    let found = alerts(&expected);
    assert!(found.len() > 16, "{}", found.len());
    for alert in &found {
        for key in ["remedy: >-", "remedy_zh: >-"] {
            assert!(alert.lines.iter().any(|line| line.trim() == key), "{}: {key}", alert.name);
        }
    }
    assert_document(RULES, &expected);
}

#[test]
fn the_remedies_in_the_tests_of_the_alerts_are_those_of_the_catalog() {
    for name in RULES_TESTS {
        let tests = fs::read_to_string(in_tree(name)).unwrap();
        let expected = with_remedies(&tests, |before, language| {
            let (_, alert) = last_value(before, "alertname: ");
            let (labels, _) = last_value(before, "- exp_labels:");
            remedy(alert, &before[labels..], language)
        });
        assert_document(name, &expected);
    }
}

#[test]
fn the_remedy_of_a_missing_check_makes_the_check() {
    let (_, texts, _) = cases("ImageStoreUnverified");
    for (condition, text) in &texts[..2] {
        for language in [Language::English, Language::Chinese] {
            let text = plain(*text, language);
            assert!(text.contains("imagestore-agent doctor STORE --fresh"), "{condition}: {text}");
            assert!(text.contains(condition), "{text}");
        }
    }
}
