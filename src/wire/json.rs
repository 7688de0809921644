//! The serialization of a body.

use serde::Serialize;
use serde_json::Value;

use crate::common::write_safe_json;

/// Serializes a body, with its hidden characters escaped.
pub(super) fn to_json(body: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    match write_safe_json(body, &mut json) {
        Ok(()) => json,
        // Serializing structs of strings and numbers cannot fail.
        Err(_) => Value::Null.to_string().into_bytes(),
    }
}
