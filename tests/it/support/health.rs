//! The health view of a running daemon, and waits for its conditions.

use std::time::Duration;

use hyper::Method;
use imagestore_agent::cli::DaemonResponse;
use serde_json::Value;
use tokio::time::Instant;

use super::agent::{Agent, TEST_TIMEOUT};

/// Interval between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl Agent {
    /// Returns the health of a store.
    pub(crate) async fn health(&self, uuid: &str) -> Value {
        let path = format!("/imagestore/stores/{uuid}/health");
        let reply = self.http().send_request(Method::GET, &path, None).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Returns the summary of all stores.
    pub(crate) async fn summary(&self) -> Value {
        self.http().send_request(Method::GET, "/imagestore/stores", None).await.unwrap().body
    }

    /// Waits until the store's health meets the condition. Its problems must then be in the
    /// diagnosis and the events too.
    pub(crate) async fn until_health(
        &self,
        uuid: &str,
        what: &str,
        is_met: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        loop {
            ticks.tick().await;
            let health = self.health(uuid).await;
            if is_met(&health) {
                self.check_shown_problems(uuid, &health).await;
                return health;
            }
            assert!(Instant::now() < deadline, "never {what}: {health:#}");
        }
    }

    /// Waits for a status and returns the health.
    pub(crate) async fn until_status(&self, uuid: &str, status: &str) -> Value {
        self.until_health(uuid, status, |health| health["inventory"]["status"] == status).await
    }

    /// Waits until a condition holds or, if `holds` is false, does not.
    pub(crate) async fn until_condition(&self, uuid: &str, kind: &str, is_met: bool) -> Value {
        let what = format!("{kind} {is_met}");
        self.until_health(uuid, &what, |health| condition(health, kind).is_some() == is_met).await
    }

    /// Repeats the reconnect until it succeeds.
    pub(crate) async fn until_connects(&self, uuid: &str) -> DaemonResponse {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let reply = self.reconnect(uuid).await;
            if reply.status == 200 {
                return reply;
            }
            assert!(Instant::now() < deadline, "never connected: {}", reply.body);
        }
    }

    /// Waits until this number of further probes have ended.
    pub(crate) async fn until_probed(&self, uuid: &str, times: usize) {
        for _ in 0..times {
            let before = self.health(uuid).await;
            let last = |health: &Value| check(health, "examine")["lastProbeTime"].clone();
            self.until_health(uuid, "probed", |health| last(health) != last(&before)).await;
        }
    }
}

/// Returns a condition, if it holds.
pub(crate) fn condition<'a>(health: &'a Value, kind: &str) -> Option<&'a Value> {
    health["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == kind)
}

/// Returns one of the three checks, which are always present.
pub(crate) fn check<'a>(health: &'a Value, kind: &str) -> &'a Value {
    condition(health, kind).unwrap()
}

/// Returns the root cause of the failure of a store.
pub(crate) fn root(health: &Value) -> &Value {
    &health["reason"]["cause"]["opaque"]
}

/// Returns the reason of the deepest cause of an error.
pub(crate) fn root_of_error(body: &Value) -> &str {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    error["opaque"]["reason"].as_str().unwrap_or_default()
}

/// Returns the transitions in the history, oldest first.
pub(crate) fn changes(health: &Value) -> Vec<String> {
    let history = health["history"].as_array().unwrap().iter().rev();
    let changes = history.filter(|line| line["event"] == "status_changed");
    changes.map(|line| line["newStatus"].as_str().unwrap().to_owned()).collect()
}
