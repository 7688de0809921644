//! Stored forms of failures and their evidence.
//!
//! The stored form contains the facts that are displayed. It has no field for the typed evidence,
//! which is derived from the facts when a fault is read. No other module reads a value out of a
//! fact. Facts that do not have the form in which the fault wrote them are rejected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecodeError, as_text, invalid};
use crate::model::{AttemptFailure, Fact, Fault, HostKey, Reason};

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
        Self {
            reason: fault.reason(),
            details: fault.details().to_owned(),
            facts: fault.facts().iter().map(|(name, fact)| (name.clone(), form(fact))).collect(),
            remedy: fault.custom_remedy().map(str::to_owned),
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
        Ok(match self.remedy {
            Some(remedy) => fault.with_remedy(remedy),
            None => fault,
        })
    }
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
        let plain = Fault::new(Reason::IoError, "x").with_detail("path", "/data").with_remedy("y");
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
            let remedy = serde_json::to_string(&fault.custom_remedy()).unwrap();
            let reason = fault.reason();
            let expected = format!(
                r#"[{{"reason":"{reason}","details":"x","facts":{facts},"remedy":{remedy}}}]"#
            );
            assert_eq!(text, expected);
            assert_eq!(decoded(&text).unwrap(), failure);
        }
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
