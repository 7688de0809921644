//! The stored forms of the model's values: JSON, private to the ledger, so that a change of the model
//! or of the wire never changes what lies on disk by accident.
//!
//! A form that has a field too many or too few is refused, not filled in.

mod fault;
mod history;
mod notice;
mod standing;
mod store;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that has a stored form.
pub(super) trait Persist: Sized {
    /// What is written.
    type Form: Serialize + DeserializeOwned;

    fn to_form(&self) -> Self::Form;

    fn from_form(form: Self::Form) -> Result<Self, DecodeError>;
}

/// A stored form that is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("a stored record cannot be decoded: {0}")]
pub(super) struct DecodeError(pub(super) String);

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Any refusal of a model's constructor.
fn invalid(error: impl std::fmt::Display) -> DecodeError {
    DecodeError(error.to_string())
}

pub(super) fn encode_row<T: Persist>(value: &T) -> Result<String, DecodeError> {
    Ok(serde_json::to_string(&value.to_form())?)
}

pub(super) fn decode_row<T: Persist>(text: &str) -> Result<T, DecodeError> {
    T::from_form(serde_json::from_str(text)?)
}

/// For `#[serde(with)]`: values whose text is their own promise (ids, words of the contract).
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}
