//! The health view of the stores: `{prefix}/stores` and `{prefix}/stores/{uuid}/health`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::response;
use super::{AppState, StoreIdPath};
use crate::agent::{
    ActiveCondition, SharedFilesystems, StoreService, StoreSnapshot, active_conditions,
    total_capacity,
};
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::model::AttemptFailure;
use crate::wire::{
    CapacityBody, CapacitySummary, ConditionBody, ErrorCode, HealthBody, HistoryLine,
    HostProofBody, InventoryBody, StoreSummary, StuckWorkerBody, SummaryResponse,
};

/// Maximum number of history lines in a response.
const HISTORY_LINES: u32 = 20;

/// Returns a summary of all stores, and their total capacity.
pub(super) async fn store_summary<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let views = desk.stores.snapshots();
    let shared = SharedFilesystems::new(&views);
    let stores = views.iter().map(|view| {
        StoreSummary::new(&view.store, &view.durable, &condition_bodies(&desk, view, &shared))
    });
    let (capacity, process) = (total_capacity(&views), (desk.daemon.process)());
    let body = SummaryResponse {
        capacity: CapacitySummary {
            available_capacity: capacity.available,
            filesystems: capacity.filesystems,
            total_capacity: capacity.total,
        },
        cpu_milliseconds: process.cpu_milliseconds,
        node_id: desk.daemon.node.to_string(),
        resident_bytes: process.resident_bytes,
        start_time: desk.daemon.conditions.started.to_string(),
        stores: stores.collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(response::json_response(StatusCode::OK, &body))
}

/// Returns the full health of one store.
pub(super) async fn store_health<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let store = store.ok_or(ApiError::BadUuid)?;
    let view = desk.stores.snapshot(store).ok_or(ApiError::UnknownStore(store))?;
    let history = desk.stores.history(store, HISTORY_LINES).await;
    let (gone, lines) = history.as_ref().map(|history| (history.pruned, &history.lines)).unzip();
    let all = desk.stores.snapshots();
    let failure = view.durable.failure.as_ref();
    let body = HealthBody {
        inventory: InventoryBody::from_store(&view.inventory),
        since: view.durable.since.to_string(),
        reason: failure.map(ErrorCode::not_connected),
        conditions: condition_bodies(&desk, &view, &SharedFilesystems::new(&all)),
        capacity: CapacityBody::from_capacity(view.durable.capacity, view.durable.inodes),
        filesystem: (&view.store.mount).into(),
        host_key: view.store.pinned_key.as_ref().map(Into::into),
        offered_host_key: failure.and_then(AttemptFailure::offered_host_key).map(Into::into),
        host_proof: view.proof.as_ref().and_then(HostProofBody::new),
        last_attempt: view.last_attempt.as_ref().map(Into::into),
        stuck_worker: view.stuck_worker.map(|worker| StuckWorkerBody { pid: worker.pid }),
        delivery: desk.daemon.delivery_status(store),
        history: lines.map(|lines| lines.iter().map(HistoryLine::from).collect()),
        history_gone: gone,
    };
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
