//! The dashboard: complete, and each of its queries finds series in a real Prometheus.

use std::collections::BTreeSet;
use std::fs;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::metric_names::exposed_names;
use super::programs::{in_tree, needs_prometheus};
use super::rules::names_in;
use super::rules_file::rules_text;
use super::servers::{Server, serve_text};
use crate::support::requirements::run;

const DASHBOARD: &str = "deploy/grafana/imagestore-agent.json";
/// A scrape of a daemon with two stores.
const EXPOSITION: &str = include_str!("exposition.txt");
/// The panels that Grafana has without a plugin.
const OWN_PANELS: [&str; 6] = ["bargauge", "row", "stat", "state-timeline", "table", "timeseries"];
const STORE: &str = "4cd9fb914f5f4a1d8d2f000000000001|77ab02c15f5f4a1d8d2f000000000002";

/// An alert without labels, as that about a job without any target.
const ABOUT_NO_NODE: &str = "
  - name: test
    rules:
      - alert: ImageStoreEveryNode
        expr: absent(imagestore_nothing)
";

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(in_tree(DASHBOARD)).unwrap()).unwrap()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Returns the queries of the panels and of the annotations.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = items(&dashboard["panels"]).iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let all = targets.chain(items(&dashboard["annotations"]["list"]));
    all.map(|it| it["expr"].as_str().unwrap().to_owned()).collect()
}

/// Returns the queries of the variables.
fn variables(dashboard: &Value) -> Vec<String> {
    let variables = items(&dashboard["templating"]["list"]).iter();
    let queried = variables.filter(|it| it["type"] == "query");
    queried.map(|it| it["query"]["query"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_panel_has_its_texts_and_needs_no_plugin() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 38, "that of Grafana 10");
    let rows: Vec<_> = items(&dashboard["panels"])
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|panel| panel["title"].as_str().unwrap())
        .collect();
    assert_eq!(rows, ["Now", "Why", "Room", "Login", "Delivery", "Daemon"]);
    let mut ids = BTreeSet::new();
    for panel in items(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap();
        assert!(OWN_PANELS.contains(&panel["type"].as_str().unwrap()), "{title}");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is used twice");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|it| it.ends_with('.')), "{title}");
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(unit.is_string(), "{title}");
        // A number of seconds in each second.
        assert!(title != "Processor" || unit == "percentunit", "{unit}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let own = |target: &Value| target["datasource"]["uid"] == "${datasource}";
        assert!(items(&panel["targets"]).iter().all(own), "{title}");
    }
    let variables = items(&dashboard["templating"]["list"]);
    let names: Vec<_> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "store"]);
    assert_eq!(variables[2]["multi"], true);
    assert_eq!(variables[2]["includeAll"], true);
}

/// Grafana applies this expression to the text of each series.
#[test]
fn the_store_variable_takes_the_name_of_the_store_and_not_of_its_host() {
    let dashboard = dashboard();
    let regex = items(&dashboard["templating"]["list"])[3]["regex"].as_str().unwrap();
    let script = format!("print \"$+{{text}} $+{{value}}\" if $ARGV[0] =~ {regex}");
    for labels in [
        r#"hostname="h1",instance="n1",name="images",nodename="h2",store="4cd9",teststore="1""#,
        r#"name="images",path="/a",store="4cd9""#,
    ] {
        let series = format!("imagestore_store_info{{{labels}}} 1 1700000000000");
        assert_eq!(run("perl", &["-e", &script, &series]), "images 4cd9", "{series}");
    }
}

#[test]
fn every_metric_of_the_dashboard_is_exposed() {
    let dashboard = dashboard();
    let (exposed, mut used) = (exposed_names(), BTreeSet::new());
    for query in queries(&dashboard).into_iter().chain(variables(&dashboard)) {
        for name in names_in(&query) {
            assert!(exposed.contains(name), "{name} in {query}");
            used.insert(name.to_owned());
        }
    }
    assert!(used.len() > 35, "{used:?}");
    let lines = EXPOSITION.lines().filter(|line| !line.starts_with('#'));
    let scraped: BTreeSet<String> =
        lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    assert_eq!(scraped, exposed, "the scrape of the next test has every metric");
}

#[test]
fn every_query_of_the_dashboard_finds_series() {
    needs_prometheus!();
    let targets = [serve_text(EXPOSITION), serve_text(EXPOSITION)].map(|it| it.to_string());
    let [first, second] = &targets;
    let prometheus = Server::prometheus(
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             scrape_configs:\n\
             - job_name: imagestore-agent\n  static_configs: [{{targets: ['{first}', '{second}']}}]\n"
        ),
        Some(&(rules_text() + ABOUT_NO_NODE)),
    );
    // A rate needs two samples.
    prometheus.until_found("count(count_over_time(up[1m]) > 2) == 2");
    prometheus.until_found("imagestore:store_down");
    prometheus.until_found("ALERTS{alertname=\"ImageStoreEveryNode\"}");
    let dashboard = dashboard();
    for (instance, store) in [(".+", ".+"), (first.as_str(), STORE), ("nothing", ".+")] {
        let is_any = instance != "nothing";
        let filled = |query: &str| {
            let query = query
                .replace("$__rate_interval", "1m")
                .replace("$job", "imagestore-agent")
                .replace("$instance", instance)
                .replace("$store", store);
            assert!(!query.contains('$'), "{query}: a variable without a value");
            query
        };
        for query in queries(&dashboard) {
            let found = prometheus.query(&filled(&query));
            let found = found.unwrap_or_else(|error| panic!("{query}: {error}"));
            if query.starts_with("count(ALERTS{") {
                let number: u32 = found[0]["value"][1].as_str().unwrap().parse().unwrap();
                assert!(number >= 1, "{instance}: an alert about no node is missing");
                assert!(is_any || number == 1, "{found:?}");
                continue;
            }
            assert_eq!(!found.is_empty(), is_any, "{instance}: {query}: {found:?}");
            for series in found.iter().filter(|_| instance == first) {
                assert_ne!(series["metric"]["instance"], second.as_str(), "{query}");
            }
        }
        for query in variables(&dashboard) {
            let found = match query.strip_suffix(')').and_then(|it| it.split_once('(')) {
                Some(("query_result", query)) => prometheus.query(&filled(query)).unwrap().len(),
                Some(("label_values", arguments)) => {
                    let (series, label) = arguments.rsplit_once(", ").unwrap();
                    let series = filled(series);
                    let series = utf8_percent_encode(&series, NON_ALPHANUMERIC);
                    let path = format!("/api/v1/label/{label}/values?match[]={series}");
                    items(&prometheus.ask(&path).unwrap()["data"]).len()
                }
                _ => panic!("{query}"),
            };
            assert!(found > 0 || !is_any, "{query} finds nothing");
        }
    }
    let misspelt = prometheus.query("imagestore_store_state").unwrap();
    assert!(misspelt.is_empty());
    prometheus.query("sum(").unwrap_err();
}
