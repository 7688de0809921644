//! Reader of typed values from the merged layers. It collects the faults.
//!
//! # Guarantees
//! - Every key that is read becomes a known key; there is no second list of them.
//! - A faulty value is reported and replaced by its default, so that reading continues to the next
//!   fault.

use std::collections::{BTreeMap, BTreeSet};

use config::{Value, ValueKind};

use super::error::{SettingFault, display_value};
use super::rules::{ValueRule, ValueShape};

/// The origin of each key that is set: the file and the line, or the variable.
#[derive(Clone, Debug, Default)]
pub struct SettingOrigins(BTreeMap<&'static str, String>);

impl SettingOrigins {
    /// Adds the origin of the key to each fault that has none.
    #[must_use]
    pub fn annotate(&self, mut faults: Vec<SettingFault>) -> Vec<SettingFault> {
        for fault in faults.iter_mut().filter(|fault| fault.origin.is_none()) {
            fault.origin = self.0.get(fault.key.as_str()).cloned();
        }
        faults
    }
}

/// A key that the schema reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownKey {
    /// The key with its section, such as `monitor.interval`.
    pub(crate) key: &'static str,
    pub(super) shape: ValueShape,
}

pub(crate) struct SettingsReader<'a> {
    tree: &'a Value,
    known_keys: Vec<KnownKey>,
    faults: Vec<SettingFault>,
    faulty_keys: BTreeSet<&'static str>,
}

impl<'a> SettingsReader<'a> {
    pub(crate) fn new(tree: &'a Value) -> Self {
        Self { tree, known_keys: Vec::new(), faults: Vec::new(), faulty_keys: BTreeSet::new() }
    }

    /// Returns the value of a key, or its default.
    pub(crate) fn read_key<R: ValueRule>(
        &mut self,
        key: &'static str,
        rule: &R,
        default: R::Out,
    ) -> R::Out {
        self.read_optional(key, rule).unwrap_or(default)
    }

    /// Returns the value of an optional key, or `None` if it is unset or invalid.
    pub(crate) fn read_optional<R: ValueRule>(
        &mut self,
        key: &'static str,
        rule: &R,
    ) -> Option<R::Out> {
        self.known_keys.push(KnownKey { key, shape: R::SHAPE });
        let value = self.find_value(key)?;
        let problems = match rule.parse_value(value) {
            Ok(value) => return Some(value),
            Err(problems) => problems,
        };
        self.faulty_keys.insert(key);
        self.faults.extend(problems.into_iter().map(|problem| SettingFault {
            key: key.to_owned(),
            value: (!rule.hides_value()).then_some(problem.displayed_value),
            problem: problem.text,
            allowed: Some(rule.allowed_values()),
            origin: value.origin().map(str::to_owned),
        }));
        None
    }

    /// Reports a conflict between keys at the first of `keys`. It reports nothing if one of them is
    /// invalid, because a default was compared then.
    pub(crate) fn report_conflict(
        &mut self,
        keys: &[&'static str],
        problem: &str,
        allowed: Option<&str>,
    ) {
        let Some(first) = keys.first() else { return };
        if keys.iter().any(|key| self.faulty_keys.contains(key)) {
            return;
        }
        let value = self.find_value(first);
        self.faults.push(SettingFault {
            key: (*first).to_owned(),
            value: value.map(display_value),
            problem: problem.to_owned(),
            allowed: allowed.map(str::to_owned),
            origin: value.and_then(Value::origin).map(str::to_owned),
        });
    }

    /// Returns true if a key is set.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.find_value(key).is_some()
    }

    /// Returns every key that was read, in order.
    pub(crate) fn into_known_keys(self) -> Vec<KnownKey> {
        self.known_keys
    }

    /// Returns the origins of the keys that are set.
    pub(crate) fn origins(&self) -> SettingOrigins {
        let origin = |known: &KnownKey| Some((known.key, self.find_value(known.key)?.origin()?));
        let origins = self.known_keys.iter().filter_map(origin);
        SettingOrigins(origins.map(|(key, origin)| (key, origin.to_owned())).collect())
    }

    /// Returns every fault, in order.
    pub(crate) fn into_faults(self) -> Vec<SettingFault> {
        self.faults
    }

    fn find_value(&self, key: &str) -> Option<&'a Value> {
        key.split('.').try_fold(self.tree, |value, part| match &value.kind {
            ValueKind::Table(table) => table.get(part),
            _ => None,
        })
    }
}
