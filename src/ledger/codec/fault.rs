//! Stored forms of failures and their evidence.
//!
//! The stored form contains the facts that are displayed. It has no field for the typed evidence,
//! which is derived from the facts when a fault is read. No other module reads a value out of a
//! fact. Facts that do not have the form in which the fault wrote them are rejected.
//!
//! A remedy of one case is stored as its English text and, beside it, as its word with the
//! operands. A version that does not have the word takes the text, as it does with a text of a
//! version that stored no words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecodeError, as_text, invalid};
use crate::catalog::{Language, fault_action};
use crate::model::{AttemptFailure, Fact, Fault, HostKey, OwnRemedy, Reason, Remedy};

/// A failure as the list of its faults, never empty.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredFailure(Vec<StoredFault>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFault {
    #[serde(with = "as_text")]
    reason: Reason,
    details: String,
    facts: BTreeMap<String, StoredFact>,
    remedy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<StoredRemedy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    further: Option<StoredRemedy>,
}

/// A remedy as its word and its operands.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRemedy {
    word: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    operands: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredFact {
    Flag(bool),
    Number(i64),
    Text(String),
    List(Vec<String>),
}

impl StoredFailure {
    pub(crate) fn from_failure(failure: &AttemptFailure) -> Self {
        Self(failure.all_faults().map(StoredFault::from_fault).collect())
    }

    pub(super) fn into_failure(self) -> Result<AttemptFailure, DecodeError> {
        let faults: Result<Vec<Fault>, DecodeError> =
            self.0.into_iter().map(StoredFault::into_fault).collect();
        AttemptFailure::from_faults(faults?).ok_or_else(|| invalid("a failure without a fault"))
    }
}

impl StoredFault {
    fn from_fault(fault: &Fault) -> Self {
        let form = |fact: &Fact| match fact {
            Fact::Number(number) => StoredFact::Number(*number),
            Fact::Flag(flag) => StoredFact::Flag(*flag),
            Fact::Text(text) => StoredFact::Text(text.clone()),
            Fact::List(list) => StoredFact::List(list.clone()),
        };
        let (own, further) = (fault.own_remedy(), fault.further_remedy());
        let has_remedy = own.is_some() || further.is_some();
        // A recorded text has no word, so that what follows it is recorded with it.
        let typed = match own {
            Some(OwnRemedy::Typed(remedy)) => Some((Some(remedy), further)),
            None => Some((None, further)),
            Some(OwnRemedy::Recorded(_)) => None,
        };
        let (own, further) = typed.unwrap_or_default();
        Self {
            reason: fault.reason(),
            details: fault.details().to_owned(),
            facts: fault.facts().iter().map(|(name, fact)| (name.clone(), form(fact))).collect(),
            remedy: has_remedy.then(|| fault_action(fault, Language::English).into_owned()),
            own: own.map(StoredRemedy::from_remedy),
            further: further.map(StoredRemedy::from_remedy),
        }
    }

    fn into_fault(self) -> Result<Fault, DecodeError> {
        let (key, seconds) = (offered_host_key(&self.facts)?, retry_after(&self.facts)?);
        let mut fault = self.facts.into_iter().fold(
            Fault::new(self.reason, self.details),
            |fault, (name, fact)| match fact {
                StoredFact::Number(number) => fault.with_detail(&name, Fact::Number(number)),
                StoredFact::Flag(flag) => fault.with_detail(&name, Fact::Flag(flag)),
                StoredFact::Text(text) => fault.with_detail(&name, Fact::Text(text)),
                StoredFact::List(list) => fault.with_detail(&name, Fact::List(list)),
            },
        );
        if let Some(key) = key {
            fault = fault.with_offered_host_key(key);
        }
        if let Some(seconds) = seconds {
            fault = fault.with_retry_after(seconds);
        }
        with_remedies(fault, self.remedy, self.own, self.further)
    }
}

impl StoredRemedy {
    fn from_remedy(remedy: &Remedy) -> Self {
        let operands = remedy.operands().into_iter();
        Self {
            word: remedy.word().to_owned(),
            operands: operands.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
        }
    }

    /// Returns the remedy, or `None` if this version does not have it with these operands.
    fn into_remedy(mut self) -> Option<Remedy> {
        let remedy = Remedy::from_parts(&self.word, |name| self.operands.remove(name))?;
        self.operands.is_empty().then_some(remedy)
    }
}

/// Adds the stored remedies to a fault: the words if this version has all of them, or else the
/// text.
fn with_remedies(
    fault: Fault,
    text: Option<String>,
    own: Option<StoredRemedy>,
    further: Option<StoredRemedy>,
) -> Result<Fault, DecodeError> {
    let Some(text) = text else {
        return match (own, further) {
            (None, None) => Ok(fault),
            _ => Err(invalid("a remedy without its text")),
        };
    };
    let stored = usize::from(own.is_some()) + usize::from(further.is_some());
    let own = own.and_then(StoredRemedy::into_remedy);
    let further = further.and_then(StoredRemedy::into_remedy);
    if stored == 0 || usize::from(own.is_some()) + usize::from(further.is_some()) < stored {
        return Ok(fault.with_recorded_remedy(text));
    }
    let fault = match own {
        Some(remedy) => fault.with_remedy(remedy),
        None => fault,
    };
    Ok(match further {
        Some(remedy) => fault.with_further_remedy(remedy),
        None => fault,
    })
}

/// Decodes the rejected host key from its three facts. Returns `None` if all three are absent.
fn offered_host_key(facts: &BTreeMap<String, StoredFact>) -> Result<Option<HostKey>, DecodeError> {
    let text = |name: &str| match facts.get(name) {
        None => Ok(None),
        Some(StoredFact::Text(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(invalid(format!("the fact {name} is not a text"))),
    };
    let (key, key_type) = (text("offeredKey")?, text("offeredKeyType")?);
    let (key, key_type, fingerprint) = match (key, key_type, text("offeredFingerprint")?) {
        (None, None, None) => return Ok(None),
        (Some(key), Some(key_type), Some(fingerprint)) => (key, key_type, fingerprint),
        _ => return Err(invalid("an offered host key lacks one of its facts")),
    };
    match key.split_once(' ') {
        Some((algorithm, blob)) if algorithm == key_type && !blob.is_empty() => Ok(Some(HostKey {
            algorithm: algorithm.to_owned(),
            blob: blob.to_owned(),
            fingerprint: fingerprint.to_owned(),
        })),
        _ => Err(invalid("an offered host key that is not a type and a key")),
    }
}

/// Decodes the seconds after which the same request may succeed. Returns `None` if the fact is
/// absent.
fn retry_after(facts: &BTreeMap<String, StoredFact>) -> Result<Option<u64>, DecodeError> {
    match facts.get("retryAfterSeconds") {
        None => Ok(None),
        Some(StoredFact::Number(seconds)) => u64::try_from(*seconds).map(Some).map_err(invalid),
        Some(_) => Err(invalid("the fact retryAfterSeconds is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HostKey {
        HostKey {
            algorithm: "ssh-ed25519".to_owned(),
            blob: "AAAA".to_owned(),
            fingerprint: "SHA256:abc".to_owned(),
        }
    }

    fn decoded(text: &str) -> Result<AttemptFailure, DecodeError> {
        serde_json::from_str::<StoredFailure>(text)?.into_failure()
    }

    #[test]
    fn a_fault_keeps_its_typed_evidence_without_a_field_of_its_own() {
        let refused_key = Fault::new(Reason::HostKeyChanged, "x").with_offered_host_key(key());
        let remembered = Fault::new(Reason::CredentialsRefused, "x").with_retry_after(600);
        let plain =
            Fault::new(Reason::IoError, "x").with_detail("path", "/data").with_recorded_remedy("y");
        for (fault, facts) in [
            (
                refused_key,
                r#"{"offeredFingerprint":"SHA256:abc","offeredKey":"ssh-ed25519 AAAA","offeredKeyType":"ssh-ed25519"}"#,
            ),
            (remembered, r#"{"retryAfterSeconds":600}"#),
            (plain, r#"{"path":"/data"}"#),
        ] {
            let failure = AttemptFailure::from_fault(fault.clone());
            let text = serde_json::to_string(&StoredFailure::from_failure(&failure)).unwrap();
            let remedy = match fault.own_remedy() {
                Some(OwnRemedy::Recorded(text)) => format!("{text:?}"),
                _ => "null".to_owned(),
            };
            let reason = fault.reason();
            let expected = format!(
                r#"[{{"reason":"{reason}","details":"x","facts":{facts},"remedy":{remedy}}}]"#
            );
            assert_eq!(text, expected);
            assert_eq!(decoded(&text).unwrap(), failure);
        }
    }

    #[test]
    fn every_remedy_is_read_as_it_was_written() {
        let operand = |name: &str| Some(format!("<{name}> \"x"));
        let retry = Remedy::RetryWithForce;
        for word in Remedy::WORDS {
            let remedy = Remedy::from_parts(word, operand).unwrap();
            let fault = Fault::new(Reason::CredentialsRefused, "x");
            for fault in [
                fault.clone().with_remedy(remedy.clone()),
                fault.clone().with_further_remedy(remedy.clone()),
                fault.with_remedy(remedy).with_further_remedy(retry.clone()),
            ] {
                let failure = AttemptFailure::from_fault(fault.clone());
                let text = serde_json::to_string(&StoredFailure::from_failure(&failure)).unwrap();
                assert_eq!(decoded(&text).unwrap(), failure, "{text}");
                // A version that knows fewer words shows the English text.
                let english = fault_action(&fault, Language::English);
                let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(stored[0]["remedy"], *english);
            }
        }
    }

    #[test]
    fn a_remedy_that_this_version_does_not_have_is_its_english_text() {
        let fault = |more: &str| {
            let text = format!(
                r#"[{{"reason":"io_error","details":"x","facts":{{}},"remedy":"do it"{more}}}]"#
            );
            decoded(&text).map(|failure| failure.root_fault().clone())
        };
        let plain = Fault::new(Reason::IoError, "x");
        let recorded = plain.clone().with_recorded_remedy("do it");
        for more in [
            "",
            r#","own":{"word":"of_tomorrow","operands":{"path":"/a"}}"#,
            r#","own":{"word":"move_name_away"}"#,
            r#","own":{"word":"report_log","operands":{"path":"/a"}}"#,
            r#","own":{"word":"report_log"},"further":{"word":"of_tomorrow"}"#,
        ] {
            assert_eq!(fault(more).unwrap(), recorded, "{more}");
        }
        let typed = fault(r#","own":{"word":"move_name_away","operands":{"path":"/a"}}"#).unwrap();
        assert_eq!(typed, plain.with_remedy(Remedy::MoveNameAway { path: "/a".to_owned() }));
        // What follows a recorded text is part of the text that is recorded again.
        let longer = recorded.with_further_remedy(Remedy::RetryWithForce);
        let text = fault_action(&longer, Language::English).into_owned();
        let failure = AttemptFailure::from_fault(longer);
        let stored = serde_json::to_string(&StoredFailure::from_failure(&failure)).unwrap();
        let again = decoded(&stored).unwrap().root_fault().clone();
        assert_eq!(again, Fault::new(Reason::IoError, "x").with_recorded_remedy(text));
        for more in [r#","own":{"word":7}"#, r#","own":{}"#, r#","other":{}"#] {
            assert!(fault(more).is_err(), "{more}");
        }
        let without_text = r#"[{"reason":"io_error","details":"x","facts":{},"remedy":null,"own":{"word":"report_log"}}]"#;
        assert!(decoded(without_text).is_err());
    }

    #[test]
    fn incomplete_or_malformed_typed_evidence_is_rejected() {
        for facts in [
            r#"{"offeredKey":"ssh-ed25519 AAAA"}"#,
            r#"{"offeredFingerprint":"SHA256:abc","offeredKeyType":"ssh-ed25519"}"#,
            r#"{"offeredFingerprint":"x","offeredKey":"a AAAA","offeredKeyType":"b"}"#,
            r#"{"offeredFingerprint":"x","offeredKey":"a","offeredKeyType":"a"}"#,
            r#"{"offeredFingerprint":"x","offeredKey":"a ","offeredKeyType":"a"}"#,
            r#"{"offeredFingerprint":1,"offeredKey":"a AAAA","offeredKeyType":"a"}"#,
            r#"{"retryAfterSeconds":-1}"#,
            r#"{"retryAfterSeconds":"600"}"#,
        ] {
            let text =
                format!(r#"[{{"reason":"io_error","details":"x","facts":{facts},"remedy":null}}]"#);
            assert!(decoded(&text).is_err(), "{facts}");
        }
    }
}
