//! Parses a JSON document in which no object has the same key twice.
//!
//! Parsers differ in the value that they take for such a key (RFC 8259 section 4). A proxy or an
//! audit before the daemon could therefore see another request than the daemon.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// The document could not be parsed. The error never quotes the document, which may hold a secret,
/// also in the place of a key.
#[derive(Debug)]
pub(super) enum DocumentError {
    /// It is not JSON.
    Syntax(serde_json::Error),
    /// An object has a key twice. The position is that of the second one: line and column, from 1.
    RepeatedKey { line: usize, column: usize },
}

/// Parses the document.
///
/// # Errors
/// Returns [`DocumentError`] if it is not JSON, or if an object has a key twice.
pub(super) fn parse_unique(document: &[u8]) -> Result<Value, DocumentError> {
    let mut parser = serde_json::Deserializer::from_slice(document);
    let parsed = UniqueKeys.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    parsed.map_err(|error| match error.classify() {
        // Every JSON value has a form in memory, so that no other error is about the data.
        Category::Data => DocumentError::RepeatedKey { line: error.line(), column: error.column() },
        Category::Syntax | Category::Eof | Category::Io => DocumentError::Syntax(error),
    })
}

/// Builds a value, and fails at the first key that is repeated.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(UniqueKeys)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom("repeated key"));
            }
            let value = fields.next_value_seed(UniqueKeys)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repeated(document: &str) -> Option<(usize, usize)> {
        match parse_unique(document.as_bytes()) {
            Err(DocumentError::RepeatedKey { line, column }) => Some((line, column)),
            _ => None,
        }
    }

    #[test]
    fn a_repeated_key_has_its_position_wherever_it_is() {
        for (document, position) in [
            (r#"{"a":1,"a":1}"#, (1, 10)),
            (r#"{"a":1,"\u0061":2}"#, (1, 15)),
            ("{\"params\":{\"url\":\"x\",\n\"url\":\"y\"}}", (2, 5)),
            (r#"{"list":[1,{"k":null,"k":null}]}"#, (1, 24)),
            // The rest of the document does not matter.
            (r#"{"a":1,"a":"#, (1, 10)),
        ] {
            assert_eq!(repeated(document), Some(position), "{document}");
        }
        for document in [r#"{"a":{"b":1},"b":1}"#, r#"[{"a":1},{"a":1}]"#, "{}", "1", "no"] {
            assert_eq!(repeated(document), None, "{document}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A document without repeated keys is parsed as serde_json parses it.
        #[test]
        fn other_documents_are_parsed_as_before(document in json()) {
            let text = document.to_string();
            let expected: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parse_unique(text.as_bytes()).unwrap(), expected);
        }

        #[test]
        fn no_text_is_json_for_one_parser_only(text in "[\\[\\]{}:,\"a0 .e-]{0,12}") {
            let expected = serde_json::from_str::<Value>(&text);
            match parse_unique(text.as_bytes()) {
                Ok(value) => prop_assert_eq!(value, expected.unwrap()),
                Err(DocumentError::Syntax(error)) => {
                    prop_assert_eq!(error.to_string(), expected.unwrap_err().to_string());
                }
                Err(DocumentError::RepeatedKey { .. }) => {}
            }
        }
    }
}
