//! ZStack's older protocol, which `zstack-cli` speaks and the daemon does not carry out. Without an
//! answer in its own form, the client polls for half an hour.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::http::api::response;
use crate::http::error::ApiError;
use crate::wire::LegacyResponse;

/// Answers any message with an error in the form of the protocol.
pub(in crate::http::api) async fn fail_message() -> Response {
    match LegacyResponse::failed(&ApiError::LegacyApi.error_code()) {
        Ok(body) => response::json_response(StatusCode::OK, &body),
        Err(_) => ApiError::LegacyApi.into_response(),
    }
}
