//! The agent protocol: `echo`, `connect` and `ping`, as ZStack's management node calls the agents
//! of its backup storages.
//!
//! ZStack's own agents lose their state when they restart, and the management node detects a
//! restart by that. The daemon persists its state, so it omits the uuid of a store from the `ping`
//! reply until the store has been probed once since the start. The effect is the same.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::StatusCode;

use super::AppState;
use super::response;
use crate::agent::{ReconnectError, StoreService, StoreSnapshot};
use crate::catalog::{Language, fault_action};
use crate::http::audit::{AuditAction, AuditRecord};
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::error_text::error_language;
use crate::management::{ReplyUrl, TaskReply};
use crate::model::{AttemptFailure, Reason, Status, StoreUuid, Tags};
use crate::wire::headers::{CALLBACK_URL, TASK_UUID};
use crate::wire::{AgentCommand, AgentReply, failure_text};

/// Maximum length of a `taskuuid`, in bytes. ZStack sends 32.
pub(crate) const MAX_TASK_UUID_BYTES: usize = 64;

/// Confirms that the agent responds.
pub(super) async fn handle_echo(_: Principal, headers: HeaderMap) -> Result<Response, ApiError> {
    reject_task_header(&headers)?;
    Ok(empty_response())
}

/// Reconnects a store and returns its capacity.
pub(super) async fn handle_connect<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    headers: HeaderMap,
    body: JsonBody,
) -> Response {
    let mut audit = AuditRecord::new(&caller, AuditAction::AgentConnect, None);
    let connection = async {
        caller.require_role(Role::Operate)?;
        reject_task_header(&headers)?;
        let command = AgentCommand::parse_command(&body.into_bytes()?)?;
        if let Some(url) = &command.send_command_url {
            validate_callback_url(&state, &caller, "sendCommandUrl", url).await?;
        }
        let uuid = command.uuid.parse::<StoreUuid>().ok();
        if let Some(uuid) = uuid {
            audit.set_store(uuid);
        }
        connect_store(&state.stores, uuid, command, &mut audit).await
    };
    let result = connection.await;
    audit.finish(result.map(|reply| response::json_response(StatusCode::OK, &reply)))
}

async fn connect_store<S: StoreService>(
    stores: &S,
    uuid: Option<StoreUuid>,
    command: AgentCommand,
    audit: &mut AuditRecord,
) -> Result<AgentReply, ApiError> {
    let Some((uuid, snapshot)) = uuid.and_then(|uuid| Some((uuid, stores.snapshot(uuid)?))) else {
        return Ok(unknown_store_reply(&command));
    };
    if let Some(other_path) =
        command.storage_path.filter(|path| !snapshot.store.image_dir.is_named(path))
    {
        let why = format!(
            "the image directory of this store is {}, not {other_path}; correct the url of the \
             backup storage, or add the store again",
            snapshot.store.image_dir
        );
        return Ok(AgentReply::failure_reply(why));
    }
    match stores.reconnect(uuid, Tags::default(), false).await {
        Ok(snapshot) => Ok(AgentReply::success_reply().with_capacity(snapshot.inventory.capacity)),
        // These causes pass within seconds, so the management node may retry after the
        // `Retry-After` of the 503 response.
        Err(ReconnectError::Failed(failure)) if is_transient(&failure) => {
            Err(ApiError::ConnectFailed(failure))
        }
        Err(ReconnectError::Failed(failure)) => {
            audit.set_reason(failure.root_fault().reason());
            Ok(AgentReply::failure_reply(reply_text(&failure, error_language())))
        }
        Err(ReconnectError::UnknownStore(uuid)) => {
            Ok(AgentReply::failure_reply(format!("the store {uuid} has been removed")))
        }
    }
}

/// Reports the status of a store. The reply is posted to the callback URL of the caller.
pub(super) async fn handle_ping<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let task = task_uuid(&headers)?;
    let url = headers.get(CALLBACK_URL).and_then(|url| url.to_str().ok());
    let url = url.ok_or(ApiError::InvalidTaskHeader(CALLBACK_URL))?;
    let url = validate_callback_url(&state, &caller, CALLBACK_URL, url).await?;
    let command = AgentCommand::parse_command(&body.into_bytes()?)?;
    let snapshot = command.uuid.parse().ok().and_then(|uuid| state.stores.snapshot(uuid));
    let reply =
        snapshot.map_or_else(|| unknown_store_reply(&command), |snapshot| ping_reply(&snapshot));
    let body = response::json_bytes(&reply);
    state
        .replies
        .enqueue_reply(caller.network(), TaskReply { url, task, body: body.into() })
        .map_err(ApiError::reply_refused)?;
    Ok(empty_response())
}

/// Creates the `ping` reply for a store.
fn ping_reply(snapshot: &StoreSnapshot) -> AgentReply {
    let is_probed = snapshot.checks.examine.last.is_some();
    let reply = match (snapshot.durable.status, &snapshot.durable.failure) {
        (Status::Connected, _) => AgentReply::success_reply(),
        (_, Some(failure)) => AgentReply::failure_reply(reply_text(failure, error_language())),
        (status, None) => AgentReply::failure_reply(format!("the store is {status}")),
    };
    AgentReply { uuid: is_probed.then(|| snapshot.store.uuid.to_string()), ..reply }
}

fn unknown_store_reply(command: &AgentCommand) -> AgentReply {
    let why =
        format!("no store has the uuid {}; add the store to the daemon on this node", command.uuid);
    AgentReply::failure_reply(why)
}

/// Returns the failure and its remedy in one text, because the reply has only one field for both.
fn reply_text(failure: &AttemptFailure, language: Language) -> String {
    let action = fault_action(failure.root_fault(), language);
    let text = failure_text(failure, language);
    match language {
        Language::English => format!("{text}. Remedy: {action}"),
        Language::Chinese => format!("{text}。处理：{action}"),
    }
}

fn is_transient(failure: &AttemptFailure) -> bool {
    matches!(failure.root_fault().reason(), Reason::AgentBusy | Reason::AgentStopping)
}

/// Rejects a synchronous call that has a `taskuuid`, because a client that sends one waits for an
/// asynchronous reply.
fn reject_task_header(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(TASK_UUID) { Err(ApiError::UnexpectedTaskHeader) } else { Ok(()) }
}

fn task_uuid(headers: &HeaderMap) -> Result<String, ApiError> {
    let task = headers.get(TASK_UUID).and_then(|task| task.to_str().ok());
    let task = task.filter(|task| (1..=MAX_TASK_UUID_BYTES).contains(&task.len()));
    task.map(str::to_owned).ok_or(ApiError::InvalidTaskHeader(TASK_UUID))
}

/// Returns the URL of a field, with the addresses of its host.
///
/// # Errors
/// [`ApiError::UrlNotAllowed`] if the daemon must not call it. `agent_busy` if the name was not
/// looked up.
async fn validate_callback_url<S>(
    state: &AppState<S>,
    caller: &Principal,
    name: &'static str,
    url: &str,
) -> Result<ReplyUrl, ApiError> {
    let guard = state.replies.url_guard();
    let validated = guard.validate(url, caller.network()).await;
    validated.map_err(|bad| ApiError::url_not_allowed(name, bad))
}

fn empty_response() -> Response {
    Response::new(Body::empty())
}
