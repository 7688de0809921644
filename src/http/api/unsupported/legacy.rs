//! ZStack's older protocol, which `zstack-cli` speaks and the daemon does not carry out. Without an
//! answer in its own form, the client polls for half an hour.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::http::api::response;
use crate::http::error::ApiError;
use crate::http::error_text::error_language;
use crate::wire::LegacyResponse;

/// Answers any message with an error in the form of the protocol.
pub(in crate::http::api) async fn fail_message() -> Response {
    let mut response = failure(ApiError::LegacyApi);
    // Each answer of the protocol has this status.
    *response.status_mut() = StatusCode::OK;
    response
}

/// Creates the response with an error in the form of the protocol.
pub(in crate::http) fn failure(error: ApiError) -> Response {
    let body = LegacyResponse::failed(&error.error_code(error_language()));
    let mut response = error.into_response();
    if let Ok(body) = body {
        *response.body_mut() = response::json_bytes(&body).into();
    }
    response
}
