//! `{prefix}/stores` and `{prefix}/stores/{uuid}/health`: how the stores are, in full.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer;
use super::around::Held;
use super::caller::Caller;
use super::desk::{Desk, StoreInPath};
use super::refusal::Refusal;
use super::role::Role;
use crate::agent::{Advisory, Sharing, StoreService, StoreView, advisories, room};
use crate::ssh::offered_key;
use crate::wire::{ConditionBody, HealthBody, history_line, host_key, host_proof, last_attempt};

/// Lines of history that are shown.
const LINES: u32 = 20;

/// All stores in short, and the room they have together.
pub(super) async fn summary<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
) -> Result<Response, Refusal> {
    caller.needs(Role::Read)?;
    let views = desk.stores.views();
    let sharing = Sharing::of(&views);
    let stores: Vec<Value> = views
        .iter()
        .map(|view| {
            let conditions = conditions(&desk, view, &sharing);
            let bad = conditions.iter().filter(|condition| condition.is_bad());
            json!({
                "uuid": view.store.uuid.to_string(),
                "name": view.store.name,
                "url": view.store.image_dir.as_str(),
                "status": view.standing.status.as_str(),
                "since": view.standing.since.to_string(),
                "conditions": bad.map(ConditionBody::kind).collect::<Vec<_>>(),
            })
        })
        .collect();
    let (room, process) = (room(&views), (desk.around.process)());
    let body = json!({
        "nodeId": desk.around.node.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "startTime": desk.around.started.to_string(),
        "residentBytes": process.resident_bytes,
        "cpuMilliseconds": process.cpu_milliseconds,
        "capacity": {
            "totalCapacity": room.total,
            "availableCapacity": room.available,
            "filesystems": room.filesystems,
        },
        "stores": stores,
    });
    Ok(answer::json(StatusCode::OK, &body))
}

/// One store in full.
pub(super) async fn health<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
    StoreInPath(store): StoreInPath,
) -> Result<Response, Refusal> {
    caller.needs(Role::Read)?;
    let store = store.ok_or(Refusal::BadUuid)?;
    let view = desk.stores.view(store).ok_or(Refusal::UnknownStore(store))?;
    let history = desk.stores.history(store, LINES).await;
    let mut body = HealthBody::of(&view.inventory, &view.standing, &view.store.place);
    let all = desk.stores.views();
    body.conditions = conditions(&desk, &view, &Sharing::of(&all));
    body.host_key = view.store.pinned_key.as_ref().map(host_key);
    let offered = view.standing.failure.as_ref().and_then(offered_key);
    body.offered_host_key = offered.as_ref().map(host_key);
    body.host_proof = view.proof.as_ref().and_then(host_proof);
    body.last_attempt = view.last_attempt.as_ref().map(last_attempt);
    body.stuck_worker = view.stuck_worker.map(|worker| json!({ "pid": worker.pid }));
    body.delivery = desk.around.delivery(store);
    body.history_gone = history.as_ref().map(|history| history.gone);
    body.history = history.map(|history| history.lines.iter().map(history_line).collect());
    Ok(answer::json(StatusCode::OK, &body))
}

/// The checks, what the probes and the other stores mean, and what comes from around.
fn conditions<S>(desk: &Desk<S>, view: &StoreView, sharing: &Sharing<'_>) -> Vec<ConditionBody> {
    let probed = view.checks.examine.last;
    let held = |(condition, message, since): Held| {
        ConditionBody::holding(condition.as_str(), message, condition.remedy(), probed, since)
    };
    let of_store = advisories(view, sharing)
        .into_iter()
        .map(|Advisory { condition, message, since }| (condition, message, since));
    let around = desk.around.conditions(view.store.uuid);
    let holding = of_store.chain(around).map(held);
    ConditionBody::checks(&view.checks).into_iter().chain(holding).collect()
}
