//! The rules and their tests: accepted by `promtool`, complete, and about metrics that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;

use imagestore_agent::catalog::{DoctorCheck, Runbook, find_topics};
use imagestore_agent::model::{Condition, Reason};

use super::metric_names::exposed_names;
use super::programs::{in_tree, needs_prometheus, output_of};
use super::rules_file::{GAP_TESTS, RULES, RULES_TESTS, alerts, expressions, rules_text};

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
    let names = [format!("alertname: {alert}\n"), format!("alertname=\"{alert}\"")];
    let groups: String = groups
        .filter(|group| names.iter().any(|name| group.contains(name)))
        .map(|group| format!("\n  - name: {group}"))
        .collect();
    (!groups.is_empty()).then(|| head + &groups)
}

/// Returns the name of the alert that contains a place of the rules.
fn alert_around(rules: &str, place: usize) -> &str {
    let (_, rest) = rules[..place].rsplit_once("- alert: ").unwrap();
    rest.lines().next().unwrap()
}

/// Returns the rules without the other alerts, which cost most of the time of a test.
fn rules_of(alert: &str, rules: &str) -> String {
    const START: &str = "\n      - alert: ";
    let (head, alerts) = rules.split_once(START).unwrap();
    let own = alerts.split(START).filter(|it| it.lines().next() == Some(alert));
    own.fold(head.to_owned(), |rules, own| rules + START + own) + "\n"
}

/// Returns true if the tests of an alert fail with changed rules, which must be rules.
fn is_noticed(alert: &str, changed: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.yml");
    fs::write(&rules, changed).unwrap();
    // Without this check, a change that is no expression would count as noticed.
    output_of("promtool", &[Path::new("check"), Path::new("rules"), &rules])
        .unwrap_or_else(|output| panic!("{alert}: {output}"));
    RULES_TESTS.iter().any(|file| {
        let Some(tests) = tests_of(alert, file) else { return false };
        // A test of a failed scrape lists several alerts.
        let needed = if *file == GAP_TESTS { changed } else { &rules_of(alert, changed) };
        fs::write(&rules, needed).unwrap();
        let file = dir.path().join("tests.yml");
        fs::write(&file, tests).unwrap();
        promtool_test(&file).is_err()
    })
}

#[test]
fn a_careless_change_of_the_rules_fails_their_tests() {
    needs_prometheus!();
    const IN_PLACE: &str = "";
    let (disconnected, host_key) = ("ImageStoreDisconnected", "ImageStoreHostKeyChanged");
    let rules = rules_text();
    let mut changes = Vec::new();
    for (alert, part, other) in [
        (IN_PLACE, "[2m]) == 0", "[1m]) == 0"),
        (IN_PLACE, "offset 2m", ""),
        (IN_PLACE, "{status=\"disconnected\"}[5m]", "{status=\"disconnected\"}[30s]"),
        (
            IN_PLACE,
            "imagestore_store_status{status=\"connected\"}[1h]",
            "imagestore_store_status{status=\"connecting\"}[1h]",
        ),
        (IN_PLACE, ") == 2", ") >= 1"),
        (IN_PLACE, "{limit=\"full\"}[15m]", "{limit=\"full\"}[1m]"),
        (IN_PLACE, "imagestore_store_available_bytes[15m]", "imagestore_store_available_bytes[1m]"),
        (IN_PLACE, "imagestore_store_capacity_bytes[15m]", "imagestore_store_capacity_bytes[1m]"),
        (
            IN_PLACE,
            "max_over_time(timestamp(imagestore:store_info)[15m:1m])",
            "timestamp(imagestore:store_info)",
        ),
        (IN_PLACE, "[15m]) == 1", "[1m]) == 1"),
        (
            IN_PLACE,
            "unless on (job, instance, store) imagestore_store_condition{condition=\"full\"} == 1",
            "",
        ),
        (
            IN_PLACE,
            "unless on (job, instance, store) imagestore_store_condition{condition=\"inodes_full\"} == 1",
            "",
        ),
        (
            IN_PLACE,
            "imagestore_store_inodes_available[15m]",
            "imagestore_store_inodes_available[1m]",
        ),
        (IN_PLACE, "imagestore_store_inodes[15m]", "imagestore_store_inodes[1m]"),
        (
            IN_PLACE,
            "process_start_time_seconds[1h]",
            "imagestore_settings_reload_timestamp_seconds[1h]",
        ),
        (IN_PLACE, "or ALERTS{alertname=\"ImageStoreDisconnected\", alertstate=\"firing\"}", ""),
        (IN_PLACE, "and on (job, instance) imagestore_notices_pending > 0", ""),
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
        ("ImageStoreInodesFillingUp", "vector(0.6)", "vector(0.5)"),
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
            disconnected,
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
            changes.push((alert, format!("{alert}: {other:?} instead of {part:?}"), changed));
        }
    }
    // One run for all alerts: the test of the restart lists them.
    let short = rules.replace("keep_firing_for: 2m30s", "keep_firing_for: 1m");
    changes.push((disconnected, "a short keep_firing_for".to_owned(), short));
    // Without a change, the tests of each alert pass.
    for alert in changes.iter().map(|(alert, ..)| *alert).collect::<BTreeSet<_>>() {
        assert!(!is_noticed(alert, &rules), "{alert}");
    }
    let (first, second) = changes.split_at(changes.len() / 2);
    let passed = thread::scope(|scope| {
        let unnoticed = |changes: &[(&str, String, String)]| {
            let unnoticed = changes.iter().filter(|(alert, _, rules)| !is_noticed(alert, rules));
            unnoticed.map(|(_, change, _)| change.clone()).collect::<Vec<_>>()
        };
        let first = scope.spawn(move || unnoticed(first));
        [unnoticed(second), first.join().unwrap()].concat()
    });
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
        assert!(text.contains("summary: "), "{}", alert.name);
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

/// Returns the words after `imagestore-agent explain` in a description. A label stands for each of
/// its words.
fn explained_words(description: &str) -> Vec<String> {
    let labels: [(&str, Vec<&str>); 3] = [
        ("{{ $labels.reason }}", Reason::ALL.iter().map(|it| it.as_str()).collect()),
        ("{{ $labels.condition }}", Condition::ALL.iter().map(|it| it.as_str()).collect()),
        ("{{ $labels.which }}", vec!["server", "client"]),
    ];
    let mut found = Vec::new();
    for text in description.split("imagestore-agent explain ").skip(1) {
        let label = labels.iter().find_map(|(label, words)| {
            let (before, _) = text.split_once(label)?;
            (!before.contains(' ')).then_some((before, words))
        });
        match label {
            Some((before, words)) => {
                found.extend(words.iter().map(|word| format!("{before}{word}")));
            }
            None => found.push(text.split([' ', ';']).next().unwrap().to_owned()),
        }
    }
    found
}

/// Returns true if `explain` knows exactly this word. It also finds words inside a longer text.
fn is_explained(word: &str) -> bool {
    let is_word = word.parse::<Reason>().is_ok()
        || word.parse::<Condition>().is_ok()
        || word.parse::<DoctorCheck>().is_ok()
        || word.parse::<Runbook>().is_ok();
    is_word && !find_topics(word).is_empty()
}

#[test]
fn every_description_names_a_word_that_explain_knows() {
    for alert in alerts(&rules_text()) {
        let words = explained_words(&alert.description());
        assert!(!words.is_empty(), "{}: no explain", alert.name);
        for word in words {
            assert!(is_explained(&word), "{}: explain {word}", alert.name);
        }
    }
    assert!(!is_explained("slow_prob") && !is_explained("certificate.listener"));
}

/// Returns the values of the labels in a query or in a series, each with its label.
fn label_values(text: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for selector in text.split('{').skip(1).filter_map(|it| it.split('}').next()) {
        for matcher in selector.split(',') {
            let Some((label, values)) = matcher.split_once('=') else { continue };
            let values = values.trim_matches(['~', '"']).split('|');
            let label = label.trim().trim_end_matches('!');
            found.extend(values.map(|value| (label.to_owned(), value.to_owned())));
        }
    }
    found
}

#[test]
fn the_labels_of_the_rules_and_of_their_tests_have_words_of_the_daemon() {
    let metrics = fs::read_to_string(in_tree("docs/metrics.md")).unwrap();
    let (_, table) = metrics.split_once("\n## Labels\n").unwrap();
    let is_word = |label: &str, word: &str| match label {
        "reason" => word == "unknown" || word.parse::<Reason>().is_ok(),
        "condition" => word.parse::<Condition>().is_ok(),
        _ => table.lines().any(|row| {
            let mut cells = row.split('|').skip(1);
            let labels = cells.next().unwrap_or_default();
            labels.contains(&format!("`{label}`"))
                && cells.next().unwrap_or_default().contains(&format!("`{word}`"))
        }),
    };
    let series: Vec<String> = tests_text()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- series: ").map(str::to_owned))
        .collect();
    let all = expressions(&rules_text()) + &series.concat();
    let mut seen = BTreeSet::new();
    for (label, word) in label_values(&all) {
        if ["status", "reason", "condition", "limit", "basis", "which"].contains(&label.as_str()) {
            assert!(is_word(&label, &word), "{label}={word:?}");
            seen.insert(label);
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    for (label, word) in [("condition", "slow_prob"), ("status", "conected"), ("which", "net")] {
        assert!(!is_word(label, word), "{label}={word:?}");
    }
}

#[test]
fn a_firing_alert_outlasts_a_failed_scrape() {
    let tests = fs::read_to_string(in_tree(GAP_TESTS)).unwrap();
    // These read no sample of the newest scrape alone.
    let reads_windows = [
        "ImageStoreAgentDown",
        "ImageStoreAgentRestarts",
        "ImageStoreFillingUp",
        "ImageStoreInodesFillingUp",
    ];
    for alert in alerts(&rules_text()) {
        let keeps = alert.lines.iter().any(|line| line.trim() == "keep_firing_for: 2m30s");
        assert_eq!(keeps, !reads_windows.contains(&alert.name.as_str()), "{}", alert.name);
        let is_tested = tests.contains(&format!("alertname=\"{}\"", alert.name));
        assert!(is_tested || !keeps, "{}: no test of a failed scrape", alert.name);
    }
}

#[test]
fn the_thresholds_are_in_the_group_of_the_alerts_and_before_them() {
    let rules = rules_text();
    let groups = rules.lines().filter(|line| line.starts_with("  - name: "));
    assert_eq!(groups.count(), 1, "Prometheus evaluates each group at another time");
    let last = rules.rfind("- record: imagestore:threshold_").unwrap();
    assert!(last < rules.find("- alert: ").unwrap());
    // A number of an alert has a rule of its own.
    let (thresholds, rest) = rules.split_at(last);
    let (_, rest) = rest.split_once("\n\n").unwrap();
    assert!(!thresholds.contains("- alert: ") && rest.contains("- alert: "));
    let expressions = expressions(rest);
    let tokens = expressions.split(|c: char| c.is_whitespace() || "()".contains(c));
    for number in tokens.filter(|token| token.parse::<f64>().is_ok()) {
        assert!(["0", "1", "2"].contains(&number), "{number} has no threshold");
    }
}
