//! The running daemon, as its answers show it.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::state_report::LockState;
use crate::catalog::{DoctorCheck, Language};
use crate::cli::{ClientError, DaemonAddress, ListedStore, StoreReference};
use crate::diagnosis::{Finding, Verdict};
use crate::model::StoreUuid;
use crate::settings::Settings;

/// Maximum time of one answer. The daemon reads only its memory for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The summary of a daemon that has a process and gives no answer.
const RUNS_SILENTLY: &str = "the daemon runs, and does not answer";

/// The answers of the daemon.
#[derive(Debug, Default)]
pub(super) struct DaemonView {
    /// The findings of the daemon about itself and its stores.
    pub(super) checks: Vec<Value>,
    /// The stores of its summary.
    pub(super) stores: Vec<Value>,
    /// The version of the daemon.
    version: Option<String>,
    /// The reason why there is no answer.
    pub(super) problem: Option<String>,
}

impl DaemonView {
    /// Returns the view of a daemon that cannot be asked.
    pub(super) fn unreachable(problem: &str) -> Self {
        let problem = format!("the daemon was not asked: {problem}");
        Self { problem: Some(problem), ..Self::default() }
    }

    /// Asks the daemon for its stores and its findings. A daemon that does not answer is a finding
    /// and no error.
    ///
    /// # Errors
    /// Returns a message if a reference names no store.
    pub(super) async fn ask(
        daemon: &DaemonAddress,
        settings: &Settings,
        chosen: &[StoreReference],
        language: Language,
    ) -> Result<Self, String> {
        let prefix = settings.server.agent_prefixes.first().map_or("", String::as_str);
        let summary = ask(daemon, &format!("{prefix}/stores")).await;
        let stores = match summary {
            Ok(body) => list(&body, "stores"),
            Err(problem) => return Ok(Self { problem: Some(problem), ..Self::default() }),
        };
        let chosen = resolve_all(chosen, &stores)?;
        let mut path = format!("{prefix}/diagnosis?language={language}");
        for uuid in &chosen {
            path.push_str(&format!("&store={uuid}"));
        }
        let body = match ask(daemon, &path).await {
            Ok(body) => body,
            Err(problem) => return Ok(Self { problem: Some(problem), ..Self::default() }),
        };
        let is_chosen = |store: &Value| {
            let uuid = store["uuid"].as_str().and_then(|uuid| uuid.parse().ok());
            chosen.is_empty() || uuid.is_some_and(|uuid| chosen.contains(&uuid))
        };
        Ok(Self {
            checks: list(&body, "checks"),
            stores: stores.into_iter().filter(is_chosen).collect(),
            version: body.get("version").and_then(Value::as_str).map(str::to_owned),
            problem: None,
        })
    }

    /// Returns what the answers, or their absence, say about the daemon.
    /// `lock` is the lock of the state directory, if it is known.
    pub(super) fn local_findings(&self, lock: Option<&LockState>) -> Vec<Finding> {
        let check = DoctorCheck::ServiceAnswers;
        let own = env!("CARGO_PKG_VERSION");
        match (&self.problem, &self.version) {
            (Some(problem), _) => vec![
                Finding::new(check, Verdict::Error, with_lock(problem, lock)),
                Finding::skipped(DoctorCheck::ProgramVersion, check),
            ],
            (None, Some(version)) if version == own => {
                let summary = format!("the daemon and this program are {own}");
                vec![Finding::new(DoctorCheck::ProgramVersion, Verdict::Ok, summary)]
            }
            (None, version) => {
                let version = version.as_deref().unwrap_or("unknown");
                let summary = format!("the daemon is {version}, and this program is {own}");
                vec![Finding::new(DoctorCheck::ProgramVersion, Verdict::Warning, summary)]
            }
        }
    }
}

/// Returns the problem, and what the lock says about the process of the daemon.
fn with_lock(problem: &str, lock: Option<&LockState>) -> String {
    let problem = problem
        .strip_prefix(RUNS_SILENTLY)
        .map_or(problem, |rest| rest.strip_prefix(": ").unwrap_or(rest));
    match lock {
        Some(LockState::Held(Some(pid))) => format!("{RUNS_SILENTLY} (process {pid}): {problem}"),
        Some(LockState::Held(None)) => format!("{RUNS_SILENTLY}: {problem}"),
        Some(LockState::Free | LockState::Absent) => format!("the daemon does not run: {problem}"),
        Some(LockState::Unknown(_)) | None => problem.to_owned(),
    }
}

fn list(body: &Value, key: &str) -> Vec<Value> {
    body.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Sends one question.
///
/// # Errors
/// Returns the problem as a sentence for the operator.
async fn ask(daemon: &DaemonAddress, path: &str) -> Result<Value, String> {
    let reply = daemon.send_request_within(ANSWER_TIMEOUT, Method::GET, path).await;
    let reply = reply.map_err(|error| match error {
        ClientError::TimedOut { .. } => format!("{RUNS_SILENTLY}: {error}"),
        error => error.to_string(),
    })?;
    if reply.status == StatusCode::OK && reply.body.is_object() {
        return Ok(reply.body);
    }
    let details = reply.body.pointer("/error/details").and_then(Value::as_str);
    let details = details.unwrap_or("its response is not that of this version");
    Err(format!("the daemon answers {}: {details}", reply.status.as_u16()))
}

/// Returns the stores that the references name.
///
/// # Errors
/// Returns a message if a reference names no store, or several.
pub(super) fn resolve_all(
    chosen: &[StoreReference],
    stores: &[Value],
) -> Result<Vec<StoreUuid>, String> {
    let listed = stores.iter().filter_map(|store| {
        let (uuid, name) = (store["uuid"].as_str()?, store["name"].as_str()?);
        Some(ListedStore { uuid: uuid.parse().ok()?, name: name.to_owned() })
    });
    let listed: Vec<ListedStore> = listed.collect();
    let resolve = |reference: &StoreReference| reference.resolve(&listed);
    chosen.iter().map(resolve).collect::<Result<_, _>>().map_err(|error| error.to_string())
}
