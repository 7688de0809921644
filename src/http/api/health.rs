//! `/healthz` and `/readyz`: the two paths that need no session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::response;
use super::state::AppState;
use crate::agent::StoreService;
use crate::wire::{LivenessResponse, ReadinessResponse};

pub(crate) const LIVENESS_PATH: &str = "/healthz";
pub(crate) const READINESS_PATH: &str = "/readyz";

/// The server answers; that is all it says.
pub(super) async fn get_liveness() -> Response {
    response::json_response(StatusCode::OK, &LivenessResponse { alive: true })
}

/// Whether requests can be served; not whether stores are connected.
pub(super) async fn get_readiness<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
) -> Response {
    let mut reasons = desk.readiness.failures();
    if desk.stop.is_cancelled() {
        reasons.push("the daemon is stopping".to_owned());
    }
    let body = ReadinessResponse::new(reasons);
    let status = if body.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response::json_response(status, &body)
}
