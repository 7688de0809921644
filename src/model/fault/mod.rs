//! Faults and failures. A fault is one failed check with its evidence and its remedy, and a failure
//! is all faults of an attempt.

mod remedy;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use self::remedy::FaultRemedies;
pub use self::remedy::{OwnRemedy, Remedy};
use super::{Check, HostKey, Reason};
use crate::common::escape_hidden;

/// The fact of a fault that an earlier login had.
const REMEMBERED: &str = "remembered";

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A text, such as a path or a peer's message. The code that reads it makes it printable and
    /// limits its length.
    Text(String),
    /// A number. The name of the fact contains its unit (`milliseconds`, `port`, `errno`).
    Number(i64),
    /// A boolean.
    Flag(bool),
    /// Several texts, such as the algorithms of one side.
    List(Vec<String>),
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Fact {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

macro_rules! number_fact {
    ($($from:ty),+) => {$(
        impl From<$from> for Fact {
            fn from(number: $from) -> Self {
                Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
    )+};
}
number_fact!(i32, i64, u16, u32, u64, u128, usize);

/// Evidence by name, in camelCase as in `opaque`: `host`, `port`, `path`, `errno`, `milliseconds`
/// and so on.
pub type Facts = BTreeMap<String, Fact>;

/// One failed check.
///
/// The facts are for display. Evidence that the daemon acts on is stored separately as typed
/// values. Code outside the tests reads only those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    reason: Reason,
    details: String,
    facts: Facts,
    /// Boxed, as the typed evidence is.
    remedies: Option<Box<FaultRemedies>>,
    /// Boxed, because few faults have it and every `Result` of a check reserves space for a fault.
    typed_evidence: Option<Box<TypedEvidence>>,
}

/// The evidence of a fault that the daemon acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TypedEvidence {
    /// The host key that the server offered and that was rejected.
    offered_host_key: Option<HostKey>,
    /// The time after which the same request may succeed.
    retry_after: Option<Duration>,
    /// True if the server may have counted a login as rejected, although it did not say so.
    may_be_rejection: bool,
}

impl Fault {
    /// Creates a fault from its reason and one sentence for the operator that describes the
    /// observation.
    pub fn new(reason: Reason, details: impl Into<String>) -> Self {
        Self {
            reason,
            details: details.into(),
            facts: Facts::new(),
            remedies: None,
            typed_evidence: None,
        }
    }

    /// Adds a piece of evidence.
    #[must_use]
    pub fn with_detail(mut self, name: &str, fact: impl Into<Fact>) -> Self {
        self.facts.insert(name.to_owned(), fact.into());
        self
    }

    /// Marks the fault as that of an earlier login, which is returned in place of a new login.
    #[must_use]
    pub fn as_remembered(self) -> Self {
        self.with_detail(REMEMBERED, true)
    }

    /// Returns true if [`Fault::as_remembered`] has marked the fault.
    pub fn is_remembered(&self) -> bool {
        self.facts.contains_key(REMEMBERED)
    }

    /// Adds a piece of evidence unless one with this name exists. The code that found the fault
    /// knows more than the code that passes it on.
    #[must_use]
    pub fn default_fact(mut self, name: &str, fact: impl Into<Fact>) -> Self {
        self.facts.entry(name.to_owned()).or_insert_with(|| fact.into());
        self
    }

    /// Adds text to the description of the observation.
    #[must_use]
    pub fn append_details(mut self, text: &str) -> Self {
        self.details.push_str(text);
        self
    }

    /// Records the host key that the server offered and that was rejected. It is displayed in full,
    /// so that an operator can accept it.
    #[must_use]
    pub fn with_offered_host_key(mut self, key: HostKey) -> Self {
        let HostKey { algorithm, blob, fingerprint } = &key;
        self = self
            .with_detail("offeredFingerprint", fingerprint.as_str())
            .with_detail("offeredKeyType", algorithm.as_str())
            .with_detail("offeredKey", format!("{algorithm} {blob}"));
        self.typed_evidence.get_or_insert_default().offered_host_key = Some(key);
        self
    }

    /// Records the number of seconds after which the same request may succeed, and displays it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self = self.with_detail("retryAfterSeconds", seconds);
        self.typed_evidence.get_or_insert_default().retry_after =
            Some(Duration::from_secs(seconds));
        self
    }

    /// Records that the server may have counted the login as rejected, although it did not say so:
    /// it received the credentials and did not accept them.
    #[must_use]
    pub fn with_possible_rejection(mut self) -> Self {
        self.typed_evidence.get_or_insert_default().may_be_rejection = true;
        self
    }

    /// Replaces the general remedy of the reason with one for this case.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.get_or_insert_default().own = Some(OwnRemedy::Typed(remedy));
        self
    }

    /// Replaces the general remedy of the reason with a text that another version of the program
    /// has recorded.
    #[must_use]
    pub fn with_recorded_remedy(mut self, text: impl Into<String>) -> Self {
        self.remedies.get_or_insert_default().own = Some(OwnRemedy::Recorded(text.into()));
        self
    }

    /// Adds a remedy after that of the fault, or after the general one.
    #[must_use]
    pub fn with_further_remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.get_or_insert_default().further = Some(remedy);
        self
    }

    /// Makes all texts printable. It is for texts that were read from a disk.
    #[must_use]
    pub fn sanitized(self) -> Self {
        let sanitize = |fact| match fact {
            Fact::Text(text) => Fact::Text(escape_hidden(&text)),
            Fact::Number(number) => Fact::Number(number),
            Fact::Flag(flag) => Fact::Flag(flag),
            Fact::List(list) => Fact::List(list.iter().map(|text| escape_hidden(text)).collect()),
        };
        Self {
            details: escape_hidden(&self.details),
            facts: self.facts.into_iter().map(|(name, fact)| (name, sanitize(fact))).collect(),
            remedies: self.remedies.map(|it| Box::new(it.map_texts(escape_hidden))),
            ..self
        }
    }

    /// Returns the reason as a stable word.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the description of the observation.
    pub fn details(&self) -> &str {
        &self.details
    }

    /// Returns the evidence for display.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the rejected host key, or `None` if the fault is about something else.
    pub fn offered_host_key(&self) -> Option<&HostKey> {
        self.typed_evidence.as_ref()?.offered_host_key.as_ref()
    }

    /// Returns the time after which the same request may succeed, or `None` if it is not known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.typed_evidence.as_ref()?.retry_after
    }

    /// Returns true if the fault counts as a rejected login, for the limit that protects an account
    /// from being locked.
    pub fn counts_as_rejection(&self) -> bool {
        let evidence = self.typed_evidence.as_deref();
        self.reason == Reason::CredentialsRefused
            || evidence.is_some_and(|evidence| evidence.may_be_rejection)
    }

    /// Returns the remedy made for this case, or `None` if the general one applies.
    pub fn own_remedy(&self) -> Option<&OwnRemedy> {
        self.remedies.as_ref()?.own.as_ref()
    }

    /// Returns the remedy after the own or the general one, or `None` if there is none.
    pub fn further_remedy(&self) -> Option<&Remedy> {
        self.remedies.as_ref()?.further.as_ref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.details)
    }
}

impl std::error::Error for Fault {}

/// The failed checks of one attempt, never empty. The root cause comes first, in the order
/// identity, storage, SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    root: Fault,
    others: Vec<Fault>,
}

impl AttemptFailure {
    /// Creates a failure from the fault of one check.
    pub fn from_fault(fault: Fault) -> Self {
        Self { root: fault, others: Vec::new() }
    }

    /// Creates a failure from faults, and orders them. Returns `None` if there are no faults.
    pub fn from_faults(faults: impl IntoIterator<Item = Fault>) -> Option<Self> {
        let mut faults: Vec<Fault> = faults.into_iter().collect();
        faults.sort_by_key(|fault| fault.reason().failed_check());
        let mut faults = faults.into_iter();
        let root = faults.next()?;
        Some(Self { root, others: faults.collect() })
    }

    /// Returns the root cause.
    pub fn root_fault(&self) -> &Fault {
        &self.root
    }

    /// Returns every failed check, the root cause first.
    pub fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// Returns the host key that was rejected, or `None` if no check failed because of one.
    pub fn offered_host_key(&self) -> Option<&HostKey> {
        self.all_faults().find_map(Fault::offered_host_key)
    }

    /// Returns true if a check of this kind failed.
    pub fn has_check(&self, check: Check) -> bool {
        self.all_faults().any(|fault| fault.reason().failed_check() == check)
    }

    /// Returns true if all faults are the daemon's own, so that nothing is known about the store.
    pub fn is_internal(&self) -> bool {
        self.all_faults().all(|fault| fault.reason().failed_check() == Check::Agent)
    }
}

impl From<Fault> for AttemptFailure {
    /// Creates a failure from the fault of one check.
    fn from(fault: Fault) -> Self {
        Self::from_fault(fault)
    }
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        for fault in &self.others {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_cause_is_identity_before_storage_before_ssh() {
        let fault = |reason| Fault::new(reason, "x");
        let failure = AttemptFailure::from_faults([
            fault(Reason::CredentialsRefused),
            fault(Reason::IoError),
            fault(Reason::NotMounted),
        ])
        .unwrap();
        let order: Vec<_> = failure.all_faults().map(Fault::reason).collect();
        assert_eq!(order, [Reason::NotMounted, Reason::IoError, Reason::CredentialsRefused]);
        assert!(AttemptFailure::from_faults([]).is_none());
    }
}
