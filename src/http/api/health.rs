//! `/healthz` and `/readyz`: the two paths that need no session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::response;
use super::state::AppState;
use crate::agent::StoreService;

pub(crate) const LIVENESS_PATH: &str = "/healthz";
pub(crate) const READINESS_PATH: &str = "/readyz";

/// The server answers; that is all it says.
pub(super) async fn get_liveness() -> Response {
    response::json_response(StatusCode::OK, &json!({ "alive": true }))
}

/// Whether requests can be served; not whether stores are connected.
pub(super) async fn get_readiness<S: StoreService>(
    State(desk): State<Arc<AppState<S>>>,
) -> Response {
    let mut reasons = desk.readiness.failures();
    if desk.stop.is_cancelled() {
        reasons.push("the daemon is stopping".to_owned());
    }
    match reasons.is_empty() {
        true => response::json_response(StatusCode::OK, &json!({ "ready": true })),
        false => {
            let body = json!({ "ready": false, "reasons": reasons });
            response::json_response(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}
