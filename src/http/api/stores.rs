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
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let views = desk.stores.snapshots();
    Ok(response::inventories_response(views.iter().map(AsRef::as_ref)))
}

pub(super) async fn get_store<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let view = desk.stores.snapshot(store.ok_or(ApiError::BadUuid)?);
    Ok(response::inventories_response(view.as_deref()))
}

pub(super) async fn act_on_store<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    body: JsonBody,
) -> Response {
    let mut audit = AuditRecord::new(&caller, "reconnect", store);
    let action = async {
        caller.require_role(Role::Operate)?;
        let uuid = store.ok_or(ApiError::BadUuid)?;
        let view = match StoreAction::parse_action(&body.into_bytes()?)? {
            StoreAction::Reconnect { tags, force } => {
                desk.stores.reconnect(uuid, tags, force).await?
            }
            StoreAction::Update(update) => {
                audit.set_action("update");
                desk.stores.update(uuid, *update).await?
            }
            StoreAction::AcceptHostKey { fingerprint, tags } => {
                audit.set_action("accept_host_key");
                caller.require_role(Role::Admin)?;
                desk.stores.accept_host_key(uuid, &fingerprint, tags).await?
            }
        };
        Ok(response::inventory_response(&view))
    };
    let result = action.await;
    audit.finish(result)
}

pub(super) async fn add_store<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    body: JsonBody,
) -> Response {
    let mut audit = AuditRecord::new(&caller, "add", None);
    let addition = async {
        caller.require_role(Role::Operate)?;
        let asked = parse_add_store(&body.into_bytes()?, &desk.allowed_roots)?;
        if let Some(store) = asked.uuid {
            audit.set_store(store);
        }
        if asked.take_over {
            caller.require_role(Role::Admin)?;
        }
        let view = desk.stores.add(asked).await.map_err(|error| match error {
            AddError::Refused(fault) => ApiError::AlreadyExists(fault),
            AddError::Failed(failure) => ApiError::AddFailed(failure),
        })?;
        audit.set_store(view.store.uuid);
        Ok(response::inventory_response(&view))
    };
    let result = addition.await;
    audit.finish(result)
}

pub(super) async fn remove_store<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Response {
    let audit = AuditRecord::new(&caller, "remove", store);
    let removal = async {
        caller.require_role(Role::Operate)?;
        let store = store.ok_or(ApiError::BadUuid)?;
        // Removing a store that does not exist succeeds.
        desk.stores.remove(store).await.map_err(ApiError::RemoveFailed)?;
        Ok(response::empty_response())
    };
    audit.finish(removal.await)
}
