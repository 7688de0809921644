//! What a caller may do.

use std::fmt;

use crate::model::UnknownWord;

/// What a caller may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Look.
    Read,
    /// Add, reconnect, update and remove stores.
    Operate,
    /// Accept host keys and take stores over.
    Admin,
}

impl Role {
    /// The word in the tokens file.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = [Self::Read, Self::Operate, Self::Admin];
        let role = known.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| UnknownWord(text.to_owned()))
    }
}
