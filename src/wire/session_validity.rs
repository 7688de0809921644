//! The answer of a management node to the question whether a session is valid.

use serde::Deserialize;

/// Maximum size of an answer, in bytes. `{"valid":true}` has 14; a later version may add fields.
pub const MAX_VALIDITY_BYTES: usize = 4096;

/// The body of `GET .../accounts/sessions/{uuid}/valid`. Unknown fields are ignored.
#[derive(Deserialize)]
struct SessionValidity {
    valid: bool,
}

/// Returns true if the answer says that the session is valid, and false if it says that it is not.
/// Returns `None` if the body is no such answer.
pub fn parse_session_validity(body: &[u8]) -> Option<bool> {
    // The parser would also take the fields from an array.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let answer = serde_json::from_slice::<SessionValidity>(body).ok().filter(|_| is_object)?;
    Some(answer.valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_with_one_boolean_is_an_answer() {
        for (body, expected) in [
            (r#"{"valid":true}"#, Some(true)),
            (" {\"valid\" : false}\n", Some(false)),
            (r#"{"valid":true,"schema":{},"new":[1]}"#, Some(true)),
            (r#"{"valid":true,"valid":false}"#, None),
            (r#"{"valid":"true"}"#, None),
            (r#"{"valid":1}"#, None),
            (r#"{"valid":null}"#, None),
            (r#"{"Valid":true}"#, None),
            (r#"{"error":{"code":"ID.1001"}}"#, None),
            (r#"{"valid":true"#, None),
            (r#"{"valid":true}{"valid":true}"#, None),
            ("[true]", None),
            ("true", None),
            ("<html>valid</html>", None),
            ("", None),
        ] {
            assert_eq!(parse_session_validity(body.as_bytes()), expected, "{body}");
        }
    }
}
