//! The checks that a caller requests: `{prefix}/stores/{uuid}/probe` and `.../login`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::stores::health_response;
use crate::agent::StoreService;
use crate::http::api::{AppState, StoreIdPath};
use crate::http::audit::{AuditAction, AuditRecord};
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::lifecycle::RequestedCheck;
use crate::model::StoreUuid;
use crate::wire::parse_empty_body;

/// Probes a store now, and returns its health.
pub(in crate::http::api) async fn probe_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    body: JsonBody,
) -> Response {
    run_check(&state, &caller, store, body, RequestedCheck::Probe).await
}

/// Logs in to the server of a store now, and returns the health of the store.
pub(in crate::http::api) async fn log_in_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    body: JsonBody,
) -> Response {
    run_check(&state, &caller, store, body, RequestedCheck::Login).await
}

async fn run_check<S: StoreService>(
    state: &AppState<S>,
    caller: &Principal,
    store: Option<StoreUuid>,
    body: JsonBody,
    check: RequestedCheck,
) -> Response {
    let action = match check {
        RequestedCheck::Probe => AuditAction::Probe,
        RequestedCheck::Login => AuditAction::Login,
    };
    let audit = AuditRecord::new(caller, action, store);
    let running = async {
        caller.require_role(Role::Operate)?;
        let store = store.ok_or(ApiError::InvalidUuid)?;
        parse_empty_body(&body.into_bytes()?)?;
        let snapshot = state.stores.run_check(store, check).await?;
        Ok(health_response(state, &snapshot).await)
    };
    let result = running.await;
    audit.finish(result)
}
