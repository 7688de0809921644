//! The parts of the rules file, as text.

use std::fs;

use super::programs::in_tree;

/// The file with the alerts.
pub(super) const RULES: &str = "deploy/prometheus/imagestore-agent.rules.yml";
/// The files with the tests of the alerts.
pub(super) const RULES_TESTS: [&str; 3] = [
    "deploy/prometheus/imagestore-agent.rules.test.yml",
    "deploy/prometheus/imagestore-agent.forecast.test.yml",
    GAP_TESTS,
];
/// The file with the tests of failed scrapes.
pub(super) const GAP_TESTS: &str = "deploy/prometheus/imagestore-agent.gap.test.yml";
/// The first line of an alert, up to its name.
const ALERT: &str = "      - alert: ";

/// An alert.
pub(super) struct Alert {
    pub(super) name: String,
    /// Its lines, the first one with its name.
    pub(super) lines: Vec<String>,
}

impl Alert {
    /// Returns the description, as one line.
    pub(super) fn description(&self) -> String {
        let lines = self.lines.iter().map(|line| line.trim());
        let below = lines.skip_while(|line| *line != "description: >-").skip(1);
        let lines: Vec<&str> = below.take_while(|line| *line != "remedy: >-").collect();
        lines.join(" ")
    }

    /// Returns the text after a key that has its value on the same line.
    pub(super) fn value(&self, key: &str) -> &str {
        let key = format!("{key}: ");
        let mut found = self.lines.iter().filter_map(|line| line.trim().strip_prefix(&key));
        let value = found.next().unwrap_or_else(|| panic!("{} without {key}", self.name));
        assert!(found.next().is_none(), "{} has {key}twice", self.name);
        value
    }
}

/// Returns the text of the rules.
pub(super) fn rules_text() -> String {
    fs::read_to_string(in_tree(RULES)).unwrap()
}

/// Returns the alerts of a text, in their order. A name may come twice, with two severities.
pub(super) fn alerts(text: &str) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(ALERT) {
            alerts.push(Alert { name: name.to_owned(), lines: Vec::new() });
            is_inside = true;
        } else if line.starts_with("      - ") || line.starts_with("  - ") {
            is_inside = false;
        }
        if let Some(alert) = alerts.last_mut().filter(|_| is_inside) {
            alert.lines.push(line.to_owned());
        }
    }
    alerts
}

/// Returns the expressions of all rules as one text, without comments and annotations.
pub(super) fn expressions(text: &str) -> String {
    let mut found = String::new();
    let mut indent = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        if let Some(rest) = line.trim().strip_prefix("expr:") {
            indent = Some(depth);
            found += rest;
        } else if indent.is_some_and(|indent| depth > indent) {
            found += line;
        } else {
            indent = None;
        }
        found.push('\n');
    }
    found
}
