//! Text that tries to control a terminal, to forge lines and to hide parts of itself.

use imagestore_agent::common::is_hidden;
use serde_json::Value;

/// The start of a line that no output may have.
pub(crate) const FORGED_LINE: &str = "forged line";

/// One character of each kind that is hidden, without the control characters.
pub(crate) const INVISIBLE: &str = "\u{61c}\u{200b}\u{200d}\u{200e}\u{202e}\u{2066}\u{2028}\u{2029}\u{feff}\u{fff9}\u{e0041}\u{ad}";
/// Text that stays readable.
pub(crate) const READABLE: &str = "画像🎉e\u{301}";

/// Returns a text with every kind of hidden character.
pub(crate) fn hostile_text() -> String {
    format!("\x1b[2J\x07\0\x7f\u{85}\u{9b}31m\r\n{FORGED_LINE}\n{INVISIBLE}{READABLE}")
}

/// Appends the hostile text to every text of a JSON value, and adds it to every name.
pub(crate) fn poison(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(format!("{text}{}", hostile_text())),
        Value::Array(items) => items.iter().map(poison).collect(),
        Value::Object(fields) => {
            let extra = (hostile_text(), Value::from(hostile_text()));
            let fields = fields.iter().map(|(name, value)| (name.clone(), poison(value)));
            Value::Object(fields.chain([extra]).collect())
        }
        other => other.clone(),
    }
}

/// Panics if the output could control a terminal, hides a text or has a forged line.
#[track_caller]
pub(crate) fn assert_safe(output: &[u8]) {
    let text = str::from_utf8(output).unwrap();
    for line in text.lines() {
        assert!(!line.contains(is_hidden), "{line:?}");
        assert!(!line.starts_with(FORGED_LINE), "{text}");
    }
}

/// Panics unless the output is printable ASCII in lines.
#[track_caller]
pub(crate) fn assert_ascii(output: &[u8]) {
    let is_printable = |byte: &u8| matches!(byte, b'\n' | 0x20..0x7f);
    assert!(output.iter().all(is_printable), "{}", String::from_utf8_lossy(output));
}
