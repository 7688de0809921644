//! Layers above the built-in defaults: the file, then the environment.
//!
//! # Guarantees
//! - A layer contains only known keys, each value with its origin.
//! - Every unknown key is reported as a fault.
//!
//! # Never
//! - It never passes an unchecked key to the `config` crate, which parses top-level keys as path
//!   expressions: `a[4000000000]` would allocate an array.
//!
//! For the same reason, variables are not read by the crate's `Environment` source. That source
//! also folds case, so that two variables could set one key. It also does not keep the name of the
//! variable.

use std::collections::BTreeMap;
use std::error::Error as _;

use config::{Config, ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::error::{SettingFault, display_value};
use super::lines::FileOrigin;
use super::reader::KnownKey;
use super::rules::ValueShape;

/// Prefix of the variables that contain settings.
pub(crate) const VARIABLE_PREFIX: &str = "IMAGESTORE_AGENT__";

/// Two spellings of one setting. A layer that sets one of them replaces both in the layers below.
const ALTERNATIVE_KEYS: [&str; 2] = ["callback.urls", "callback.url"];

/// One layer: values by full key.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingsLayer {
    values: BTreeMap<String, Value>,
}

impl SettingsLayer {
    /// Reads the layer of a TOML text from `origin`.
    pub(crate) fn from_file(
        text: &str,
        origin: &str,
        known_keys: &[KnownKey],
        faults: &mut Vec<SettingFault>,
    ) -> Self {
        let mut layer = Self::default();
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => {
                let origin = FileOrigin::new(origin, text);
                layer.insert_table("", table, &origin, known_keys, faults);
            }
            Err(error) => faults.push(SettingFault {
                key: String::new(),
                value: None,
                problem: syntax_problem(&error),
                allowed: Some("a TOML file of sections and keys".to_owned()),
                origin: Some(origin.to_owned()),
            }),
        }
        layer
    }

    /// Reads the layer of the environment. Variables other than `IMAGESTORE_AGENT__...` are
    /// ignored.
    pub(crate) fn from_environment(
        variables: &BTreeMap<String, String>,
        known_keys: &[KnownKey],
        faults: &mut Vec<SettingFault>,
    ) -> Self {
        let mut layer = Self::default();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let origin = format!("environment variable {name}");
            let key = rest.to_ascii_lowercase().replace("__", ".");
            // Only capitals are accepted, so that no two variables name one key.
            let is_upper_case = !rest.contains(|c: char| c.is_ascii_lowercase() || c == '.');
            match known_keys.iter().find(|candidate| is_upper_case && candidate.key == key) {
                Some(candidate) => {
                    layer
                        .values
                        .insert(key, Value::new(Some(&origin), typed_value(text, candidate.shape)));
                }
                None => faults.push(unknown_key_fault(&key, &origin, known_keys)),
            }
        }
        layer
    }

    fn insert_table(
        &mut self,
        above: &str,
        table: Map<String, Value>,
        origin: &FileOrigin<'_>,
        known_keys: &[KnownKey],
        faults: &mut Vec<SettingFault>,
    ) {
        let table: BTreeMap<String, Value> = table.into_iter().collect();
        for (name, value) in table {
            let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            let is_leaf = known_keys.iter().any(|candidate| candidate.key == key);
            let is_table = known_keys.iter().any(|candidate| is_below(candidate.key, &key));
            match value.kind {
                // A quoted key may contain a dot, but no known key does.
                _ if name.contains('.') || !(is_leaf || is_table) => {
                    faults.push(unknown_key_fault(&key, &origin.of_key(&key), known_keys));
                }
                ValueKind::Table(inner) if is_table => {
                    self.insert_table(&key, inner, origin, known_keys, faults);
                }
                ValueKind::Table(_) => faults.push(SettingFault {
                    origin: Some(origin.of_key(&key)),
                    key,
                    value: None,
                    problem: "is a table, but must be a single value".to_owned(),
                    allowed: Some("a single value or a list".to_owned()),
                }),
                _ if is_table => faults.push(SettingFault {
                    problem: "is a single value, but must be a table".to_owned(),
                    allowed: Some(format!("a table with {}", child_keys(&key, known_keys))),
                    value: None,
                    origin: Some(origin.of_key(&key)),
                    key,
                }),
                kind => {
                    let key_origin = origin.of_key(&key);
                    self.values.insert(key, Value::new(Some(&key_origin), kind));
                }
            }
        }
    }

    /// Merges `upper` over this layer. The result is a tree of sections.
    ///
    /// # Errors
    /// Returns no error in practice, because the layers are in memory and their keys are checked.
    pub(crate) fn merge(mut self, upper: Self) -> Result<Value, ConfigError> {
        if ALTERNATIVE_KEYS.iter().any(|key| upper.values.contains_key(*key)) {
            self.values.retain(|key, _| !ALTERNATIVE_KEYS.contains(&key.as_str()));
        }
        Ok(Config::builder().add_source(self).add_source(upper).build()?.cache)
    }
}

impl Source for SettingsLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone().into_iter().collect())
    }
}

/// Converts the text of a variable to a value. A text that does not convert stays a text, which the
/// rule rejects.
fn typed_value(text: &str, shape: ValueShape) -> ValueKind {
    let as_text = || ValueKind::String(text.to_owned());
    match shape {
        ValueShape::Text => as_text(),
        ValueShape::Flag => text.parse().map_or_else(|_| as_text(), ValueKind::Boolean),
        ValueShape::Number => match (text.parse(), text.parse()) {
            (Ok(whole), _) => ValueKind::I64(whole),
            (_, Ok(number)) => ValueKind::Float(number),
            _ => as_text(),
        },
        ValueShape::List if text.trim().is_empty() => ValueKind::Array(Vec::new()),
        ValueShape::List => {
            ValueKind::Array(text.split(',').map(|item| Value::new(None, item.trim())).collect())
        }
    }
}

/// Creates the fault for an unknown key. The value stays hidden, because it may be a secret under a
/// mistyped key.
fn unknown_key_fault(key: &str, origin: &str, known_keys: &[KnownKey]) -> SettingFault {
    let mut above = key;
    let allowed = loop {
        above = above.rsplit_once('.').map_or("", |(above, _)| above);
        let names = child_keys(above, known_keys);
        if above.is_empty() || !names.is_empty() {
            break match above {
                "" => format!("one of the sections {names}"),
                above => format!("one of the keys {names} of {above}"),
            };
        }
    };
    // The key is also operator input that goes to a terminal, so it is escaped and cut too.
    let key = display_value(&Value::new(None, key));
    SettingFault {
        key: key.trim_matches('"').to_owned(),
        value: None,
        problem: "unknown key".to_owned(),
        allowed: Some(allowed),
        origin: Some(origin.to_owned()),
    }
}

fn is_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// Returns the names directly below a table, in the order of the file.
fn child_keys(table: &str, known_keys: &[KnownKey]) -> String {
    let mut names: Vec<&str> = known_keys
        .iter()
        .filter_map(|candidate| match table {
            "" => Some(candidate.key),
            table => candidate.key.strip_prefix(table)?.strip_prefix('.'),
        })
        .filter_map(|rest| rest.split('.').next())
        .collect();
    names.dedup();
    names.join(", ")
}

/// Returns the parser's message without the quoted lines, which may contain a password.
fn syntax_problem(error: &ConfigError) -> String {
    let text = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.source().map_or_else(|| other.to_string(), ToString::to_string),
    };
    let is_quoted = |line: &&str| {
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|')
    };
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !is_quoted(line)).collect();
    format!("invalid TOML: {}", lines.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_fault_names_the_line_and_quotes_nothing() {
        let mut faults = Vec::new();
        let text = "[callback]\nurl = \"https://bob:hunter2@mn\" x\n";
        SettingsLayer::from_file(text, "/agent.toml", &[], &mut faults);
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        assert!(
            fault.problem.starts_with("invalid TOML: TOML parse error at line 2, column"),
            "{fault}"
        );
        assert!(!fault.problem.contains("hunter2"), "{fault}");
    }

    #[test]
    fn a_key_that_reads_like_an_array_index_allocates_nothing() {
        let mut faults = Vec::new();
        let known_keys = [KnownKey { key: "server.listen", shape: ValueShape::List }];
        let text = "\"server[9223372036854775807]\" = 1\n\"server.listen\" = 2\n[server]\n\"listen[99999999999]\" = 3\n";
        let file = SettingsLayer::from_file(text, "f", &known_keys, &mut faults);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(file.values.is_empty());
        let name = format!("{VARIABLE_PREFIX}SERVER[9223372036854775807]");
        let variables = BTreeMap::from([(name, String::new())]);
        let environment = SettingsLayer::from_environment(&variables, &known_keys, &mut faults);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(file.merge(environment).is_ok());
    }
}
