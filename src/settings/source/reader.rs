//! Takes typed values out of the merged layers and gathers the faults on the way.
//!
//! Promises: a key asked for is a known key; there is no second list of them. A faulty value is told
//! and its default taken in its place, so that the walk goes on to the next fault.

use std::collections::BTreeSet;

use config::{Value, ValueKind};

use crate::settings::error::{SettingFault, shown};
use crate::settings::rules::rule::{Rule, Shape};

/// A key the walk asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// With its section, such as `monitor.interval`.
    pub(crate) key: &'static str,
    pub(super) shape: Shape,
}

pub(crate) struct Reader<'a> {
    tree: &'a Value,
    known: Vec<Known>,
    faults: Vec<SettingFault>,
    faulty: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tree: &'a Value) -> Self {
        Self { tree, known: Vec::new(), faults: Vec::new(), faulty: BTreeSet::new() }
    }

    /// The value of a key, or its default.
    pub(crate) fn key<R: Rule>(&mut self, key: &'static str, rule: &R, default: R::Out) -> R::Out {
        self.optional(key, rule).unwrap_or(default)
    }

    /// The value of a key that need not be set.
    pub(crate) fn optional<R: Rule>(&mut self, key: &'static str, rule: &R) -> Option<R::Out> {
        self.known.push(Known { key, shape: R::SHAPE });
        let value = self.find(key)?;
        let problems = match rule.take(value) {
            Ok(taken) => return Some(taken),
            Err(problems) => problems,
        };
        self.faulty.insert(key);
        self.faults.extend(problems.into_iter().map(|problem| SettingFault {
            key: key.to_owned(),
            value: (!rule.hidden()).then_some(problem.shown),
            what: problem.what,
            allowed: Some(rule.allowed()),
            origin: value.origin().map(str::to_owned),
        }));
        None
    }

    /// Tells a fault between keys, at the key where it is best put right; only if all of `keys` are
    /// sound, as a default that stands in for a faulty value proves nothing.
    pub(crate) fn clash(&mut self, keys: &[&'static str], what: &str, allowed: Option<&str>) {
        let Some(first) = keys.first() else { return };
        if keys.iter().any(|key| self.faulty.contains(key)) {
            return;
        }
        let value = self.find(first);
        self.faults.push(SettingFault {
            key: (*first).to_owned(),
            value: value.map(shown),
            what: what.to_owned(),
            allowed: allowed.map(str::to_owned),
            origin: value.and_then(Value::origin).map(str::to_owned),
        });
    }

    /// Whether a key is set at all.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Every key asked for, in order.
    pub(crate) fn into_known(self) -> Vec<Known> {
        self.known
    }

    /// Every fault found, in order.
    pub(crate) fn into_faults(self) -> Vec<SettingFault> {
        self.faults
    }

    fn find(&self, key: &str) -> Option<&'a Value> {
        key.split('.').try_fold(self.tree, |value, part| match &value.kind {
            ValueKind::Table(table) => table.get(part),
            _ => None,
        })
    }
}
