//! JSON whose strings are safe to display. The value of the document stays the same, because a
//! string of JSON may escape any character.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::sanitize::is_hidden;

/// Appends the value as JSON. Every hidden character is escaped as `\u202e`.
///
/// # Errors
/// Returns an error if the value has no form in JSON, such as a map whose keys are no strings.
pub fn write_safe_json(value: &impl Serialize, into: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(into, EscapingFormatter { keep: is_shown }))
}

/// Returns the value as JSON in printable ASCII. Every other character is escaped.
///
/// # Errors
/// The same as for [`write_safe_json`].
pub fn to_ascii_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    let formatter = EscapingFormatter { keep: |c| c.is_ascii() && c != '\x7f' };
    value.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    Ok(text)
}

/// Returns a JSON document of another library with every hidden character escaped. White space
/// between its tokens stays.
pub fn escape_json_hidden(document: &str) -> Cow<'_, str> {
    let keep = |c: char| is_shown(c) || matches!(c, '\n' | '\r' | '\t');
    if is_printable_ascii(document) || document.chars().all(keep) {
        return Cow::Borrowed(document);
    }
    let mut escaped = String::with_capacity(document.len() * 2);
    for c in document.chars() {
        if keep(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&escape_char(c));
        }
    }
    Cow::Owned(escaped)
}

/// Formats compact JSON and escapes every character that is not kept.
struct EscapingFormatter {
    keep: fn(char) -> bool,
}

impl Formatter for EscapingFormatter {
    /// Writes a part of a string without quotes, backslashes and C0 controls, which `serde_json`
    /// escapes itself.
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if is_printable_ascii(fragment) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !(self.keep)(*c)) {
            let (kept, from_char) = rest.split_at(at);
            writer.write_all(kept.as_bytes())?;
            writer.write_all(escape_char(c).as_bytes())?;
            rest = from_char.split_at(c.len_utf8()).1;
        }
        writer.write_all(rest.as_bytes())
    }
}

fn is_shown(c: char) -> bool {
    !is_hidden(c)
}

/// Returns true if no byte is DEL or above. The loop has no early end, so that it compiles to
/// instructions that look at many bytes at once. C0 controls are left to the caller.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(0, |highest: u8, byte| highest.max(byte)) < 0x7f
}

/// Returns the escape of a character in JSON: one UTF-16 unit, or a pair of surrogates.
fn escape_char(c: char) -> String {
    let mut escape = String::new();
    for unit in c.encode_utf16(&mut [0; 2]) {
        // A write into a string cannot fail.
        let _ = write!(escape, "\\u{unit:04x}");
    }
    escape
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::sanitize::tests::{HIDDEN, READABLE};
    use super::*;

    fn safe_json(value: &Value) -> String {
        let mut text = Vec::new();
        write_safe_json(value, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn is_ascii_line(text: &[u8]) -> bool {
        text.iter().all(|byte| matches!(byte, 0x20..0x7f))
    }

    #[test]
    fn an_escaped_document_has_the_same_value() {
        let hidden: String = HIDDEN.iter().collect();
        let value = json!({ &hidden: format!("{hidden}{READABLE}"), "n": [1.5, null, READABLE] });
        let safe = safe_json(&value);
        assert!(!safe.contains(is_hidden) && safe.contains("画像"), "{safe}");
        assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), value);
        let ascii = to_ascii_json(&value).unwrap();
        assert!(is_ascii_line(&ascii));
        assert_eq!(serde_json::from_slice::<Value>(&ascii).unwrap(), value);
        for document in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = escape_json_hidden(&document);
            assert!(escaped.lines().all(|line| !line.contains(is_hidden)), "{escaped}");
            assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        for (text, safe, ascii) in [
            ("a\"\\\n\u{1b}", r#""a\"\\\n\u001b""#, r#""a\"\\\n\u001b""#),
            ("\x7f\u{9b}", r#""\u007f\u009b""#, r#""\u007f\u009b""#),
            ("画🎉", "\"画🎉\"", r#""\u753b\ud83c\udf89""#),
            ("\u{e0041}", r#""\udb40\udc41""#, r#""\udb40\udc41""#),
        ] {
            assert_eq!(safe_json(&json!(text)), safe);
            assert_eq!(to_ascii_json(&text).unwrap(), ascii.as_bytes());
        }
        assert!(matches!(escape_json_hidden("{\"a\": \"画\"}\n"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn every_text_keeps_its_value(text in "\\PC*|.*|\\p{Cf}*|\\p{Cc}*") {
            let value = json!({ &text: [&text] });
            let safe = safe_json(&value);
            prop_assert!(!safe.contains(is_hidden));
            prop_assert_eq!(&serde_json::from_str::<Value>(&safe).unwrap(), &value);
            let document = value.to_string();
            prop_assert_eq!(&*escape_json_hidden(&document), &*safe);
            let ascii = to_ascii_json(&value).unwrap();
            prop_assert!(is_ascii_line(&ascii));
            prop_assert_eq!(&serde_json::from_slice::<Value>(&ascii).unwrap(), &value);
        }
    }
}
