//! The shared state of the routes, and the store that a path names.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::daemon_info::DaemonInfo;
use super::readiness::ReadinessCheck;
use crate::management::ReplyQueue;
use crate::model::StoreUuid;

/// The dependencies of the routes.
pub(crate) struct AppState<S> {
    pub(crate) stores: S,
    pub(crate) allowed_roots: Vec<String>,
    pub(crate) readiness: Arc<dyn ReadinessCheck>,
    pub(crate) daemon: DaemonInfo,
    pub(crate) replies: ReplyQueue,
    pub(crate) stop: CancellationToken,
}

/// The store that a path names, or `None` if the segment is not a uuid.
pub(super) struct StoreIdPath(pub(super) Option<StoreUuid>);

impl<S: Send + Sync> FromRequestParts<S> for StoreIdPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // A segment that cannot be decoded is not a uuid either.
        let part = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(part.ok().and_then(|Path(text)| text.parse().ok())))
    }
}
