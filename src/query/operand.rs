//! The value that a condition compares a field with.

use std::cmp::Ordering;

use jiff::tz::TimeZone;

use super::date::DateOperand;
use super::decimal::Decimal;
use super::field::{FieldReader, FieldValue};
use super::text_order::compare_text;
use crate::model::StoreUuid;

/// The value of a condition, of the type of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Text(String),
    /// A text that is a uuid.
    Uuid(StoreUuid),
    Number(Decimal),
    Date(DateOperand),
}

impl Operand {
    /// Parses a value for the field that `reader` reads. A date without a zone is in `zone`.
    ///
    /// # Errors
    /// The expected form of the value.
    pub(super) fn parse<R>(
        reader: &FieldReader<R>,
        value: &str,
        zone: &TimeZone,
    ) -> Result<Self, &'static str> {
        match reader {
            FieldReader::Text(_) | FieldReader::List(_) => Ok(Self::Text(value.to_owned())),
            FieldReader::Normalized(_, normalize) => {
                Ok(Self::Text(normalize(value).unwrap_or_else(|| value.to_owned())))
            }
            // A text that is no uuid is in order before or after uuids, and equal to none.
            FieldReader::Uuid(_) => Ok(value
                .to_ascii_lowercase()
                .parse()
                .map_or_else(|_| Self::Text(value.to_owned()), Self::Uuid)),
            FieldReader::Number(_) => {
                Decimal::parse(value).map(Self::Number).ok_or("a number of at most 38 digits")
            }
            FieldReader::Date(_) => DateOperand::parse(value, zone)
                .map(Self::Date)
                .ok_or("a date such as 2016-12-22T17:10:06Z or Dec 22, 2016 5:10:06 PM"),
        }
    }

    /// Compares the value of a record with the operand. Returns `None` if their types differ, which
    /// [`Operand::parse`] prevents.
    pub(super) fn compare_from(&self, value: FieldValue<'_>) -> Option<Ordering> {
        Some(match (value, self) {
            (FieldValue::Text(text), Self::Text(other)) => compare_text(text, other),
            (FieldValue::Uuid(uuid), Self::Uuid(other)) => uuid.cmp(other),
            (FieldValue::Uuid(uuid), Self::Text(other)) => compare_text(&uuid.to_string(), other),
            (FieldValue::Number(number), Self::Number(other)) => other.compare_from(number),
            (FieldValue::Date(date), Self::Date(other)) => other.compare_from(date),
            _ => return None,
        })
    }
}
