//! The bodies of answers.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::agent::StoreSnapshot;
use crate::wire::{
    EmptyResponse, ErrorCode, ErrorResponse, InventoriesResponse, InventoryResponse,
};

/// An inventory, with names of a usual length.
const TYPICAL_BODY_BYTES: usize = 768;

/// A JSON answer; the front adds the headers that all answers have.
pub(super) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(TYPICAL_BODY_BYTES);
    let (status, bytes) = match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => (status, bytes),
        // Only a map with keys that are no strings can do this, and no body here has one.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            (StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec())
        }
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
}

/// Returns one store.
pub(super) fn inventory_response(view: &StoreSnapshot) -> Response {
    json_response(StatusCode::OK, &InventoryResponse::new(&view.inventory))
}

/// Returns any number of stores.
pub(super) fn inventories_response<'a>(
    views: impl IntoIterator<Item = &'a StoreSnapshot>,
) -> Response {
    let inventories = views.into_iter().map(|view| &view.inventory);
    json_response(StatusCode::OK, &InventoriesResponse::from_iter(inventories))
}

/// Returns a success that has nothing to report.
pub(super) fn empty_response() -> Response {
    json_response(StatusCode::OK, &EmptyResponse {})
}

/// Returns an error.
pub(crate) fn error_response(status: StatusCode, error: &ErrorCode) -> Response {
    json_response(status, &ErrorResponse { error })
}
