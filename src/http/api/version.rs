//! The route of ZStack's API for the version, which needs no session.

use axum::http::StatusCode;
use axum::response::Response;

use super::response;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::{VersionResponse, parse_version_request};

/// Returns the version of this program. It is not that of the management node.
pub(super) async fn get_version(body: JsonBody) -> Result<Response, ApiError> {
    parse_version_request(&body.into_bytes()?)?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(response::json_response(StatusCode::OK, &VersionResponse { version }))
}
