//! The routes for stores. A route checks the role, reads the request, calls the store service and
//! writes the audit line.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::response;
use super::{AppState, StoreIdPath};
use crate::agent::{AddError, StoreService};
use crate::http::audit::AuditRecord;
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::{StoreAction, parse_add_store};

pub(super) async fn list_stores<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let snapshots = state.stores.snapshots();
    Ok(response::inventories_response(snapshots.iter().map(AsRef::as_ref)))
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
    let mut audit = AuditRecord::new(&caller, "reconnect", store);
    let action = async {
        caller.require_role(Role::Operate)?;
        let uuid = store.ok_or(ApiError::InvalidUuid)?;
        let snapshot = match StoreAction::parse_action(&body.into_bytes()?)? {
            StoreAction::Reconnect { tags, force } => {
                state.stores.reconnect(uuid, tags, force).await?
            }
            StoreAction::Update(mut update) => {
                audit.set_action("update");
                update.by_admin = caller.role() >= Role::Admin;
                let updated = state.stores.update(uuid, *update).await;
                updated.map_err(|error| ApiError::from_update(error, caller.role()))?
            }
            StoreAction::AcceptHostKey { fingerprint, tags } => {
                audit.set_action("accept_host_key");
                caller.require_role(Role::Admin)?;
                state.stores.accept_host_key(uuid, &fingerprint, tags).await?
            }
        };
        Ok(response::inventory_response(&snapshot))
    };
    let result = action.await;
    audit.finish(result)
}

pub(super) async fn add_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    body: JsonBody,
) -> Response {
    let mut audit = AuditRecord::new(&caller, "add", None);
    let addition = async {
        caller.require_role(Role::Operate)?;
        let request = parse_add_store(&body.into_bytes()?, &state.allowed_roots)?;
        if let Some(store) = request.uuid {
            audit.set_store(store);
        }
        if request.take_over {
            caller.require_role(Role::Admin)?;
        }
        let snapshot = state.stores.add(request).await.map_err(|error| match error {
            AddError::Duplicate(fault) => ApiError::AlreadyExists(fault),
            AddError::Failed(failure) => ApiError::AddFailed(failure),
        })?;
        audit.set_store(snapshot.store.uuid);
        Ok(response::inventory_response(&snapshot))
    };
    let result = addition.await;
    audit.finish(result)
}

pub(super) async fn remove_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Response {
    let audit = AuditRecord::new(&caller, "remove", store);
    let removal = async {
        caller.require_role(Role::Operate)?;
        let store = store.ok_or(ApiError::InvalidUuid)?;
        // Removing a store that does not exist succeeds.
        state.stores.remove(store).await.map_err(ApiError::RemoveFailed)?;
        Ok(response::empty_response())
    };
    audit.finish(removal.await)
}
