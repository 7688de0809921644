//! The checks that `--fresh` and `--login` let the daemon make before it is asked for its findings.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::daemon_view::{ask, list, resolve_all};
use crate::catalog::DoctorCheck;
use crate::cli::{DaemonAddress, DoctorArgs, StoreReference};
use crate::common::report_line;
use crate::lifecycle::RequestedCheck;
use crate::settings::MonitorSettings;

/// Maximum number of stores that are checked at a time. The daemon has limits of its own.
const MAX_CONCURRENT_STORES: usize = 8;
/// The time by which an answer may exceed the deadline of its check. The daemon needs at most 2 s
/// of it, and the rest is for a busy host.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// The longest deadline that the settings of another host permit.
const LONGEST_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The time after which a request is repeated whose problem names no time. Each login is one that
/// the server may reject.
const REPEAT_DELAY: Duration = Duration::from_secs(10);

/// A check of a store that the daemon was to make.
#[derive(Clone, Debug)]
struct Outcome {
    check: RequestedCheck,
    /// The store with its uuid and name, or `None` if the stores are not known.
    store: Option<(String, String)>,
    /// The reason why the check was not made, or `None` if it was.
    problem: Option<Problem>,
    /// The number of logins that the server may still reject, from the newest answer.
    logins_left: Option<u64>,
}

/// The reason why a check was not made.
#[derive(Clone, Debug)]
struct Problem {
    text: String,
    /// The reason of the fault, if the daemon names one.
    reason: Option<String>,
    /// The seconds after which the same request may succeed, if the daemon names them.
    retry_after: Option<u64>,
    /// The time from which the request is repeated.
    repeat_at: Instant,
}

/// The checks that were requested, and their outcomes so far.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestedChecks {
    checks: Vec<RequestedCheck>,
    outcomes: Vec<Outcome>,
}

impl RequestedChecks {
    /// Creates the list of the checks that the options want.
    pub(super) fn of_options(args: &DoctorArgs) -> Self {
        let wanted = [(args.fresh, RequestedCheck::Probe), (args.login, RequestedCheck::Login)];
        let checks = wanted.into_iter().filter_map(|(is_wanted, check)| is_wanted.then_some(check));
        Self { checks: checks.collect(), outcomes: Vec::new() }
    }

    /// Returns true if any check was requested.
    pub(super) fn is_wanted(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Returns true if a requested check was not made.
    pub(super) fn has_problem(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.problem.is_some())
    }

    /// Returns true if no answer of the daemon is known, so that nothing could be requested.
    pub(super) fn lacks_daemon(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.store.is_none())
    }

    /// Lets the daemon make the checks of the chosen stores that it has not made yet, and that may
    /// be requested now. Says on stderr which ones were not made, and why, each time that this
    /// changes.
    ///
    /// # Errors
    /// Returns a message if a reference names no store.
    pub(super) async fn run(
        &mut self,
        daemon: &DaemonAddress,
        prefix: &str,
        chosen: &[StoreReference],
        monitor: Option<&MonitorSettings>,
    ) -> Result<(), String> {
        if self.checks.is_empty() || !self.outcomes.is_empty() && !self.has_problem() {
            return Ok(());
        }
        let Ok(body) = ask(daemon, &format!("{prefix}/stores")).await else {
            self.skip();
            return Ok(());
        };
        let stores = list(&body, "stores");
        let chosen = resolve_all(chosen, &stores)?;
        let named = stores.iter().filter_map(|store| {
            let (uuid, name) = (store["uuid"].as_str()?, store["name"].as_str()?);
            let is_chosen = chosen.is_empty() || chosen.iter().any(|it| it.to_string() == uuid);
            is_chosen.then(|| (uuid.to_owned(), name.to_owned()))
        });
        let known = std::mem::take(&mut self.outcomes);
        let now = Instant::now();
        let due = |store: &(String, String)| -> (Vec<Outcome>, Vec<DueCheck>) {
            let of_store = known.iter().filter(|it| it.store.as_ref() == Some(store)).cloned();
            let (settled, earlier): (Vec<_>, Vec<_>) = of_store.partition(|it| it.is_settled(now));
            let is_due = |check: &RequestedCheck| settled.iter().all(|it| it.check != *check);
            let due = self.checks.iter().copied().filter(is_due).map(|check| DueCheck {
                check,
                earlier: earlier.iter().find(|it| it.check == check).cloned(),
            });
            let due = due.collect();
            (settled, due)
        };
        let requests = Arc::new(Requests {
            daemon: daemon.clone(),
            prefix: prefix.to_owned(),
            probe_timeout: monitor.map_or(LONGEST_DEADLINE, |it| it.probe_deadline) + ANSWER_MARGIN,
            login_timeout: monitor.map_or(LONGEST_DEADLINE, |it| it.attempt_deadline)
                + ANSWER_MARGIN,
        });
        let stores: Vec<_> = named.map(|store| (due(&store), store)).collect();
        let mut waiting = stores.into_iter().enumerate();
        let (mut running, mut ended) = (JoinSet::new(), Vec::new());
        loop {
            while running.len() < MAX_CONCURRENT_STORES
                && let Some((at, ((settled, due), store))) = waiting.next()
            {
                let requests = Arc::clone(&requests);
                running.spawn(async move { (at, settled, requests.run(store, due).await) });
            }
            match running.join_next().await {
                Some(Ok(outcomes)) => ended.push(outcomes),
                Some(Err(_)) => {}
                None => break,
            }
        }
        ended.sort_by_key(|(at, ..)| *at);
        for (_, mut outcomes, new) in ended {
            outcomes.extend(new);
            outcomes.sort_by_key(|outcome| outcome.check);
            self.outcomes.extend(outcomes);
        }
        Ok(())
    }

    /// Records that the daemon gives no answer.
    pub(super) fn skip(&mut self) {
        if !self.outcomes.is_empty() {
            return;
        }
        for &check in &self.checks {
            let problem = Problem::of_text(format!("needs {}", DoctorCheck::ServiceAnswers));
            let outcome = Outcome { check, store: None, problem: Some(problem), logins_left: None };
            outcome.report(None);
            self.outcomes.push(outcome);
        }
    }

    /// Returns the outcomes for the JSON output, with `brief` only of those that were not made.
    pub(super) fn to_json(&self, brief: bool) -> Vec<Value> {
        let shown = self.outcomes.iter().filter(|it| !brief || it.problem.is_some());
        shown.map(Outcome::to_json).collect()
    }

    /// Returns the label of the first check that was not made, such as
    /// `the probe of images was not made`.
    pub(super) fn first_problem(&self) -> Option<String> {
        let outcome = self.outcomes.iter().find(|outcome| outcome.problem.is_some())?;
        Some(format!("the {} was not made", outcome.label()))
    }
}

impl Outcome {
    /// Returns true if a request now would be of no use: the check was made, or is not to be
    /// requested yet.
    fn is_settled(&self, now: Instant) -> bool {
        self.problem.as_ref().is_none_or(|problem| now < problem.repeat_at)
    }

    fn label(&self) -> String {
        match &self.store {
            Some((_, name)) => format!("{} of {name}", self.check),
            None => self.check.to_string(),
        }
    }

    /// Says on stderr that the check was not made, if the outcome of the request before it did not
    /// say so.
    fn report(&self, earlier: Option<&Self>) {
        if let Some(note) = self.note(earlier) {
            report_line(note);
        }
    }

    fn note(&self, earlier: Option<&Self>) -> Option<String> {
        let Problem { text, retry_after, .. } = self.problem.as_ref()?;
        let known = earlier.and_then(|it| it.problem.as_ref());
        if known.is_some_and(|known| known.text == *text) {
            return None;
        }
        let wait = retry_after.map(|seconds| format!("; it may be requested again in {seconds} s"));
        Some(format!("not made: {}: {text}{}", self.label(), wait.unwrap_or_default()))
    }

    fn to_json(&self) -> Value {
        let store = self.store.as_ref().map(|(uuid, name)| json!({"uuid": uuid, "name": name}));
        let problem = self.problem.as_ref();
        json!({
            "check": self.check.as_str(),
            "store": store,
            "made": problem.is_none(),
            "problem": problem.map(|it| &it.text),
            "reason": problem.and_then(|it| it.reason.as_ref()),
            "retryAfterSeconds": problem.and_then(|it| it.retry_after),
            "loginsLeft": self.logins_left,
        })
    }
}

/// A check that is to be requested now.
struct DueCheck {
    check: RequestedCheck,
    /// The outcome of the request before it.
    earlier: Option<Outcome>,
}

/// The requests of one round.
struct Requests {
    daemon: DaemonAddress,
    prefix: String,
    probe_timeout: Duration,
    login_timeout: Duration,
}

impl Requests {
    async fn run(&self, store: (String, String), due: Vec<DueCheck>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for due in due {
            let outcome = self.request(&store, &due).await;
            outcome.report(due.earlier.as_ref());
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn request(&self, store: &(String, String), due: &DueCheck) -> Outcome {
        let check = due.check;
        let (uuid, name) = store;
        let path = format!("{}/stores/{uuid}", self.prefix);
        let mut logins_left = None;
        if check == RequestedCheck::Login {
            let health = ask(&self.daemon, &format!("{path}/health")).await;
            logins_left = health.ok().and_then(|health| logins_left_in(&health));
            let known = due.earlier.as_ref().and_then(|it| it.logins_left);
            if let Some(left) = logins_left.filter(|_| logins_left != known) {
                report_line(logins_left_text(name, left));
            }
        }
        let limit = match check {
            RequestedCheck::Probe => self.probe_timeout,
            RequestedCheck::Login => self.login_timeout,
        };
        let path = format!("{path}/{check}");
        let answer = self.daemon.send_request_within(limit, Method::POST, &path).await;
        let problem = match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                if check == RequestedCheck::Login {
                    logins_left = logins_left_in(&answer.body).or(logins_left);
                }
                None
            }
            Ok(answer) => Some(Problem::of_refusal(
                answer.status,
                &answer.body,
                answer.retry_after,
                Instant::now(),
            )),
            Err(error) => Some(Problem::of_text(error.to_string())),
        };
        Outcome { check, store: Some(store.clone()), problem, logins_left }
    }
}

impl Problem {
    /// Returns a problem without a reason and a time.
    fn of_text(text: String) -> Self {
        let repeat_at = Instant::now() + REPEAT_DELAY;
        Self { text, reason: None, retry_after: None, repeat_at }
    }

    /// Returns the problem that an error of the daemon names. Its deepest cause says most.
    fn of_refusal(
        status: StatusCode,
        body: &Value,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Self {
        let mut error = body.get("error").unwrap_or(&Value::Null);
        while let Some(cause) = error.get("cause").filter(|cause| cause.is_object()) {
            error = cause;
        }
        let text = |pointer| error.pointer(pointer).and_then(Value::as_str);
        let details = text("/details").unwrap_or("its response is not that of this version");
        Self {
            text: format!("the daemon answers {}: {details}", status.as_u16()),
            reason: text("/opaque/reason").map(str::to_owned),
            retry_after: retry_after.map(|wait| wait.as_secs()),
            repeat_at: now + retry_after.unwrap_or(REPEAT_DELAY),
        }
    }
}

fn logins_left_in(health: &Value) -> Option<u64> {
    health.get("loginsLeft")?.as_u64()
}

fn logins_left_text(name: &str, left: u64) -> String {
    let more = match left {
        1 => "1 more login",
        _ => &format!("{left} more logins"),
    };
    let note = if left > 1 { "" } else { "; the daemon makes none for a request then" };
    format!("login of {name}: the server may reject {more} before logins are suspended{note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(problem: Option<Problem>) -> Outcome {
        let store = Some(("4cd9".to_owned(), "images".to_owned()));
        Outcome { check: RequestedCheck::Probe, store, problem, logins_left: None }
    }

    #[tokio::test]
    async fn a_refusal_names_its_deepest_cause_and_its_wait() {
        let body = json!({"error": {"details": "general", "cause": {
            "details": "an earlier probe hangs", "opaque": {"reason": "probe_stuck"}}}});
        let now = Instant::now();
        let problem = Problem::of_refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &body,
            Some(Duration::from_secs(7)),
            now,
        );
        assert_eq!(problem.text, "the daemon answers 503: an earlier probe hangs");
        assert_eq!(problem.reason.as_deref(), Some("probe_stuck"));
        let refused = outcome(Some(problem));
        assert!(refused.is_settled(now) && !refused.is_settled(now + Duration::from_secs(7)));
        assert_eq!(
            refused.to_json(),
            json!({"check": "probe", "store": {"uuid": "4cd9", "name": "images"}, "made": false,
                   "problem": "the daemon answers 503: an earlier probe hangs",
                   "reason": "probe_stuck", "retryAfterSeconds": 7, "loginsLeft": null})
        );
        let foreign = Problem::of_refusal(StatusCode::NOT_FOUND, &json!([]), None, now);
        assert!(foreign.text.contains("not that of this version"), "{foreign:?}");
        let foreign = outcome(Some(foreign));
        assert!(foreign.is_settled(now), "the same answer is expected");
        assert!(!foreign.is_settled(now + REPEAT_DELAY), "a later round may be answered");
        assert!(outcome(None).is_settled(now + Duration::from_secs(3600)));
    }

    #[test]
    fn a_problem_is_said_each_time_that_it_changes() {
        let of = |text: &str| outcome(Some(Problem::of_text(text.to_owned())));
        let note = Some("not made: probe of images: busy".to_owned());
        assert_eq!(of("busy").note(None), note);
        assert_eq!(of("busy").note(Some(&of("busy"))), None);
        assert_eq!(of("busy").note(Some(&of("late"))), note);
        assert_eq!(of("busy").note(Some(&outcome(None))), note);
        assert_eq!(outcome(None).note(Some(&of("busy"))), None);
    }

    #[test]
    fn a_brief_output_has_only_what_was_not_made() {
        let problem = Problem::of_text("busy".into());
        let requested = RequestedChecks {
            checks: vec![RequestedCheck::Probe],
            outcomes: vec![outcome(None), outcome(Some(problem))],
        };
        let made = |brief| -> Vec<Value> {
            requested.to_json(brief).iter().map(|it| it["made"].clone()).collect()
        };
        assert_eq!(
            (made(false), made(true)),
            (vec![true.into(), false.into()], vec![false.into()])
        );
        assert!(requested.has_problem() && !requested.lacks_daemon());
        assert_eq!(requested.first_problem().as_deref(), Some("the probe of images was not made"));
    }

    #[test]
    fn the_logins_that_are_left_are_named() {
        assert!(logins_left_text("images", 3).contains("reject 3 more logins before"));
        let last = logins_left_text("images", 1);
        assert!(last.contains("1 more login before") && last.ends_with("request then"), "{last}");
    }
}
