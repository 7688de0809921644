//! The routes that change stores. A route checks the role and reads the request. A change is run as
//! a [`StoreOperation`], and has an audit line.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::job::call::OptionalJobCall;
use super::operation::StoreOperation;
use super::query_string::QueryParameters;
use super::response::SchemaRequest;
use super::{AppState, StoreIdPath, ZonePath};
use crate::agent::StoreService;
use crate::http::audit::{AuditAction, AuditRecord};
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::model::{PlacementChange, StoreUuid};
use crate::wire::{ActionPath, ParsedRequest, StoreAction, parse_add_store, parse_attachment};

pub(super) async fn act_on_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    schema: SchemaRequest,
    call: OptionalJobCall,
    body: JsonBody,
) -> Response {
    run_action(&state, &caller, schema, (ActionPath::ImageStore, store), call, body).await
}

/// Carries out the actions that every backup storage of ZStack has.
pub(super) async fn act_on_any_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    schema: SchemaRequest,
    call: OptionalJobCall,
    body: JsonBody,
) -> Response {
    run_action(&state, &caller, schema, (ActionPath::BackupStorage, store), call, body).await
}

async fn run_action<S: StoreService>(
    state: &Arc<AppState<S>>,
    caller: &Principal,
    schema: SchemaRequest,
    (path, store): (ActionPath, Option<StoreUuid>),
    call: OptionalJobCall,
    body: JsonBody,
) -> Response {
    let audit = AuditRecord::new(caller, AuditAction::Reconnect, store);
    let parse = || {
        let store = store.ok_or(ApiError::InvalidUuid)?;
        let action = StoreAction::parse_action(path, &body.into_bytes()?)?;
        let action = count_unknown_fields(state, action);
        Ok(StoreOperation::from_action(store, action, caller.role()))
    };
    run_operation(state, caller, schema, audit, call, parse).await
}

pub(super) async fn attach_zone<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    path: ZonePath,
    schema: SchemaRequest,
    call: OptionalJobCall,
    body: JsonBody,
) -> Response {
    let audit = AuditRecord::new(&caller, AuditAction::AttachZone, path.store);
    let parse = || {
        let (store, zone) = path.store.zip(path.zone).ok_or(ApiError::InvalidUuid)?;
        count_unknown_fields(&state, parse_attachment(&body.into_bytes()?)?);
        let change = PlacementChange::AttachZone(zone);
        Ok(StoreOperation::ChangePlacement { store, change })
    };
    run_operation(&state, &caller, schema, audit, call, parse).await
}

pub(super) async fn detach_zone<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    path: ZonePath,
    schema: SchemaRequest,
    call: OptionalJobCall,
) -> Response {
    let audit = AuditRecord::new(&caller, AuditAction::DetachZone, path.store);
    let parse = || {
        let (store, zone) = path.store.zip(path.zone).ok_or(ApiError::InvalidUuid)?;
        let change = PlacementChange::DetachZone(zone);
        Ok(StoreOperation::ChangePlacement { store, change })
    };
    run_operation(&state, &caller, schema, audit, call, parse).await
}

pub(super) async fn add_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    schema: SchemaRequest,
    call: OptionalJobCall,
    body: JsonBody,
) -> Response {
    let audit = AuditRecord::new(&caller, AuditAction::Add, None);
    let parse = || {
        let request = parse_add_store(&body.into_bytes()?, &state.allowed_roots)?;
        let request = count_unknown_fields(&state, request);
        Ok(StoreOperation::Add(Box::new(request)))
    };
    run_operation(&state, &caller, schema, audit, call, parse).await
}

pub(super) async fn remove_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    schema: SchemaRequest,
    call: OptionalJobCall,
    uri: Uri,
) -> Response {
    let audit = AuditRecord::new(&caller, AuditAction::Remove, store);
    let parse = || {
        let store = store.ok_or(ApiError::InvalidUuid)?;
        check_delete_mode(uri.query().unwrap_or_default())?;
        Ok(StoreOperation::Remove { store })
    };
    run_operation(&state, &caller, schema, audit, call, parse).await
}

/// Checks the `deleteMode` of a query: one of ZStack's in any case, empty as the Go SDK sends it,
/// or absent.
fn check_delete_mode(query: &str) -> Result<(), ApiError> {
    let query = QueryParameters::decode(query).map_err(ApiError::InvalidParameter)?;
    let mut modes = query.pairs().filter(|(name, _)| *name == "deleteMode").map(|(_, mode)| mode);
    let (mode, further) = (modes.next().unwrap_or_default(), modes.next());
    let is_known = ["", "Permissive", "Enforcing"].iter().any(|m| m.eq_ignore_ascii_case(mode));
    if is_known && further.is_none() { Ok(()) } else { Err(ApiError::InvalidDeleteMode) }
}

/// Runs the operation of a request and creates the response. A caller that may change nothing does
/// not learn that its request is invalid.
pub(super) async fn run_operation<S: StoreService>(
    state: &Arc<AppState<S>>,
    caller: &Principal,
    schema: SchemaRequest,
    mut audit: AuditRecord,
    OptionalJobCall(call): OptionalJobCall,
    parse: impl FnOnce() -> Result<StoreOperation, ApiError>,
) -> Response {
    let parse_request = || {
        caller.require_role(Role::Operate)?;
        let call = call?.map(|call| call.with_schema(schema));
        Ok((call, parse_operation(caller, &mut audit, parse)))
    };
    let (call, operation) = match parse_request() {
        Ok(request) => request,
        Err(error) => return audit.finish(Err(error)),
    };
    let role = caller.role();
    match (call, operation) {
        (Some(_), Err(error)) if error.is_direct_answer() => audit.finish(Err(error)),
        (Some(call), Err(error)) => {
            let operation = async move |_| Err(error);
            state.jobs.run_call(call, audit, ApiError::ConnectFailed, operation).await
        }
        (Some(call), Ok(operation)) => {
            let (stores, failure_error) = (state.stores.clone(), operation.failure_error());
            let operation =
                async move |recorder| operation.run(&stores.recorded_by(recorder), role).await;
            state.jobs.run_call(call, audit, failure_error, operation).await
        }
        (None, operation) => {
            let running = async {
                let result = operation?.run(&state.stores, role).await?;
                if let Some(store) = result.store() {
                    audit.set_store(store);
                }
                Ok(result.to_response(schema, &state.dates))
            };
            let result = running.await;
            audit.finish(result)
        }
    }
}

/// Counts the unknown fields of a request, and returns the request.
fn count_unknown_fields<S, T>(state: &AppState<S>, parsed: ParsedRequest<T>) -> T {
    state.stats.unknown_fields.add(parsed.unknown_fields);
    parsed.request
}

/// Parses the operation of a request, and checks that the caller has the role for it.
fn parse_operation(
    caller: &Principal,
    audit: &mut AuditRecord,
    parse: impl FnOnce() -> Result<StoreOperation, ApiError>,
) -> Result<StoreOperation, ApiError> {
    let operation = parse()?;
    audit.set_action(operation.audit_action());
    if let Some(store) = operation.store() {
        audit.set_store(store);
    }
    caller.require_role(operation.required_role())?;
    Ok(operation)
}
