//! Creates the JSON responses.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;

use crate::agent::StoreSnapshot;
use crate::common::write_safe_json;
use crate::wire::{
    DateFormat, EmptyResponse, ErrorCode, ErrorResponse, InventoryResponse, ListWriter,
    SingleStoreResponse, headers,
};

/// True if the client asks for the classes of the objects in the response. ZStack's SDK for Java
/// does so with each request. A response to a query has them in any case.
#[derive(Clone, Copy, Debug)]
pub(super) struct SchemaRequest(pub(super) bool);

impl<S: Sync> FromRequestParts<S> for SchemaRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts.headers.get(headers::JSON_SCHEMA);
        Ok(Self(value.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"false"))))
    }
}

/// Initial capacity of a response body, in bytes. It fits an inventory with names of a usual
/// length.
const TYPICAL_BODY_BYTES: usize = 768;

/// Creates a JSON response. The middleware adds the common headers.
pub(super) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    match try_json_bytes(body) {
        Ok(bytes) => body_response(status, bytes),
        // Only a map whose keys are not strings can fail here, and no body has one.
        Err(error) => {
            tracing::error!(%error, "response serialization failed");
            body_response(StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec())
        }
    }
}

fn try_json_bytes(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(TYPICAL_BODY_BYTES);
    write_safe_json(body, &mut bytes).map(|()| bytes)
}

/// Returns the bytes that [`json_response`] sends.
pub(super) fn json_bytes(body: &impl Serialize) -> Vec<u8> {
    try_json_bytes(body).unwrap_or_else(|_| b"{}".to_vec())
}

/// Creates the response with a list that was written item by item.
pub(super) fn list_response(list: ListWriter) -> Response {
    body_response(StatusCode::OK, list.finish())
}

/// Creates the response with a body that is JSON already.
pub(super) fn body_response(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
}

/// Creates the response with one store.
pub(super) fn inventory_response(
    snapshot: &StoreSnapshot,
    schema: SchemaRequest,
    dates: &DateFormat,
) -> Response {
    json_response(StatusCode::OK, &InventoryResponse::new(&snapshot.inventory, schema.0, dates))
}

/// Creates the response to a query for one store.
pub(super) fn single_store_response(
    snapshot: Option<&StoreSnapshot>,
    dates: &DateFormat,
) -> Response {
    let inventory = snapshot.map(|snapshot| &snapshot.inventory);
    json_response(StatusCode::OK, &SingleStoreResponse::new(inventory, dates))
}

/// Creates the success response without content.
pub(super) fn empty_response() -> Response {
    json_response(StatusCode::OK, &EmptyResponse {})
}

/// Creates an error response.
pub(crate) fn error_response(status: StatusCode, error: &ErrorCode) -> Response {
    json_response(status, &ErrorResponse { error })
}
