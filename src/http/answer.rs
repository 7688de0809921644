//! Answers that say yes.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::agent::StoreView;
use crate::wire;

/// A JSON answer; the front adds the headers that all answers have.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// One store.
pub(super) fn inventory(view: &StoreView) -> Response {
    json(StatusCode::OK, &json!({ "inventory": wire::inventory(&view.inventory) }))
}

/// Any number of stores.
pub(super) fn inventories<'a>(views: impl IntoIterator<Item = &'a StoreView>) -> Response {
    let all: Vec<Value> = views.into_iter().map(|view| wire::inventory(&view.inventory)).collect();
    json(StatusCode::OK, &json!({ "inventories": all }))
}

/// Done, and nothing to tell.
pub(super) fn done() -> Response {
    json(StatusCode::OK, &json!({}))
}
