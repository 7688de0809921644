//! The rules and their tests: accepted by `promtool`, complete, and about metrics that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use imagestore_agent::catalog::Runbook;

use super::metric_names::exposed_names;
use super::programs::{in_tree, needs_prometheus, output_of};
use super::rules_file::{RULES, RULES_TESTS, alerts, expressions, rules_text};

fn tests_text() -> String {
    RULES_TESTS.map(|tests| fs::read_to_string(in_tree(tests)).unwrap()).concat()
}

/// Returns the names in a query that can be metrics: words with a `_` or a `:`.
pub(super) fn names_in(query: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let words = query.split(|c| !is_name(c)).filter(|word| !word.is_empty());
    words.filter(|word| word.starts_with("imagestore") || word.starts_with("process_")).collect()
}

#[test]
fn promtool_accepts_the_rules() {
    needs_prometheus!();
    let check = |args: &[&Path]| output_of("promtool", args);
    let rules = in_tree(RULES);
    let output = check(&[Path::new("check"), Path::new("rules"), &rules]).unwrap();
    assert!(output.contains("SUCCESS"), "{output}");
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yml");
    fs::write(&broken, rules_text().replacen("group_left (reason)", "group_left reason", 1))
        .unwrap();
    check(&[Path::new("check"), Path::new("rules"), &broken]).unwrap_err();
}

#[test]
fn the_alerts_fire_and_stay_quiet_as_their_tests_say() {
    needs_prometheus!();
    for tests in RULES_TESTS {
        promtool_test(&in_tree(tests)).unwrap_or_else(|output| panic!("{output}"));
    }
}

fn promtool_test(tests: &Path) -> Result<String, String> {
    output_of("promtool", &[Path::new("test"), Path::new("rules"), tests])
}

/// Returns the tests of one alert in a file, with another file of rules.
fn tests_of(alert: &str, file: &str) -> Option<String> {
    let text = fs::read_to_string(in_tree(file)).unwrap();
    let text = text.replace("- imagestore-agent.rules.yml", "- rules.yml");
    let mut groups = text.split("\n  - name: ");
    let head = groups.next().unwrap().to_owned();
    let line = format!("alertname: {alert}\n");
    let groups: String =
        groups.filter(|it| it.contains(&line)).map(|it| format!("\n  - name: {it}")).collect();
    (!groups.is_empty()).then(|| head + &groups)
}

/// Returns the name of the alert that contains a place of the rules.
fn alert_around(rules: &str, place: usize) -> &str {
    let (_, rest) = rules[..place].rsplit_once("- alert: ").unwrap();
    rest.lines().next().unwrap()
}

#[test]
fn a_careless_change_of_the_rules_fails_their_tests() {
    needs_prometheus!();
    const IN_PLACE: &str = "";
    let (disconnected, host_key) = ("ImageStoreDisconnected", "ImageStoreHostKeyChanged");
    let rules = rules_text();
    let dir = tempfile::tempdir().unwrap();
    let mut passed = Vec::new();
    for (alert, part, other) in [
        (IN_PLACE, "[2m]) == 0", "[1m]) == 0"),
        (IN_PLACE, "offset 2m", ""),
        (IN_PLACE, "{status=\"disconnected\"}[5m]", "{status=\"disconnected\"}[30s]"),
        (
            IN_PLACE,
            "imagestore_store_status{status=\"connected\"}[1h]",
            "imagestore_store_status{status=\"connecting\"}[1h]",
        ),
        (IN_PLACE, "{limit=\"full\"}) == 2", "{limit=\"full\"}) >= 1"),
        (IN_PLACE, "[15m]) == 1", "[1m]) == 1"),
        (
            IN_PLACE,
            "unless on (job, instance, store) imagestore_store_condition{condition=\"full\"} == 1",
            "",
        ),
        (IN_PLACE, "(process_start_time_seconds[1h]) > 10", "(process_start_time_seconds[1h]) > 0"),
        (IN_PLACE, " or absent(imagestore:agent_up)", ""),
        (IN_PLACE, "for: 6h", "for: 5h"),
        (IN_PLACE, "for: 3m", "for: 2m"),
        (IN_PLACE, "for: 15m", "for: 14m"),
        (IN_PLACE, "for: 10m", "for: 9m"),
        (IN_PLACE, "for: 5m", "for: 4m"),
        (IN_PLACE, "for: 1m", "for: 30s"),
        ("ImageStoreFlapping", "vector(6)", "vector(5)"),
        ("ImageStoreFillingUp", "vector(7 * 86400)", "vector(9 * 86400)"),
        ("ImageStoreFillingUp", "vector(0.6)", "vector(0.5)"),
        ("ImageStoreNoticesWaiting", "vector(300)", "vector(240)"),
        ("ImageStoreCertificateEnds", "vector(21 * 86400)", "vector(22 * 86400)"),
        ("ImageStoreCertificateEnds", "vector(3 * 86400)", "vector(1 * 86400)"),
        ("ImageStoreAgentRestarts", "vector(3)", "vector(2)"),
        (
            disconnected,
            "topk by (job, instance, store) (1, timestamp(imagestore_store_fault)) > bool 0",
            "imagestore_store_fault",
        ),
        (
            disconnected,
            "topk by (job, instance, store) (1, timestamp(imagestore_store_info))",
            "imagestore_store_info",
        ),
        (
            host_key,
            "imagestore_store_status{status=\"connecting\"} == 1\n          )",
            "vector(0) == 1\n          )",
        ),
        (
            host_key,
            "imagestore_store_status{status=\"connecting\"} == 1\n          )",
            "imagestore_store_status >= 0\n          )",
        ),
    ] {
        assert!(rules.contains(part), "{part}");
        for (place, _) in rules.match_indices(part) {
            let alert = if alert.is_empty() { alert_around(&rules, place) } else { alert };
            let changed = format!("{}{other}{}", &rules[..place], &rules[place + part.len()..]);
            fs::write(dir.path().join("rules.yml"), changed).unwrap();
            let failed = RULES_TESTS.iter().filter_map(|file| tests_of(alert, file)).any(|tests| {
                let file = dir.path().join("tests.yml");
                fs::write(&file, tests).unwrap();
                promtool_test(&file).is_err()
            });
            if !failed {
                passed.push(format!("{alert}: {other:?} instead of {part:?}"));
            }
        }
    }
    assert!(passed.is_empty(), "changes that pass the tests: {passed:#?}");
}

#[test]
fn every_alert_has_a_severity_texts_and_a_runbook_in_both_languages() {
    let pages = ["docs/runbooks.md", "docs/zh/runbooks.md"]
        .map(|page| fs::read_to_string(in_tree(page)).unwrap());
    let mut seen = BTreeSet::new();
    for alert in alerts(&rules_text()) {
        let severity = alert.value("severity").to_owned();
        assert!(["warning", "critical"].contains(&severity.as_str()), "{}", alert.name);
        assert!(alert.name.starts_with("ImageStore"), "{}", alert.name);
        let url = alert.value("runbook_url");
        let runbook = url.strip_prefix("docs/runbooks.md#").unwrap();
        assert!(runbook.parse::<Runbook>().is_ok(), "{url}");
        for page in &pages {
            assert!(page.contains(&format!("<a id=\"{runbook}\"></a>\n\n## ")), "{url}");
        }
        let text = alert.lines.join("\n");
        assert!(text.contains("summary: ") && text.contains("imagestore-agent"), "{}", alert.name);
        assert!(text.contains("description: >-"), "{}", alert.name);
        assert!(seen.insert((alert.name.clone(), severity)), "{} twice", alert.name);
    }
}

#[test]
fn every_alert_is_tested_firing_and_quiet() {
    let mut cases: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut quiet: BTreeMap<String, usize> = BTreeMap::new();
    let tests = tests_text();
    let mut alert = "";
    for line in tests.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("alertname: ") {
            alert = name;
        } else if line == "exp_alerts: []" {
            *quiet.entry(alert.to_owned()).or_default() += 1;
        } else if let Some(severity) = line.trim_start_matches("- ").strip_prefix("severity: ") {
            *cases.entry((alert.to_owned(), severity.to_owned())).or_default() += 1;
        }
    }
    let mut tested = BTreeSet::new();
    for alert in alerts(&rules_text()) {
        let severity = alert.value("severity").to_owned();
        assert!(
            cases.contains_key(&(alert.name.clone(), severity)),
            "{}: no firing case",
            alert.name
        );
        assert!(quiet.contains_key(&alert.name), "{}: no quiet case", alert.name);
        tested.insert(alert.name);
    }
    assert_eq!(tested, quiet.into_keys().collect());
}

#[test]
fn every_metric_of_the_rules_is_exposed() {
    let rules = rules_text();
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let exposed = exposed_names();
    let expressions = expressions(&rules);
    let names = names_in(&expressions);
    assert!(names.len() > 20, "{names:?}");
    for name in names.iter().filter(|name| **name != "imagestore") {
        // The job of the daemons is no metric.
        let is_known = recorded.contains(name) || exposed.contains(*name);
        assert!(is_known, "{name}");
    }
    for name in &recorded {
        assert!(names.contains(name), "{name} is recorded and not used");
    }
    // The job has its name in one rule.
    assert_eq!(expressions.matches("job=").count(), 1);
}
