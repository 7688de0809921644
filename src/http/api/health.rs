//! `/healthz` and `/readyz`: the two paths that need no session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::response;
use super::state::Desk;
use crate::agent::StoreService;

pub(crate) const ALIVE: &str = "/healthz";
pub(crate) const READY: &str = "/readyz";

/// The server answers; that is all it says.
pub(super) async fn alive() -> Response {
    response::json(StatusCode::OK, &json!({ "alive": true }))
}

/// Whether requests can be served; not whether stores are connected.
pub(super) async fn ready<S: StoreService>(State(desk): State<Arc<Desk<S>>>) -> Response {
    let mut reasons = desk.readiness.obstacles();
    if desk.stop.is_cancelled() {
        reasons.push("the daemon is stopping".to_owned());
    }
    match reasons.is_empty() {
        true => response::json(StatusCode::OK, &json!({ "ready": true })),
        false => {
            let body = json!({ "ready": false, "reasons": reasons });
            response::json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}
