//! Errors in the settings, worded for the operator who corrects them.
//!
//! # Guarantees
//! - A fault names the key, the value found, the allowed values and the origin of the value.
//!
//! # Never
//! - It never shows a value that could be a secret. Everything before an `@` is omitted, because a
//!   URL may contain a password there.
//! - It never shows values of unknown keys or of keys that lead to secrets.

use std::fmt;
use std::path::Path;

use config::{Value, ValueKind};

use super::files::FileError;
use crate::common::escape_hidden;

/// Maximum length of a displayed value, in characters. A fault stays readable.
const MAX_VALUE_CHARS: usize = 120;
/// Maximum number of lines of one file that are reported individually. A wrong file may have a
/// thousand bad lines.
const MAX_REPORT_LINES: usize = 16;

/// One fault in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    /// The key with its section, such as `monitor.interval`. It is empty if the fault concerns the
    /// whole file.
    pub key: String,
    /// The value for display. It is `None` if there is no value or if it must stay hidden.
    pub value: Option<String>,
    /// A description of the fault, in one clause.
    pub problem: String,
    /// The allowed values, such as `1s to 1h`.
    pub allowed: Option<String>,
    /// The file or the environment variable that contains the value.
    pub origin: Option<String>,
}

impl SettingFault {
    /// Creates a fault for a file that a setting names and that has wrong content.
    pub fn in_file(key: &str, path: &Path, problem: impl fmt::Display) -> Self {
        Self {
            key: key.to_owned(),
            value: Some(format!("{:?}", path.display().to_string())),
            problem: problem.to_string(),
            allowed: None,
            origin: None,
        }
    }

    /// Creates a fault for a file that a setting names and that cannot be read or is not safe.
    pub fn unusable_file(key: &str, path: &Path, error: &FileError) -> Self {
        let (problem, allowed) = match error {
            FileError::Unreadable(error) => {
                (format!("cannot be read: {error}"), "a readable file".to_owned())
            }
            FileError::Unsafe { risk, allowed } => (format!("the file {risk}"), allowed.clone()),
        };
        Self { allowed: Some(allowed), ..Self::in_file(key, path, problem) }
    }
}

impl fmt::Display for SettingFault {
    /// Writes the fault on one line. [`format_report`] has the form for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.value) {
            ("", _) => write!(f, "{}", self.problem)?,
            (key, None) => write!(f, "{key}: {}", self.problem)?,
            (key, Some(value)) => write!(f, "{key} = {value}: {}", self.problem)?,
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, "; in {origin}")?;
        }
        Ok(())
    }
}

/// All faults of the settings; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", one_line_summary(.faults))]
pub struct SettingsError {
    faults: Vec<SettingFault>,
}

impl From<SettingFault> for SettingsError {
    fn from(fault: SettingFault) -> Self {
        Self { faults: vec![fault] }
    }
}

impl SettingsError {
    /// Creates an error from at least one fault.
    pub(crate) fn new(faults: Vec<SettingFault>) -> Self {
        Self { faults }
    }

    /// Creates an error from bad lines of a file, given by number and rule. The lines themselves
    /// are not shown, because they may contain secrets.
    pub(crate) fn in_lines(key: &str, path: &Path, lines: &[(usize, &str)]) -> Self {
        let first_lines = lines.iter().take(MAX_REPORT_LINES);
        let mut problems: Vec<String> =
            first_lines.map(|(line, problem)| format!("line {line}: {problem}")).collect();
        if lines.len() > MAX_REPORT_LINES {
            problems.push(format!("{} more lines are invalid", lines.len() - MAX_REPORT_LINES));
        }
        Self::new(
            problems.iter().map(|problem| SettingFault::in_file(key, path, problem)).collect(),
        )
    }

    /// Returns the faults.
    pub fn into_faults(self) -> Vec<SettingFault> {
        self.faults
    }

    /// Returns the value of `outcome`, or `None` after appending its faults to `others`. A fault
    /// that is there already is not repeated, because several parts read the same file.
    pub(crate) fn gather<T>(
        outcome: Result<T, SettingsError>,
        others: &mut Vec<SettingFault>,
    ) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        for fault in error.faults {
            if !others.contains(&fault) {
                others.push(fault);
            }
        }
        None
    }

    /// Returns the faults in this order: those of the file and the variables, those of keys in the
    /// order of `config/agent.toml`, and those between keys.
    pub fn setting_faults(&self) -> &[SettingFault] {
        &self.faults
    }
}

fn one_line_summary(faults: &[SettingFault]) -> String {
    match faults {
        [one] => format!("invalid settings: {one}"),
        [first, rest @ ..] => format!("invalid settings: {first} (and {} more)", rest.len()),
        [] => "invalid settings".to_owned(),
    }
}

/// Formats the faults for a terminal: one block per fault, key and value first.
///
/// ```text
/// monitor.interval = "0s"
///     out of range
///     allowed: 1s to 1h
///     found in: /etc/imagestore-agent/agent.toml
/// ```
pub fn format_report(faults: &[SettingFault]) -> String {
    let mut text = String::new();
    for fault in faults {
        let head = match (fault.key.as_str(), &fault.value) {
            ("", _) => "the settings file".to_owned(),
            (key, None) => key.to_owned(),
            (key, Some(value)) => format!("{key} = {value}"),
        };
        let lines = [
            Some(head),
            Some(format!("    {}", fault.problem)),
            fault.allowed.as_ref().map(|allowed| format!("    allowed: {allowed}")),
            fault.origin.as_ref().map(|origin| format!("    found in: {origin}")),
        ];
        for line in lines.into_iter().flatten() {
            // A path or a name of a variable may contain any character.
            text.push_str(&escape_hidden(&line));
            text.push('\n');
        }
    }
    text
}

/// Formats a value for display in a fault. It is quoted, escaped and cut to a readable length, and
/// possible passwords are removed.
pub(crate) fn display_value(value: &Value) -> String {
    let text = match &value.kind {
        ValueKind::String(text) => format!("{:?}", without_userinfo(text)),
        ValueKind::Array(items) => {
            // The list is cut before it is joined, because it may be as long as the file.
            let items: Vec<String> =
                items.iter().take(MAX_VALUE_CHARS).map(display_value).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "{ a table }".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        number => number.to_string(),
    };
    match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((cut, _)) => format!("{}...", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// Removes everything between the scheme and the last `@`. A password without percent-encoding may
/// contain `@` or `/`, hence the last one.
fn without_userinfo(text: &str) -> String {
    let Some((hidden, rest)) = text.rsplit_once('@') else { return text.to_owned() };
    match hidden.split_once("://") {
        Some((scheme, _)) if !scheme.contains([':', '@']) => format!("{scheme}://***@{rest}"),
        _ => format!("***@{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::new(None, text)
    }

    #[test]
    fn what_stands_before_an_at_sign_is_never_shown() {
        for (value, expected) in [
            ("https://mn/events", r#""https://mn/events""#),
            ("https://bob:pw@mn/events", r#""https://***@mn/events""#),
            ("https://bob:p@/w@mn", r#""https://***@mn""#),
            ("bob:pw@mn", r#""***@mn""#),
            ("bob:x://pw@mn", r#""***@mn""#),
            ("a\u{1b}[31m\n", r#""a\u{1b}[31m\n""#),
        ] {
            assert_eq!(display_value(&text(value)), expected);
        }
        let list = Value::new(None, vec![text("http://a:b@c"), text("x")]);
        assert_eq!(display_value(&list), r#"["http://***@c", "x"]"#);
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(display_value(&text(&"ä".repeat(4000))).chars().count(), MAX_VALUE_CHARS + 3);
    }

    #[test]
    fn a_fault_that_two_parts_report_is_gathered_once() {
        let fault = |key| SettingFault::in_file(key, Path::new("/x"), "cannot be read");
        let faults = || vec![fault("callback.ca_file"), fault("callback.client_key")];
        let mut others = Vec::new();
        for _ in 0..2 {
            let outcome = Err(SettingsError::new(faults()));
            assert_eq!(SettingsError::gather::<()>(outcome, &mut others), None);
        }
        assert_eq!(others, faults());
        assert_eq!(SettingsError::gather(Ok(1), &mut others), Some(1));
    }

    #[test]
    fn a_report_is_a_block_a_fault() {
        let fault = SettingFault {
            key: "monitor.interval".into(),
            value: Some("\"0s\"".into()),
            problem: "out of range".into(),
            allowed: Some("1s to 1h".into()),
            origin: Some("/etc/agent.toml".into()),
        };
        assert_eq!(
            format_report(std::slice::from_ref(&fault)),
            "monitor.interval = \"0s\"\n    out of range\n    allowed: 1s to 1h\n    found in: /etc/agent.toml\n"
        );
        let other = SettingFault {
            key: String::new(),
            value: None,
            problem: "not found".into(),
            allowed: None,
            origin: Some("/x".into()),
        };
        assert_eq!(
            format_report(std::slice::from_ref(&other)),
            "the settings file\n    not found\n    found in: /x\n"
        );
        assert_eq!(
            SettingsError::new(vec![fault, other]).to_string(),
            "invalid settings: monitor.interval = \"0s\": out of range; allowed: 1s to 1h; in /etc/agent.toml (and 1 more)"
        );
    }
}
