//! ZStack's older protocol, which `zstack-cli` speaks and the daemon does not carry out. Without an
//! answer in its own form, the client polls for half an hour.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;

use super::response;
use crate::http::auth::open_paths::LEGACY_API_PATH;
use crate::http::error::ApiError;
use crate::wire::LegacyResponse;

/// Creates the routes of the protocol. They are the same for every `server.base_path`.
pub(super) fn legacy_routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    [
        LEGACY_API_PATH.to_owned(),
        format!("{LEGACY_API_PATH}/"),
        format!("{LEGACY_API_PATH}/{{*rest}}"),
    ]
    .iter()
    .fold(Router::new(), |routes, path| routes.route(path, any(fail_message)))
}

async fn fail_message() -> Response {
    match LegacyResponse::failed(&ApiError::LegacyApi.error_code()) {
        Ok(body) => response::json_response(StatusCode::OK, &body),
        Err(_) => ApiError::LegacyApi.into_response(),
    }
}
