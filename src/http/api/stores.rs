//! The routes for stores. A route checks the role and reads the request. A change is run as a
//! [`StoreOperation`], and has an audit line.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::operation::StoreOperation;
use super::response;
use super::{AppState, StoreIdPath};
use crate::agent::StoreService;
use crate::common::for_each_fairly;
use crate::http::audit::AuditRecord;
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::{InventoriesResponse, InventoryBody, ListWriter, StoreAction, parse_add_store};

pub(super) async fn list_stores<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let snapshots = state.stores.snapshots();
    let mut body = ListWriter::new(&InventoriesResponse::from_iter([]));
    for_each_fairly(&snapshots, |snapshot| {
        body.push(&InventoryBody::from_inventory(&snapshot.inventory));
    })
    .await;
    Ok(response::list_response(body))
}

pub(super) async fn get_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let snapshot = state.stores.snapshot(store.ok_or(ApiError::InvalidUuid)?);
    Ok(response::inventories_response(snapshot.as_deref()))
}

pub(super) async fn act_on_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    body: JsonBody,
) -> Response {
    let audit = AuditRecord::new(&caller, "reconnect", store);
    let parse = || {
        let store = store.ok_or(ApiError::InvalidUuid)?;
        let action = StoreAction::parse_action(&body.into_bytes()?)?;
        Ok(StoreOperation::from_action(store, action, caller.role()))
    };
    run_operation(&state, &caller, audit, parse).await
}

pub(super) async fn add_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    body: JsonBody,
) -> Response {
    let audit = AuditRecord::new(&caller, "add", None);
    let parse = || {
        let request = parse_add_store(&body.into_bytes()?, &state.allowed_roots)?;
        Ok(StoreOperation::Add(Box::new(request)))
    };
    run_operation(&state, &caller, audit, parse).await
}

pub(super) async fn remove_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Response {
    let audit = AuditRecord::new(&caller, "remove", store);
    let parse = || Ok(StoreOperation::Remove { store: store.ok_or(ApiError::InvalidUuid)? });
    run_operation(&state, &caller, audit, parse).await
}

/// Runs the operation of a request and creates the response. A caller that may change nothing does
/// not learn that its request is invalid.
async fn run_operation<S: StoreService>(
    state: &AppState<S>,
    caller: &Principal,
    mut audit: AuditRecord,
    parse: impl FnOnce() -> Result<StoreOperation, ApiError>,
) -> Response {
    let running = async {
        caller.require_role(Role::Operate)?;
        let operation = parse()?;
        audit.set_action(operation.name());
        if let Some(store) = operation.store() {
            audit.set_store(store);
        }
        caller.require_role(operation.required_role())?;
        let result = operation.run(&state.stores, caller.role()).await?;
        if let Some(store) = result.store() {
            audit.set_store(store);
        }
        Ok(result.to_response())
    };
    let result = running.await;
    audit.finish(result)
}
