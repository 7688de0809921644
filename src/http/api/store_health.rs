//! `{prefix}/stores` and `{prefix}/stores/{uuid}/health`: how the stores are, in full.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::response;
use super::state::{AppState, StoreIdPath};
use crate::agent::{
    ActiveCondition, SharedFilesystems, StoreService, StoreSnapshot, active_conditions,
    total_capacity,
};
use crate::http::auth::principal::Principal;
use crate::http::auth::role::Role;
use crate::http::error::ApiError;
use crate::model::AttemptFailure;
use crate::wire::{ConditionBody, HealthBody, history_line, host_key, host_proof, last_attempt};

/// Lines of history that are shown.
const HISTORY_LINES: u32 = 20;

/// All stores in short, and their total capacity.
pub(super) async fn store_summary<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let views = desk.stores.snapshots();
    let shared = SharedFilesystems::new(&views);
    let stores: Vec<Value> = views
        .iter()
        .map(|view| {
            let conditions = condition_bodies(&desk, view, &shared);
            let bad = conditions.iter().filter(|condition| condition.is_bad());
            json!({
                "uuid": view.store.uuid.to_string(),
                "name": view.store.name,
                "url": view.store.image_dir.as_str(),
                "status": view.standing.status.as_str(),
                "since": view.standing.since.to_string(),
                "conditions": bad.map(ConditionBody::condition_type).collect::<Vec<_>>(),
            })
        })
        .collect();
    let (capacity, process) = (total_capacity(&views), (desk.daemon.process)());
    let body = json!({
        "nodeId": desk.daemon.node.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "startTime": desk.daemon.conditions.started.to_string(),
        "residentBytes": process.resident_bytes,
        "cpuMilliseconds": process.cpu_milliseconds,
        "capacity": {
            "totalCapacity": capacity.total,
            "availableCapacity": capacity.available,
            "filesystems": capacity.filesystems,
        },
        "stores": stores,
    });
    Ok(response::json_response(StatusCode::OK, &body))
}

/// One store in full.
pub(super) async fn store_health<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let store = store.ok_or(ApiError::BadUuid)?;
    let view = desk.stores.snapshot(store).ok_or(ApiError::UnknownStore(store))?;
    let history = desk.stores.history(store, HISTORY_LINES).await;
    let mut body = HealthBody::new(&view.inventory, &view.standing, &view.store.mount);
    let all = desk.stores.snapshots();
    body.conditions = condition_bodies(&desk, &view, &SharedFilesystems::new(&all));
    body.host_key = view.store.pinned_key.as_ref().map(host_key);
    let offered = view.standing.failure.as_ref().and_then(AttemptFailure::offered_host_key);
    body.offered_host_key = offered.map(host_key);
    body.host_proof = view.proof.as_ref().and_then(host_proof);
    body.last_attempt = view.last_attempt.as_ref().map(last_attempt);
    body.stuck_worker = view.stuck_worker.map(|worker| json!({ "pid": worker.pid }));
    body.delivery = desk.daemon.delivery_status(store);
    body.history_gone = history.as_ref().map(|history| history.gone);
    body.history = history.map(|history| history.lines.iter().map(history_line).collect());
    Ok(response::json_response(StatusCode::OK, &body))
}

/// Returns the checks of a store first, then its active conditions.
fn condition_bodies<S>(
    desk: &AppState<S>,
    view: &StoreSnapshot,
    shared: &SharedFilesystems<'_>,
) -> Vec<ConditionBody> {
    let probed = view.checks.examine.last;
    let active = active_conditions(view, shared, &desk.daemon.conditions).into_iter();
    let active = active.map(|ActiveCondition { condition, message, since }| {
        ConditionBody::new_active(condition.as_str(), message, condition.remedy(), probed, since)
    });
    ConditionBody::check_conditions(&view.checks).into_iter().chain(active).collect()
}
