//! Each problem in the health of a store is also in its diagnosis, as `doctor --json` shows it, and
//! what is recorded is in its events.

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::Value;

use super::agent::Agent;
use super::health::root;

/// Conditions that follow from the settings, the delivery or other stores. They are not recorded.
const NOT_RECORDED: [&str; 7] = [
    "unverified",
    "shared_filesystem",
    "legacy_algorithms",
    "accepts_any_host_key",
    "delivery_refused",
    "delivery_behind",
    "state_disk_trouble",
];

/// A problem of a store, as its health shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Problem {
    /// The reason why the store is Disconnected.
    Status(String),
    /// The reason of a check of the monitor that fails.
    Check(String),
    /// An active condition.
    Condition(String),
}

impl Problem {
    fn word(&self) -> &str {
        match self {
            Self::Status(word) | Self::Check(word) | Self::Condition(word) => word,
        }
    }
}

/// Returns the problems in a health.
fn problems_of(health: &Value) -> BTreeSet<Problem> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut problems = BTreeSet::new();
    if health["inventory"]["status"] == "Disconnected" && root(health)["reason"].is_string() {
        problems.insert(Problem::Status(text(&root(health)["reason"])));
    }
    for condition in health["conditions"].as_array().unwrap() {
        let is_check = ["examine", "write", "ssh"].iter().any(|kind| condition["type"] == *kind);
        match (is_check, condition["status"].as_str().unwrap()) {
            (true, "False") => problems.insert(Problem::Check(text(&condition["reason"]))),
            (false, "True") => problems.insert(Problem::Condition(text(&condition["type"]))),
            _ => false,
        };
    }
    problems
}

impl Agent {
    /// Compares the problems of a Disconnected store, as [`Agent::check_shown_problems`] does.
    pub(crate) async fn check_problems_of_failure(&self, uuid: &str) {
        let health = self.body_of(format!("/imagestore/stores/{uuid}/health")).await;
        if let Some(health) = health.filter(|it| it["inventory"]["status"] == "Disconnected") {
            self.check_shown_problems(uuid, &health).await;
        }
    }

    /// Returns the body of a successful response. The state disk may hang, and the daemon may be
    /// at a limit that the test has set.
    async fn body_of(&self, path: String) -> Option<Value> {
        let reply = self.http().send_request(Method::GET, &path, None).await.ok()?;
        (reply.status == 200).then_some(reply.body)
    }

    /// Compares the problems in the health of a store with its diagnosis and its events. A problem
    /// that begins or ends meanwhile is not compared.
    pub(crate) async fn check_shown_problems(&self, uuid: &str, health: &Value) {
        let problems = problems_of(health);
        if problems.is_empty() {
            return;
        }
        let get = async |path| self.body_of(path).await;
        let diagnosis = get(format!("/imagestore/diagnosis?store={uuid}")).await;
        let kinds = "status_changed,condition,gap";
        let path = format!("/imagestore/events?store={uuid}&kind={kinds}&limit=1000");
        let events = get(path).await;
        let Some(later) = get(format!("/imagestore/stores/{uuid}/health")).await else { return };
        let later = problems_of(&later);
        let lasting: Vec<&Problem> = problems.intersection(&later).collect();
        if let Some(diagnosis) = diagnosis {
            let shown = words_of(&diagnosis);
            for problem in &lasting {
                let is_shown = shown.contains(problem.word());
                assert!(is_shown, "{problem:?} is not in {diagnosis:#} of {health:#}");
            }
        }
        let Some(events) = events.filter(|page| page["more"] == false && page["gap"].is_null())
        else {
            return;
        };
        let events = events["events"].as_array().unwrap();
        for problem in lasting {
            let is_recorded = match problem {
                Problem::Status(reason) => {
                    let changed =
                        events.iter().rev().find(|line| line["newStatus"] == "Disconnected");
                    changed.is_some_and(|line| line["reason"] == **reason)
                }
                Problem::Condition(word) if !NOT_RECORDED.contains(&word.as_str()) => {
                    let changed = events.iter().rev().find(|line| line["condition"] == **word);
                    changed.is_some_and(|line| line["holds"] == true)
                }
                Problem::Condition(_) | Problem::Check(_) => true,
            };
            assert!(is_recorded, "{problem:?} is not in {events:#?} of {health:#}");
        }
    }
}

/// Returns the reasons and conditions of a diagnosis that are warnings or errors, or notes.
fn words_of(diagnosis: &Value) -> BTreeSet<&str> {
    let checks = diagnosis["checks"].as_array().unwrap().iter();
    let words = checks.flat_map(|check| {
        let also = check["also"].as_array().into_iter().flatten();
        check["reason"].as_str().into_iter().chain(also.filter_map(Value::as_str))
    });
    words.collect()
}
