//! The alerts of a real daemon, by a real Prometheus, in a real Alertmanager.

mod failures;
mod warnings;

use std::fs;
use std::path::Path;
use std::time::Instant;

use hyper::Method;
use imagestore_agent::catalog::{Language, Text, condition_guidance, reason_guidance};
use imagestore_agent::model::{Condition, Reason};
use serde_json::Value;

use super::programs::in_tree;
use super::rules_file::rules_text;
use super::servers::{POLL_INTERVAL, Server};
use crate::support::agent::{Agent, TEST_TIMEOUT, TOKEN, store};
use crate::support::sshd::{Sshd, User};

/// The disks do not reserve space, because they are small. A slow probe takes 1 s, and one that
/// takes 3 s hangs. Only the test reconnects: each login of a store with a wrong password counts.
const SETTINGS: &str = "reserved = \"0B\"\nwrite_probe_interval = \"1s\"\nnear_full = 0.8\n\
    [monitor]\ninterval = \"1s\"\nprobe_deadline = \"3s\"\nauto_reconnect = false\n";

/// Returns the rules with seconds in place of minutes and hours: each `for`, each window of a
/// state, and the age of a notice. All else is as in the file.
fn quick_rules() -> String {
    let mut text = rules_text();
    for minutes in ["1m", "3m", "5m", "10m", "15m", "6h"] {
        text = text.replace(&format!("for: {minutes}\n"), "for: 1s\n");
    }
    for (window, quick) in [
        ("keep_firing_for: 2m30s", "keep_firing_for: 2s"),
        ("[2m]", "[4s]"),
        ("offset 2m", "offset 4s"),
        ("[5m]", "[6s]"),
        ("offset 5m", "offset 6s"),
        ("[15m]", "[6s]"),
        ("[15m:1m]", "[6s:1s]"),
        ("vector(300)", "vector(3)"),
    ] {
        assert!(text.contains(window), "{window}");
        text = text.replace(window, quick);
    }
    text
}

/// A daemon that is watched.
struct Scene {
    agent: Agent,
    targets: std::path::PathBuf,
    alertmanager: Server,
    prometheus: Server,
}

/// The node in the labels.
const NODE: &str = "node-1";

impl Scene {
    fn start(agent: Agent) -> Self {
        let alertmanager = Server::alertmanager(&in_tree("deploy/prometheus/alertmanager.yml"));
        let targets = agent.path("targets.json");
        fs::write(&targets, "[]").unwrap();
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n\
             scrape_configs:\n\
             - job_name: imagestore-agent\n  authorization: {{credentials: {TOKEN}}}\n  \
             file_sd_configs: [{{files: [{targets:?}]}}]\n",
            alertmanager.address
        );
        let prometheus = Server::prometheus(&configuration, Some(&quick_rules()));
        Self { agent, targets, alertmanager, prometheus }
    }

    /// Starts the daemon, and lets Prometheus scrape it at its new port.
    fn start_agent(&mut self) {
        self.agent.start();
        let target = format!(
            "[{{\"targets\": [\"{}\"], \"labels\": {{\"instance\": \"{NODE}\"}}}}]",
            self.agent.address()
        );
        // The file is read when it is there as a whole.
        let new = self.targets.with_extension("new");
        fs::write(&new, target).unwrap();
        fs::rename(new, &self.targets).unwrap();
    }

    async fn add(&self, name: &str, dir: &Path, sshd: &Sshd, user: &User) -> String {
        let mut body = store(dir, sshd, user);
        body["params"]["name"] = name.into();
        let reply = self.agent.ask(Method::POST, "/image-store", Some(body)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["inventory"]["uuid"].as_str().unwrap().to_owned()
    }

    /// Returns the active alerts.
    fn alerts(&self) -> Vec<Value> {
        let found = self.alertmanager.ask("/api/v2/alerts").unwrap();
        found.as_array().unwrap().clone()
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<Value> {
        let is_it = |alert: &Value| {
            let has = |(label, value): &(&str, &str)| alert["labels"][*label] == *value;
            alert["labels"]["alertname"] == name && labels.iter().all(has)
        };
        self.alerts().into_iter().find(is_it)
    }

    /// Waits for an alert.
    async fn until_firing(&self, name: &str, labels: &[(&str, &str)]) -> Value {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(alert) = self.find(name, labels) {
                assert_eq!(alert["labels"]["job"], "imagestore-agent");
                return alert;
            }
            assert!(Instant::now() < deadline, "never {name} {labels:?}: {:#?}", self.alerts());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until no alert but these is active.
    async fn until_quiet(&self, but: &[&str]) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let is_other =
            |alert: &Value| !but.contains(&alert["labels"]["alertname"].as_str().unwrap());
        while self.alerts().iter().any(is_other) {
            assert!(Instant::now() < deadline, "never quiet: {:#?}", self.alerts());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until Prometheus has seen a status of a store.
    async fn until_seen(&self, uuid: &str, status: &str) {
        let labels = format!("store=\"{uuid}\", status=\"{status}\"");
        self.prometheus.until_found(&format!("imagestore_store_status{{{labels}}} == 1"));
    }

    /// Waits until a store has an alert with this reason and its remedy.
    async fn until_disconnected(&self, uuid: &str, name: &str, reason: Reason) -> Value {
        let labels = [("store", uuid), ("reason", reason.as_str())];
        let alert = self.until_firing("ImageStoreDisconnected", &labels).await;
        assert_eq!(alert["labels"]["name"], name);
        assert_eq!(alert["labels"]["instance"], NODE);
        assert_eq!(alert["labels"]["severity"], "critical");
        has_remedy(&alert, reason_guidance(reason).action);
        let summary = format!("Store {name} on {NODE} is Disconnected: {reason}");
        assert_eq!(alert["annotations"]["summary"], summary);
        alert
    }

    /// Waits until a store has an alert with this condition and its remedy.
    async fn until_condition(&self, alert: &str, uuid: &str, condition: Condition) {
        let labels = [("store", uuid), ("condition", condition.as_str())];
        let alert = self.until_firing(alert, &labels).await;
        has_remedy(&alert, condition_guidance(condition).action);
    }
}

fn has_remedy(alert: &Value, action: Text) {
    let annotations = &alert["annotations"];
    for (name, language) in [("remedy", Language::English), ("remedy_zh", Language::Chinese)] {
        let text = action.plain(language);
        assert_eq!(annotations[name], text.trim_end_matches(['.', '。']), "{alert:#}");
    }
    assert!(annotations["description"].as_str().unwrap().contains("imagestore-agent "));
}
