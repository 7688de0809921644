//! Reads a JSON object field by field, each with its required type.
//!
//! # Guarantees
//! - An error names the JSON path and the expected form.
//! - Unknown fields are ignored, because ZStack's clients send more than is documented.
//! - A field that is `null` counts as absent.
//!
//! # Never
//! - It never quotes a value, which may be a secret.

use std::fmt;
use std::num::NonZeroU16;

use serde_json::{Map, Value};

/// A field that is missing, or that has the wrong type or form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// The JSON path, such as `$.params.sshPort`.
    pub path: String,
    /// The expected form.
    pub expected: String,
    /// The violated rule, if the expected form has several rules.
    pub problem: Option<String>,
}

impl InvalidField {
    /// Returns the error with the violated rule.
    pub(super) fn with_problem(self, problem: impl fmt::Display) -> Self {
        Self { problem: Some(problem.to_string()), ..self }
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.path, self.expected)?;
        match &self.problem {
            Some(problem) => write!(f, ": {problem}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for InvalidField {}

/// Fields of every request of ZStack's clients that have no meaning in a body: the address of the
/// user, and what the header, the path or the client itself has.
const IGNORED_FIELDS: [&str; 4] = ["requestIp", "sessionId", "timeout", "uuid"];

/// The fields of one object. Reading a field removes it, so that secrets are moved instead of
/// copied.
pub(in crate::wire) struct JsonFields {
    path: String,
    map: Map<String, Value>,
}

impl JsonFields {
    /// Creates the fields of a whole document. Returns `None` if it is not an object.
    pub(super) fn from_document(document: Value) -> Option<Self> {
        Self::from_object("$".to_owned(), document).ok()
    }

    /// Creates an object without fields, for an absent body.
    pub(super) fn empty() -> Self {
        Self { path: "$".to_owned(), map: Map::new() }
    }

    fn from_object(path: String, value: Value) -> Result<Self, InvalidField> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            _ => Err(InvalidField { path, expected: "a JSON object".to_owned(), problem: None }),
        }
    }

    /// Creates the error for a field of this object.
    pub(super) fn invalid_field(&self, key: &str, expected: impl Into<String>) -> InvalidField {
        let path = format!("{}.{key}", self.path);
        InvalidField { path, expected: expected.into(), problem: None }
    }

    /// Creates the error for this object as a whole.
    pub(super) fn invalid_object(&self, expected: impl Into<String>) -> InvalidField {
        InvalidField { path: self.path.clone(), expected: expected.into(), problem: None }
    }

    fn take_field(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// Returns true if the object has this key, also with `null`.
    pub(super) fn contains_key(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Returns true if the object has this key with a value other than `null`.
    pub(super) fn has_value(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Returns true if any key that was not taken has a value other than `null`.
    pub(super) fn has_values(&self) -> bool {
        self.map.values().any(|value| !value.is_null())
    }

    /// Returns the number of fields that were not taken, which are unknown. A field that is ignored
    /// on purpose is none of them.
    pub(super) fn unknown_fields(&self) -> u64 {
        let is_unknown = |(key, value): &(&String, &Value)| {
            !value.is_null() && !IGNORED_FIELDS.contains(&key.as_str())
        };
        u64::try_from(self.map.iter().filter(is_unknown).count()).unwrap_or(u64::MAX)
    }

    /// Returns true if the object has no key that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Removes a field whose value does not matter.
    pub(super) fn remove_field(&mut self, key: &str) {
        self.map.remove(key);
    }

    /// Takes an object inside this one. A key with `null` counts as an object without fields,
    /// because the key itself selects an action.
    pub(super) fn take_object(&mut self, key: &str) -> Result<Option<JsonFields>, InvalidField> {
        let path = format!("{}.{key}", self.path);
        match self.map.remove(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Self { path, map: Map::new() })),
            Some(value) => Self::from_object(path, value).map(Some),
        }
    }

    /// Takes a text of at most `max_chars` characters.
    pub(super) fn take_text(
        &mut self,
        key: &str,
        max_chars: usize,
    ) -> Result<Option<String>, InvalidField> {
        match self.take_field(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= max_chars => Ok(Some(text)),
            Some(_) => Err(self.invalid_field(key, text_of_at_most(max_chars))),
        }
    }

    /// Takes a text of 1 to `max_chars` characters without control characters.
    pub(in crate::wire) fn take_optional_line(
        &mut self,
        key: &str,
        max_chars: usize,
    ) -> Result<Option<String>, InvalidField> {
        match self.take_text(key, max_chars) {
            Ok(None) => Ok(None),
            Ok(Some(text)) if !text.is_empty() && !text.chars().any(char::is_control) => {
                Ok(Some(text))
            }
            _ => Err(self.invalid_line(key, max_chars)),
        }
    }

    /// Takes a line as [`JsonFields::take_optional_line`] does. An absent field is an error.
    pub(in crate::wire) fn take_line(
        &mut self,
        key: &str,
        max_chars: usize,
    ) -> Result<String, InvalidField> {
        self.take_optional_line(key, max_chars)?.ok_or_else(|| self.invalid_line(key, max_chars))
    }

    fn invalid_line(&self, key: &str, max_chars: usize) -> InvalidField {
        self.invalid_field(
            key,
            format!("a string of 1 to {max_chars} characters without control characters"),
        )
    }

    /// Takes a list of at most `max_items` texts of at most `max_chars` characters each.
    pub(super) fn take_texts(
        &mut self,
        key: &str,
        max_items: usize,
        max_chars: usize,
    ) -> Result<Option<Vec<String>>, InvalidField> {
        let items = match self.take_field(key) {
            None => return Ok(None),
            Some(Value::Array(items)) if items.len() <= max_items => items,
            Some(_) => {
                return Err(self.invalid_field(
                    key,
                    format!(
                        "a list of at most {max_items} strings of at most {max_chars} characters"
                    ),
                ));
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) if text.chars().count() <= max_chars => texts.push(text),
                _ => {
                    return Err(
                        self.invalid_field(&format!("{key}[{at}]"), text_of_at_most(max_chars))
                    );
                }
            }
        }
        Ok(Some(texts))
    }

    /// Takes a boolean. ZStack's `rest/TypeVerifier.java` accepts its text in any case, too.
    pub(super) fn take_flag(&mut self, key: &str) -> Result<Option<bool>, InvalidField> {
        match self.take_field(key) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(on)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(self.invalid_field(key, "true or false")),
        }
    }

    /// Takes a port. `22.0` is accepted too: a Gson map turns every number into a double. So is the
    /// text of either. ZStack's `rest/TypeVerifier.java` accepts them as well.
    pub(super) fn take_port(&mut self, key: &str) -> Result<Option<NonZeroU16>, InvalidField> {
        let Some(value) = self.take_field(key) else { return Ok(None) };
        let port = match value {
            Value::String(text) => parse_whole_number(&text),
            // A whole double prints without a fraction. Only then does it parse as an integer.
            value => value.as_f64().and_then(|number| number.to_string().parse().ok()),
        };
        match port {
            Some(port) => Ok(Some(port)),
            None => Err(self.invalid_field(key, "an integer from 1 to 65535")),
        }
    }

    /// Takes one text, or a list of at most `max_items` texts.
    pub(super) fn take_text_or_texts(
        &mut self,
        key: &str,
        max_items: usize,
        max_chars: usize,
    ) -> Result<Vec<String>, InvalidField> {
        if self.map.get(key).is_some_and(Value::is_string) {
            return Ok(self.take_text(key, max_chars)?.into_iter().collect());
        }
        Ok(self.take_texts(key, max_items, max_chars)?.unwrap_or_default())
    }
}

/// Parses decimal digits, which a fraction of zeros may follow.
fn parse_whole_number(text: &str) -> Option<NonZeroU16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_whole = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    // The standard parser accepts a sign.
    let is_plain = whole.bytes().all(|digit| digit.is_ascii_digit());
    (is_whole && is_plain).then(|| whole.parse().ok()).flatten()
}

fn text_of_at_most(max_chars: usize) -> String {
    format!("a string of at most {max_chars} characters")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> JsonFields {
        JsonFields::from_document(json!({ "params": value }))
            .unwrap()
            .take_object("params")
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_port_is_an_integer_from_1_to_65535_also_when_written_as_a_double() {
        for (value, expected) in [
            (json!(22), 22),
            (json!(22.0), 22),
            (json!(65535), 65535),
            (json!(1.0), 1),
            (json!("22"), 22),
            (json!("22.0"), 22),
            (json!("65535"), 65535),
        ] {
            let port = fields(json!({ "p": value })).take_port("p").unwrap().unwrap();
            assert_eq!(port.get(), expected);
        }
        assert_eq!(fields(json!({ "p": null })).take_port("p"), Ok(None));
        for bad in [
            json!(0),
            json!(65536),
            json!(22.5),
            json!(-1),
            json!([22]),
            json!("22.5"),
            json!("22."),
            json!("+22"),
            json!("-1"),
            json!(""),
            json!(" 22"),
            json!("0"),
            json!("65536"),
            json!("1e3"),
        ] {
            let error = fields(json!({ "p": bad })).take_port("p").unwrap_err();
            assert_eq!(error.to_string(), "$.params.p: expected an integer from 1 to 65535");
        }
    }

    #[test]
    fn an_error_names_the_path_and_the_expected_form_and_never_the_value() {
        let mut f = fields(json!({
            "name": "hunter2\n", "tags": ["a", {"hunter2": 1}], "on": "hunter2", "inner": "hunter2",
            "long": "hunter2hunter2",
        }));
        let errors = [
            f.take_line("name", 255).unwrap_err().to_string(),
            f.take_texts("tags", 64, 255).unwrap_err().to_string(),
            f.take_flag("on").unwrap_err().to_string(),
            f.take_object("inner").err().unwrap().to_string(),
            f.take_text("long", 13).unwrap_err().to_string(),
        ];
        assert_eq!(
            errors,
            [
                "$.params.name: expected a string of 1 to 255 characters without control characters",
                "$.params.tags[1]: expected a string of at most 255 characters",
                "$.params.on: expected true or false",
                "$.params.inner: expected a JSON object",
                "$.params.long: expected a string of at most 13 characters",
            ]
        );
    }

    #[test]
    fn a_flag_is_a_boolean_or_its_text_in_any_case() {
        for (value, expected) in [
            (json!(true), true),
            (json!(false), false),
            (json!("true"), true),
            (json!("False"), false),
            (json!("TRUE"), true),
        ] {
            assert_eq!(fields(json!({ "f": value })).take_flag("f"), Ok(Some(expected)));
        }
        for bad in [json!("tru"), json!(""), json!(" true"), json!(1), json!("1"), json!([true])] {
            assert!(fields(json!({ "f": bad })).take_flag("f").is_err(), "{bad}");
        }
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        let text = "é".repeat(255);
        assert_eq!(fields(json!({ "t": text })).take_text("t", 255), Ok(Some(text)));
    }
}
