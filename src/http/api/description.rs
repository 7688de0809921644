//! The description of the API, `GET /openapi.json`.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::wire::API_DESCRIPTION;

/// The entity tag of the description. It changes with its bytes, and so with each version.
static ENTITY_TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = HEXLOWER.encode(digest(&SHA256, API_DESCRIPTION.as_bytes()).as_ref());
    let tag = digest.get(..32).unwrap_or_default();
    // Hexadecimal digits are always valid in a header.
    HeaderValue::try_from(format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""))
});

/// Returns the OpenAPI document. A client that has it already gets 304.
pub(super) async fn get_description(
    caller: Principal,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(names_current_tag);
    let mut response = if is_known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::from(API_DESCRIPTION))
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, ENTITY_TAG.clone());
    // The next version of the daemon can have another document.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// Returns true if a value of `If-None-Match` is `*` or contains the tag, strong or weak (RFC 9110
/// section 13.1.2).
fn names_current_tag(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut tags = text.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == *ENTITY_TAG)
}
