//! `/healthz` and `/readyz`, the two paths that need no token.

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

/// Reports that the server responds, and nothing else.
pub(super) async fn get_liveness() -> Response {
    response::json_response(StatusCode::OK, &LivenessResponse { alive: true })
}

/// Reports whether the daemon can serve requests, not whether stores are connected.
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
