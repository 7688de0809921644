//! Parses a JSON document in which no object has the same key twice.
//!
//! Parsers differ in the value that they take for such a key (RFC 8259 section 4). A proxy or an
//! audit before the daemon could therefore see another request than the daemon.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::common::escape_hidden;

/// Maximum length of a key in a path, in characters. Known keys are shorter.
const MAX_KEY_CHARS: usize = 64;

/// The document could not be parsed.
#[derive(Debug)]
pub(super) enum DocumentError {
    /// It is not JSON.
    Syntax(serde_json::Error),
    /// The path of a key that an object has more than once.
    RepeatedKey(String),
}

/// Parses the document.
///
/// # Errors
/// Returns [`DocumentError`] if it is not JSON, or if an object has a key twice.
pub(super) fn parse_unique(document: &[u8]) -> Result<Value, DocumentError> {
    let repeated = RefCell::new(None);
    let mut parser = serde_json::Deserializer::from_slice(document);
    let seed = UniqueKeys { place: &JsonPlace::Root, repeated: &repeated };
    let parsed = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    parsed.map_err(|error| match repeated.take() {
        Some(path) => DocumentError::RepeatedKey(path),
        None => DocumentError::Syntax(error),
    })
}

/// The place of a value in the document.
enum JsonPlace<'a> {
    Root,
    Key(&'a JsonPlace<'a>, &'a str),
    Item(&'a JsonPlace<'a>, usize),
}

impl fmt::Display for JsonPlace<'_> {
    /// Writes the JSON path. A key of the client is cut, and cannot control a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("$"),
            Self::Key(above, key) => {
                let key: String = key.chars().take(MAX_KEY_CHARS).collect();
                write!(f, "{above}.{}", escape_hidden(&key))
            }
            Self::Item(above, at) => write!(f, "{above}[{at}]"),
        }
    }
}

/// Builds the value at a place, and records the path of the first key that is repeated.
struct UniqueKeys<'a> {
    place: &'a JsonPlace<'a>,
    repeated: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for UniqueKeys<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys<'_> {
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
        loop {
            let place = JsonPlace::Item(self.place, values.len());
            let seed = UniqueKeys { place: &place, repeated: self.repeated };
            match items.next_element_seed(seed)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let place = JsonPlace::Key(self.place, &key);
            if values.contains_key(&key) {
                self.repeated.replace(Some(place.to_string()));
                return Err(A::Error::custom("repeated key"));
            }
            let seed = UniqueKeys { place: &place, repeated: self.repeated };
            let value = fields.next_value_seed(seed)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repeated(document: &str) -> Option<String> {
        match parse_unique(document.as_bytes()) {
            Err(DocumentError::RepeatedKey(path)) => Some(path),
            _ => None,
        }
    }

    #[test]
    fn a_repeated_key_is_named_by_its_path_wherever_it_is() {
        for (document, path) in [
            (r#"{"a":1,"a":1}"#, "$.a"),
            (r#"{"a":1,"\u0061":2}"#, "$.a"),
            (r#"{"params":{"url":"x","n":{},"url":"y"}}"#, "$.params.url"),
            (r#"{"list":[1,{"k":null,"k":null}]}"#, "$.list[1].k"),
            (r#"{"\u001b[31m":1,"\u001b[31m":2}"#, "$.\\u{1b}[31m"),
            // The rest of the document does not matter.
            (r#"{"a":1,"a":"#, "$.a"),
        ] {
            assert_eq!(repeated(document).as_deref(), Some(path), "{document}");
        }
        let long = format!("{{\"{0}\":1,\"{0}\":2}}", "k".repeat(500));
        assert_eq!(repeated(&long), Some(format!("$.{}", "k".repeat(MAX_KEY_CHARS))));
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
                Err(DocumentError::RepeatedKey(_)) => {}
            }
        }
    }
}
