//! The running daemon, as its answers show it.

use std::io;
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::FILES_TIMEOUT;
use super::path_worker::try_files;
use super::state_report::LockState;
use crate::catalog::{CheckCase, DoctorCheck, Language, Observation};
use crate::cli::{
    ClientError, ConnectionArgs, DaemonAddress, ListedStore, StoreReference, daemon_address,
};
use crate::common::run_blocking;
use crate::diagnosis::{Finding, Summary, Verdict};
use crate::model::{Secret, StoreUuid};
use crate::settings::Settings;

/// Maximum time of one answer. The daemon reads only its memory for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The reason why there is no usable answer, each with a sentence for the operator.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AnswerProblem {
    /// No question was sent.
    NotAsked(String),
    /// The daemon cannot be reached.
    Unreachable(String),
    /// The daemon accepted the connection, and did not answer in time or at all.
    TimedOut(String),
    /// This user may not open the socket.
    SocketDenied(String),
    /// The daemon answers, and does not accept the credentials of this command.
    CredentialsDenied(String),
    /// The daemon answers, and refuses the question for another reason.
    Refused(String),
    /// The answer is not one of this version.
    Foreign(String),
}

impl AnswerProblem {
    fn of_client(daemon: &DaemonAddress, error: &ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Unreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied
                    && matches!(daemon, DaemonAddress::Socket(_)) =>
            {
                Self::SocketDenied(text)
            }
            // Both have accepted the connection.
            ClientError::TimedOut { .. } | ClientError::ExchangeFailed { .. } => {
                Self::TimedOut(text)
            }
            ClientError::InvalidResponse { .. } | ClientError::UnexpectedResponse { .. } => {
                Self::Foreign(text)
            }
            _ => Self::Unreachable(text),
        }
    }

    /// Classifies a reply that is not the expected one. A daemon of another version does not know
    /// the path or a parameter.
    fn of_reply(status: StatusCode, body: &Value) -> Self {
        let details = body.pointer("/error/details").and_then(Value::as_str);
        let text = |details| format!("the daemon answers {}: {details}", status.as_u16());
        match (status, details) {
            (_, None) => Self::Foreign(text("its response is not that of this version")),
            (
                StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED,
                Some(details),
            ) => Self::Foreign(text(details)),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(details)) => {
                Self::CredentialsDenied(text(details))
            }
            (_, Some(details)) => Self::Refused(text(details)),
        }
    }

    /// Returns the problem, and what the lock of the state directory says about the process of the
    /// daemon. The lock says nothing new about a daemon that answers.
    fn summary(&self, lock: Option<&LockState>) -> Summary {
        let (is_late, problem) = match self {
            Self::CredentialsDenied(problem) | Self::Refused(problem) | Self::Foreign(problem) => {
                return Summary::quoted(problem);
            }
            // A daemon that holds the lock may listen on the socket, and this user cannot know it.
            Self::SocketDenied(problem) if lock != Some(&LockState::Free) => {
                return Summary::quoted(problem);
            }
            Self::NotAsked(problem) | Self::Unreachable(problem) | Self::SocketDenied(problem) => {
                (false, problem)
            }
            Self::TimedOut(problem) => (true, problem),
        };
        let problem = problem.clone();
        let observation = match lock {
            Some(LockState::Held(Some(pid))) => {
                Observation::ProcessSilent { pid: pid.to_string(), problem }
            }
            Some(LockState::Held(None)) => Observation::DaemonSilent { problem },
            // A process has accepted the connection.
            _ if is_late => Observation::NoAnswer { problem },
            Some(LockState::Free) => Observation::DaemonNotRunning { problem },
            Some(LockState::Absent | LockState::Unknown(_)) | None => {
                return Summary::quoted(problem);
            }
        };
        observation.into()
    }

    /// Returns the sentence.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::NotAsked(text)
            | Self::Unreachable(text)
            | Self::TimedOut(text)
            | Self::SocketDenied(text)
            | Self::CredentialsDenied(text)
            | Self::Refused(text)
            | Self::Foreign(text) => text,
        }
    }

    /// Returns the finding about the version of the daemon.
    fn version_finding(&self) -> Finding {
        let check = DoctorCheck::ProgramVersion;
        match self {
            Self::Foreign(_) => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let summary = Observation::ProbablyOtherVersion { version };
                Finding::new(check, Verdict::Warning, summary)
            }
            Self::NotAsked(_)
            | Self::Unreachable(_)
            | Self::TimedOut(_)
            | Self::SocketDenied(_)
            | Self::CredentialsDenied(_)
            | Self::Refused(_) => Finding::without_daemon(check, DoctorCheck::ServiceAnswers),
        }
    }

    /// Returns the finding about the answers. A restart of the daemon does not help a command that
    /// may not ask it.
    fn answer_finding(&self, lock: Option<&LockState>) -> Finding {
        let case = match self {
            Self::SocketDenied(_) if lock == Some(&LockState::Free) => None,
            Self::SocketDenied(_) => Some(CheckCase::SocketDenied),
            Self::CredentialsDenied(_) => Some(CheckCase::CredentialsDenied),
            _ => None,
        };
        let finding = Finding::new(DoctorCheck::ServiceAnswers, Verdict::Error, self.summary(lock));
        Finding { case, ..finding }
    }
}

/// The answers of the daemon.
#[derive(Debug, Default)]
pub(super) struct DaemonView {
    /// The findings of the daemon about itself and its stores.
    pub(super) checks: Vec<Value>,
    /// The stores of its summary.
    pub(super) stores: Vec<Value>,
    /// The version of the daemon.
    pub(super) version: Option<String>,
    /// The reason why there is no answer.
    pub(super) problem: Option<AnswerProblem>,
}

impl DaemonView {
    /// Returns the view of a daemon that cannot be asked.
    pub(super) fn not_asked(problem: &str) -> Self {
        let problem = format!("the daemon was not asked: {problem}");
        Self { problem: Some(AnswerProblem::NotAsked(problem)), ..Self::default() }
    }

    /// Asks the daemon for its stores and its findings. A daemon that does not answer is a finding
    /// and no error.
    ///
    /// # Errors
    /// Returns a message if a reference names no store.
    pub(super) async fn ask(
        daemon: &DaemonAddress,
        settings: &Settings,
        references: &[StoreReference],
        language: Language,
    ) -> Result<Self, String> {
        let prefix = prefix(settings);
        let summary = ask(daemon, &format!("{prefix}/stores")).await;
        let stores = match summary {
            Ok(body) => list(&body, "stores"),
            Err(problem) => return Ok(Self { problem: Some(problem), ..Self::default() }),
        };
        let chosen = resolve_all(references, &stores)?;
        let mut path = format!("{prefix}/diagnosis?language={language}");
        for uuid in &chosen {
            path.push_str(&format!("&store={uuid}"));
        }
        let body = match ask(daemon, &path).await {
            Ok(body) => body,
            Err(problem) => {
                // A chosen store may have been removed since the list was read.
                if let Ok(body) = ask(daemon, &format!("{prefix}/stores")).await {
                    resolve_all(references, &list(&body, "stores"))?;
                }
                return Ok(Self { problem: Some(problem), ..Self::default() });
            }
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
        let own = env!("CARGO_PKG_VERSION");
        match (&self.problem, &self.version) {
            (Some(problem), _) => vec![problem.answer_finding(lock), problem.version_finding()],
            (None, Some(version)) if version == own => {
                let summary = Observation::SameVersion { version: own.to_owned() };
                vec![Finding::new(DoctorCheck::ProgramVersion, Verdict::Ok, summary)]
            }
            (None, version) => {
                let daemon = version.as_deref().unwrap_or("unknown").to_owned();
                let summary = Observation::OtherVersion { daemon, program: own.to_owned() };
                vec![Finding::new(DoctorCheck::ProgramVersion, Verdict::Warning, summary)]
            }
        }
    }
}

/// Returns the daemon at `--url`, with the token and the certificates for it, or `None` without
/// `--url`.
///
/// # Errors
/// Returns a message if the options are invalid, or if a file that they name cannot be used.
pub(super) async fn remote_daemon(
    connection: &ConnectionArgs,
) -> Result<Option<DaemonAddress>, String> {
    if connection.daemon_url.is_none() {
        return Ok(None);
    }
    let token = std::env::var("IMAGESTORE_AGENT_TOKEN").ok().map(Secret::new);
    let ConnectionArgs { token_file, ca_file, client_cert, client_key, .. } = connection;
    let files: Vec<&Path> = [token_file, ca_file, client_cert, client_key]
        .into_iter()
        .filter_map(Option::as_deref)
        .collect();
    let unread = |problem: String| {
        const OPTIONS: &str = "--token-file, --ca-file, --client-cert or --client-key";
        format!("cannot read a file that {OPTIONS} names: {problem}")
    };
    try_files(&files, FILES_TIMEOUT).await.map_err(unread)?;
    let connection = connection.clone();
    let read = move || {
        let address = daemon_address(&connection, &Settings::built_in(), token);
        address.map_err(|error| error.to_string())
    };
    // A pipe may have no writer.
    match run_blocking(Instant::now() + FILES_TIMEOUT, read).await {
        Ok(address) => address.map(Some),
        Err(error) => Err(unread(error.to_string())),
    }
}

/// Returns the prefix of the paths that the commands use.
pub(super) fn prefix(settings: &Settings) -> &str {
    settings.server.agent_prefixes.first().map_or("", String::as_str)
}

/// Returns the items of a list in an answer.
pub(super) fn list(body: &Value, key: &str) -> Vec<Value> {
    body.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Sends one question.
pub(super) async fn ask(daemon: &DaemonAddress, path: &str) -> Result<Value, AnswerProblem> {
    let reply = daemon.send_request_within(ANSWER_TIMEOUT, Method::GET, path).await;
    let reply = reply.map_err(|error| AnswerProblem::of_client(daemon, &error))?;
    if reply.status == StatusCode::OK && reply.body.is_object() {
        return Ok(reply.body);
    }
    Err(AnswerProblem::of_reply(reply.status, &reply.body))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_problem_and_the_lock_decide_what_is_said_about_the_daemon() {
        use AnswerProblem::{NotAsked, TimedOut, Unreachable};
        let refusal = |status| {
            AnswerProblem::of_reply(status, &json!({"error": {"details": "no such path"}}))
        };
        let late = || TimedOut("late".into());
        let held = || Some(LockState::Held(Some(12)));
        for (problem, lock, summary, verdict) in [
            (
                late(),
                held(),
                "the daemon runs, and does not answer (process 12): late",
                Verdict::Skipped,
            ),
            (late(), None, "the daemon does not answer: late", Verdict::Skipped),
            (
                Unreachable("refused".into()),
                Some(LockState::Free),
                "the daemon does not run: refused",
                Verdict::Skipped,
            ),
            // A connection that was accepted proves more than a free lock, and a missing lock
            // proves nothing.
            (late(), Some(LockState::Free), "the daemon does not answer: late", Verdict::Skipped),
            (late(), Some(LockState::Absent), "the daemon does not answer: late", Verdict::Skipped),
            (
                Unreachable("no such file".into()),
                Some(LockState::Absent),
                "no such file",
                Verdict::Skipped,
            ),
            (NotAsked("hung".into()), None, "hung", Verdict::Skipped),
            // The lock says nothing new about a daemon that answers.
            (
                refusal(StatusCode::NOT_FOUND),
                held(),
                "the daemon answers 404: no such path",
                Verdict::Warning,
            ),
            (
                AnswerProblem::of_reply(StatusCode::OK, &json!([])),
                held(),
                "the daemon answers 200: its response is not that of this version",
                Verdict::Warning,
            ),
            (
                refusal(StatusCode::FORBIDDEN),
                held(),
                "the daemon answers 403: no such path",
                Verdict::Skipped,
            ),
        ] {
            let view = DaemonView { problem: Some(problem), ..DaemonView::default() };
            let findings = view.local_findings(lock.as_ref());
            let found: Vec<_> = findings.iter().map(|it| (it.check, it.verdict)).collect();
            let expected = [
                (DoctorCheck::ServiceAnswers, Verdict::Error),
                (DoctorCheck::ProgramVersion, verdict),
            ];
            let text = findings[0].summary.text(Language::English);
            assert_eq!((found.as_slice(), text.as_str()), (&expected[..], summary));
        }
    }

    #[test]
    fn a_refusal_of_this_command_has_the_action_that_helps_it() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let denied = ClientError::Unreachable { address: "x".into(), source: denied };
        let socket = DaemonAddress::Socket("/run/x".into());
        let url = DaemonAddress::at_url("http://127.0.0.1:1", None).unwrap();
        let reply = |status| {
            AnswerProblem::of_reply(status, &json!({"error": {"details": "it is refused"}}))
        };
        for (problem, case) in [
            (reply(StatusCode::UNAUTHORIZED), Some(CheckCase::CredentialsDenied)),
            (reply(StatusCode::FORBIDDEN), Some(CheckCase::CredentialsDenied)),
            (reply(StatusCode::TOO_MANY_REQUESTS), None),
            (AnswerProblem::of_client(&socket, &denied), Some(CheckCase::SocketDenied)),
            // A rule of the firewall.
            (AnswerProblem::of_client(&url, &denied), None),
        ] {
            assert_eq!(problem.answer_finding(None).case, case, "{problem:?}");
        }
        // This daemon does not run.
        let problem = AnswerProblem::of_client(&socket, &denied);
        assert_eq!(problem.answer_finding(Some(&LockState::Free)).case, None);
    }
}
