//! One failed check: what failed, the evidence, the remedy.

use std::collections::BTreeMap;
use std::fmt;

use super::Reason;
use super::printable::printable;

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A text, such as a path or what a peer said (printable, bounded by whoever read it).
    Text(String),
    /// A number; its unit is in the fact's name (`milliseconds`, `port`, `errno`).
    Number(i64),
    /// A yes or a no.
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

/// Evidence by name, in camelCase as it stands in `opaque`: `host`, `port`, `path`, `errno`,
/// `milliseconds` and so on.
pub type Facts = BTreeMap<String, Fact>;

/// One failed check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    reason: Reason,
    details: String,
    facts: Facts,
    remedy: Option<String>,
}

impl Fault {
    /// A fault and one sentence that says what was seen, for a person.
    pub fn new(reason: Reason, details: impl Into<String>) -> Self {
        Self { reason, details: details.into(), facts: Facts::new(), remedy: None }
    }

    /// Adds a piece of evidence.
    #[must_use]
    pub fn fact(mut self, name: &str, fact: impl Into<Fact>) -> Self {
        self.facts.insert(name.to_owned(), fact.into());
        self
    }

    /// Replaces the reason's general remedy by one made for this case.
    #[must_use]
    pub fn remedied(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Makes every text of it printable, for texts that came from a disk.
    #[must_use]
    pub fn printable(self) -> Self {
        let shown = |fact| match fact {
            Fact::Text(text) => Fact::Text(printable(&text)),
            Fact::Number(number) => Fact::Number(number),
            Fact::Flag(flag) => Fact::Flag(flag),
            Fact::List(list) => Fact::List(list.iter().map(|text| printable(text)).collect()),
        };
        Self {
            reason: self.reason,
            details: printable(&self.details),
            facts: self.facts.into_iter().map(|(name, fact)| (name, shown(fact))).collect(),
            remedy: self.remedy.as_deref().map(printable),
        }
    }

    /// Why, as a stable word.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What was seen.
    pub fn details(&self) -> &str {
        &self.details
    }

    /// The evidence.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        self.remedy.as_deref().unwrap_or_else(|| self.reason.remedy())
    }

    /// The remedy made for this case, if one was.
    pub fn own_remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.details)
    }
}

impl std::error::Error for Fault {}
