//! The error of a query parameter.

use crate::common::sanitize_line;

/// Maximum length of a name of the caller in a message, in characters. The longest name of a field
/// has 17.
const MAX_NAME_CHARS: usize = 64;

/// A query parameter that cannot be honoured. The message never contains the value of a condition,
/// because a caller may have put a secret there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query parameter {parameter}: {problem}")]
pub struct InvalidParameter {
    parameter: String,
    problem: String,
}

impl InvalidParameter {
    /// Creates the error of the parameter `name`.
    pub fn new(name: &str, problem: impl Into<String>) -> Self {
        Self { parameter: short_name(name), problem: problem.into() }
    }

    /// Creates the error for a parameter with another value than the `expected` one.
    pub(super) fn expected(name: &str, expected: &str) -> Self {
        Self::new(name, format!("expected {expected}"))
    }

    /// Creates the error for a parameter that is there more than once.
    pub(super) fn repeated(name: &str) -> Self {
        Self::new(name, "it may be there only once")
    }

    /// Creates the error for a name that is no field of the records.
    pub(super) fn unknown_field<'a>(
        parameter: &str,
        field: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        let known = known.collect::<Vec<_>>().join(", ");
        Self::new(parameter, format!("{} is no field; the fields are {known}", short_name(field)))
    }

    /// Returns the name of the parameter.
    pub fn parameter(&self) -> &str {
        &self.parameter
    }
}

/// Returns a name of the caller, safe to display and of bounded length.
fn short_name(name: &str) -> String {
    sanitize_line(name.as_bytes(), MAX_NAME_CHARS)
}
