//! Takes typed values out of the merged layers and gathers the faults on the way.
//!
//! Promises: a key asked for is a known key; there is no second list of them. A faulty value is told
//! and its default taken in its place, so that the walk goes on to the next fault.

use std::collections::BTreeSet;

use config::{Value, ValueKind};

use crate::settings::error::{SettingFault, shown_value};
use crate::settings::rules::rule::{ValueRule, ValueShape};

/// A key the walk asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownKeys {
    /// With its section, such as `monitor.interval`.
    pub(crate) key: &'static str,
    pub(super) shape: ValueShape,
}

pub(crate) struct SettingsReader<'a> {
    tree: &'a Value,
    known: Vec<KnownKeys>,
    faults: Vec<SettingFault>,
    faulty: BTreeSet<&'static str>,
}

impl<'a> SettingsReader<'a> {
    pub(crate) fn new(tree: &'a Value) -> Self {
        Self { tree, known: Vec::new(), faults: Vec::new(), faulty: BTreeSet::new() }
    }

    /// The value of a key, or its default.
    pub(crate) fn read_key<R: ValueRule>(
        &mut self,
        key: &'static str,
        rule: &R,
        default: R::Out,
    ) -> R::Out {
        self.read_optional(key, rule).unwrap_or(default)
    }

    /// The value of a key that need not be set.
    pub(crate) fn read_optional<R: ValueRule>(
        &mut self,
        key: &'static str,
        rule: &R,
    ) -> Option<R::Out> {
        self.known.push(KnownKeys { key, shape: R::SHAPE });
        let value = self.find_value(key)?;
        let problems = match rule.parse_value(value) {
            Ok(taken) => return Some(taken),
            Err(problems) => problems,
        };
        self.faulty.insert(key);
        self.faults.extend(problems.into_iter().map(|problem| SettingFault {
            key: key.to_owned(),
            value: (!rule.hides_value()).then_some(problem.shown),
            what: problem.what,
            allowed: Some(rule.allowed_values()),
            origin: value.origin().map(str::to_owned),
        }));
        None
    }

    /// Tells a fault between keys, at the key where it is best put right; only if all of `keys` are
    /// sound, as a default that stands in for a faulty value proves nothing.
    pub(crate) fn report_conflict(
        &mut self,
        keys: &[&'static str],
        what: &str,
        allowed: Option<&str>,
    ) {
        let Some(first) = keys.first() else { return };
        if keys.iter().any(|key| self.faulty.contains(key)) {
            return;
        }
        let value = self.find_value(first);
        self.faults.push(SettingFault {
            key: (*first).to_owned(),
            value: value.map(shown_value),
            what: what.to_owned(),
            allowed: allowed.map(str::to_owned),
            origin: value.and_then(Value::origin).map(str::to_owned),
        });
    }

    /// Whether a key is set at all.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.find_value(key).is_some()
    }

    /// Every key asked for, in order.
    pub(crate) fn into_known(self) -> Vec<KnownKeys> {
        self.known
    }

    /// Every fault found, in order.
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
