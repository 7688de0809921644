//! The routes for stores. A route checks the role, reads the request, calls the store service and
//! writes the audit line.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, put};

use super::agent_protocol;
use super::health;
use super::response;
use super::state::{AppState, StoreIdPath};
use super::store_health;
use crate::agent::{AddError, StoreService};
use crate::http::audit::AuditRecord;
use crate::http::auth::principal::Principal;
use crate::http::auth::role::Role;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::{StoreAction, parse_add_store};

/// Creates the router with every path of the daemon. `base` is `server.base_path`, and `prefixes`
/// are `server.agent_prefixes`.
pub(crate) fn build_router<S: StoreService>(
    base: &str,
    prefixes: &[String],
    desk: AppState<S>,
) -> Router {
    let any_store = format!("{base}/v1/backup-storage/{{uuid}}");
    let stores = format!("{base}/v1/backup-storage/image-store");
    let views = prefixes.iter().fold(Router::new(), |views, prefix| {
        agent_protocol::agent_routes(views, prefix)
            .route(&format!("{prefix}/stores"), get(store_health::store_summary::<S>))
            .route(
                &format!("{prefix}/stores/{{uuid}}/health"),
                get(store_health::store_health::<S>),
            )
    });
    views
        .route(health::LIVENESS_PATH, get(health::get_liveness))
        .route(health::READINESS_PATH, get(health::get_readiness::<S>))
        .route(&stores, get(list_stores::<S>).post(add_store::<S>))
        .route(&format!("{stores}/{{uuid}}"), get(get_store::<S>))
        .route(&format!("{stores}/{{uuid}}/actions"), put(act_on_store::<S>))
        .route(&any_store, delete(remove_store::<S>))
        .fallback(async || ApiError::UnknownPath)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .with_state(Arc::new(desk))
}

async fn list_stores<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let views = desk.stores.snapshots();
    Ok(response::inventories_response(views.iter().map(AsRef::as_ref)))
}

async fn get_store<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let view = desk.stores.snapshot(store.ok_or(ApiError::BadUuid)?);
    Ok(response::inventories_response(view.as_deref()))
}

async fn act_on_store<S: StoreService>(
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

async fn add_store<S: StoreService>(
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

async fn remove_store<S: StoreService>(
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
