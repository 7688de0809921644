//! The agent protocol: `echo`, `connect` and `ping`, as ZStack's management node calls the agents of its
//! backup storages.
//!
//! Its own agents lose what they know with their process, and that is how the management node finds out
//! that one was restarted. This one says nothing of a store until it has looked at it since its start,
//! which comes to the same and is true.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use hyper::{StatusCode, Uri};

use super::error::Refusal;
use super::response;
use super::state::Desk;
use crate::agent::{ReconnectError, StoreService, StoreSnapshot};
use crate::http::auth::agent_allowlist::{CONNECT, ECHO, PING};
use crate::http::auth::principal::Caller;
use crate::http::auth::role::Role;
use crate::http::middleware::audit::Audit;
use crate::http::middleware::body::JsonBody;
use crate::management::TaskReply;
use crate::model::{AttemptFailure, ImageDir, Reason, Status, StoreUuid, Tags};
use crate::wire::{AgentCommand, AgentReply, CALLBACK_URL, TASK};

/// Longest `taskuuid`; ZStack's have 32.
const TASK_BYTES: usize = 64;

/// The calls under one prefix.
pub(super) fn routes<S: StoreService>(
    router: Router<Arc<Desk<S>>>,
    prefix: &str,
) -> Router<Arc<Desk<S>>> {
    ["", "/"].iter().fold(router, |router, slash| {
        router
            .route(&format!("{prefix}/{ECHO}{slash}"), post(echo))
            .route(&format!("{prefix}/{CONNECT}{slash}"), post(connect::<S>))
            .route(&format!("{prefix}/{PING}{slash}"), post(ping::<S>))
    })
}

/// The agent is there.
async fn echo(_: Caller, headers: HeaderMap) -> Result<Response, Refusal> {
    at_once(&headers)?;
    Ok(nothing())
}

/// Proves a store usable anew.
async fn connect<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
    headers: HeaderMap,
    body: JsonBody,
) -> Response {
    let mut audit = Audit::of(&caller, "agent_connect", None);
    let connecting = async {
        caller.needs(Role::Operate)?;
        at_once(&headers)?;
        let command = AgentCommand::parse_command(&body.bytes()?)?;
        if let Some(url) = &command.send_command_url {
            validate_callback_url(&desk, "sendCommandUrl", url).await?;
        }
        let uuid = command.uuid.parse::<StoreUuid>().ok();
        if let Some(uuid) = uuid {
            audit.concerns(uuid);
        }
        connected(&desk.stores, uuid, command, &mut audit).await
    };
    let reply = connecting.await;
    audit.close(reply.map(|reply| response::json(StatusCode::OK, &reply)))
}

async fn connected<S: StoreService>(
    stores: &S,
    uuid: Option<StoreUuid>,
    command: AgentCommand,
    audit: &mut Audit,
) -> Result<AgentReply, Refusal> {
    let Some((uuid, view)) = uuid.and_then(|uuid| Some((uuid, stores.snapshot(uuid)?))) else {
        return Ok(unknown(&command));
    };
    if let Some(elsewhere) = command.storage_path.filter(|path| !is(&view.store.image_dir, path)) {
        let why = format!(
            "the image directory of this store is {}, not {elsewhere}: correct the url of the backup \
             storage, or add the store anew",
            view.store.image_dir
        );
        return Ok(AgentReply::failed_reply(why));
    }
    match stores.reconnect(uuid, Tags::default(), false).await {
        Ok(view) => Ok(AgentReply::ok_reply().with_capacity(view.inventory.capacity)),
        // Asked again a second later, the management node may do better.
        Err(ReconnectError::Failed(failure)) if passes(&failure) => {
            Err(Refusal::NotConnected(failure))
        }
        Err(ReconnectError::Failed(failure)) => {
            audit.failed(failure.root_fault().reason());
            Ok(AgentReply::failed_reply(why(&failure)))
        }
        Err(ReconnectError::UnknownStore(uuid)) => {
            Ok(AgentReply::failed_reply(format!("the store {uuid} has been removed")))
        }
    }
}

/// How a store is; answered where the caller waits for it.
async fn ping<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    _: Caller,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let task = task(&headers)?;
    let url = headers.get(CALLBACK_URL).and_then(|url| url.to_str().ok());
    let url = url.ok_or(Refusal::NoTask(CALLBACK_URL))?;
    let url = validate_callback_url(&desk, CALLBACK_URL, url).await?;
    let command = AgentCommand::parse_command(&body.bytes()?)?;
    let view = command.uuid.parse().ok().and_then(|uuid| desk.stores.snapshot(uuid));
    let reply = view.map_or_else(|| unknown(&command), |view| pulse(&view));
    let body = serde_json::to_vec(&reply).unwrap_or_default();
    desk.replies
        .enqueue_reply(TaskReply { url, task, body })
        .map_err(|_| Refusal::answers_wait())?;
    Ok(nothing())
}

/// How a store is.
fn pulse(view: &StoreSnapshot) -> AgentReply {
    let known = view.checks.examine.last.is_some();
    let reply = match (view.standing.status, &view.standing.failure) {
        (Status::Connected, _) => AgentReply::ok_reply(),
        (_, Some(failure)) => AgentReply::failed_reply(why(failure)),
        (status, None) => AgentReply::failed_reply(format!("the store is {status}")),
    };
    AgentReply { uuid: known.then(|| view.store.uuid.to_string()), ..reply }
}

fn unknown(command: &AgentCommand) -> AgentReply {
    let why = format!("no store has the uuid {}: add it to this node's daemon", command.uuid);
    AgentReply::failed_reply(why)
}

/// Whether a path is this directory's.
fn is(dir: &ImageDir, path: &str) -> bool {
    ImageDir::parse(path).is_ok_and(|named| named == *dir)
}

/// What is wrong and what helps, in the one text that there is room for.
fn why(failure: &AttemptFailure) -> String {
    format!("{failure}. Remedy: {}", failure.root_fault().remedy())
}

fn passes(failure: &AttemptFailure) -> bool {
    matches!(failure.root_fault().reason(), Reason::AgentBusy | Reason::AgentStopping)
}

/// A call that is answered at once has no `taskuuid`: who sends one waits for a second answer.
fn at_once(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(TASK) { Err(Refusal::NotLater) } else { Ok(()) }
}

fn task(headers: &HeaderMap) -> Result<String, Refusal> {
    let task = headers.get(TASK).and_then(|task| task.to_str().ok());
    let task = task.filter(|task| (1..=TASK_BYTES).contains(&task.len()));
    task.map(str::to_owned).ok_or(Refusal::NoTask(TASK))
}

/// Returns the URL of a field, if the daemon may call it.
async fn validate_callback_url<S>(
    desk: &Desk<S>,
    name: &'static str,
    url: &str,
) -> Result<Uri, Refusal> {
    let networks = desk.replies.url_guard();
    networks.validate(url).await.map_err(|bad| Refusal::UrlOutside { name, bad })
}

fn nothing() -> Response {
    Response::new(Body::empty())
}
