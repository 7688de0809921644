//! The health view of the stores: `{prefix}/stores` and `{prefix}/stores/{uuid}/health`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::agent::{
    ActiveCondition, SpaceSharers, StoreService, StoreSnapshot, active_conditions, total_capacity,
};
use crate::common::for_each_fairly;
use crate::http::api::{AppState, StoreIdPath, response};
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::lifecycle::is_probe_condition;
use crate::model::AttemptFailure;
use crate::wire::{
    CapacityBody, CapacitySummary, ConditionBody, ErrorCode, ForecastBody, HealthBody, HistoryLine,
    HookSummary, HostProofBody, InventoryBody, ListWriter, StoreSummary, StuckWorkerBody,
    SummaryResponse,
};

/// Maximum number of history lines in a response.
const MAX_HISTORY_LINES: u32 = 20;

/// Returns a summary of all stores, and their total capacity.
pub(in crate::http::api) async fn get_store_summary<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let snapshots = state.stores.snapshots();
    let capacity = total_capacity(&snapshots).await;
    let process = (state.daemon.process_stats)().unwrap_or_default();
    let hooks = state.jobs.hook_counts();
    let mut body = ListWriter::new(&SummaryResponse {
        capacity: CapacitySummary {
            available_capacity: capacity.available,
            filesystems: capacity.filesystems,
            total_capacity: capacity.total,
        },
        cpu_milliseconds: process.cpu_milliseconds,
        hooks: HookSummary {
            given_up: hooks.given_up,
            oldest: hooks.oldest.map(|oldest| oldest.to_string()),
            pending: hooks.pending,
        },
        node_id: state.daemon.node.to_string(),
        resident_bytes: process.resident_bytes,
        start_time: state.daemon.conditions.started.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        stores: [],
    });
    for_each_fairly(&snapshots, |snapshot| {
        let conditions = condition_bodies(&state, snapshot, &state.stores.space_sharers(snapshot));
        body.push(&StoreSummary::new(&snapshot.store, &snapshot.durable, &conditions));
    })
    .await;
    Ok(response::list_response(body))
}

/// Returns the full health of one store.
pub(in crate::http::api) async fn get_store_health<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let store = store.ok_or(ApiError::InvalidUuid)?;
    let snapshot = state.stores.snapshot(store).ok_or(ApiError::UnknownStore(store))?;
    Ok(health_response(&state, &snapshot).await)
}

/// Creates the response with the full health of one store.
pub(super) async fn health_response<S: StoreService>(
    state: &AppState<S>,
    snapshot: &StoreSnapshot,
) -> Response {
    let store = snapshot.store.uuid;
    let history = state.stores.history(store, MAX_HISTORY_LINES).await;
    let (removed_count, lines) =
        history.as_ref().map(|history| (history.pruned, &history.lines)).unzip();
    let sharers = state.stores.space_sharers(snapshot);
    let failure = snapshot.durable.failure.as_ref();
    let body = HealthBody {
        inventory: InventoryBody::from_inventory(&snapshot.inventory, &state.dates),
        since: snapshot.durable.since.to_string(),
        reason: failure.map(|failure| ErrorCode::connect_failed(failure, state.language)),
        conditions: condition_bodies(state, snapshot, &sharers),
        capacity: CapacityBody::new(snapshot.durable.capacity, snapshot.durable.inodes),
        forecast: snapshot
            .forecast
            .map(|forecast| ForecastBody::new(&forecast, forecast.as_of, state.language)),
        filesystem: (&snapshot.store.mount).into(),
        host_key: snapshot.store.pinned_key.as_ref().map(Into::into),
        offered_host_key: failure.and_then(AttemptFailure::offered_host_key).map(Into::into),
        host_proof: snapshot.host_identity.as_ref().and_then(HostProofBody::new),
        last_attempt: snapshot.last_attempt.as_ref().map(Into::into),
        logins_left: state.stores.rejections_left(store),
        stuck_worker: snapshot.stuck_worker.map(|worker| StuckWorkerBody { pid: worker.pid }),
        delivery: state.daemon.delivery_status(store),
        history: lines.map(|lines| lines.iter().map(HistoryLine::from).collect()),
        history_gone: removed_count,
    };
    response::json_response(StatusCode::OK, &body)
}

/// Returns the checks of a store first, then its active conditions.
fn condition_bodies<S>(
    state: &AppState<S>,
    snapshot: &StoreSnapshot,
    sharers: &SpaceSharers,
) -> Vec<ConditionBody> {
    let examine = &snapshot.checks.examine;
    let active = active_conditions(snapshot, sharers, &state.daemon.conditions).into_iter();
    let active = active.map(|ActiveCondition { condition, message, since }| {
        let is_measured = is_probe_condition(condition);
        let probed = if is_measured { examine.last_good } else { examine.last };
        ConditionBody::new_active(condition, message, state.language, probed, since)
    });
    ConditionBody::check_conditions(&snapshot.checks, state.language)
        .into_iter()
        .chain(active)
        .collect()
}
