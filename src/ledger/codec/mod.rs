//! Stored forms of the model's values.
//!
//! The forms are JSON and private to the ledger. A change of the model or of the wire format
//! therefore never changes the data on disk by accident. A form with an unknown or missing field is
//! rejected.

mod fault;
mod history;
mod notice;
mod record;
mod rejections;
mod store;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that has a stored form.
pub(super) trait Persist: Sized {
    /// The form that is written.
    type Form: Serialize + DeserializeOwned;

    fn to_form(&self) -> Self::Form;

    fn from_form(form: Self::Form) -> Result<Self, DecodeError>;
}

/// A stored record that does not decode to a valid value.
#[derive(Debug, thiserror::Error)]
#[error("invalid record: {0}")]
pub(super) struct DecodeError(pub(super) String);

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Converts the error of a model constructor.
fn invalid(error: impl std::fmt::Display) -> DecodeError {
    DecodeError(error.to_string())
}

pub(super) fn encode_row<T: Persist>(value: &T) -> Result<String, DecodeError> {
    Ok(serde_json::to_string(&value.to_form())?)
}

pub(super) fn decode_row<T: Persist>(text: &str) -> Result<T, DecodeError> {
    T::from_form(serde_json::from_str(text)?)
}

/// Serializes values by their text, for `#[serde(with)]`. The text of these values is stable: ids
/// and words of the API contract.
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
