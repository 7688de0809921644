//! What every route needs: the means it works with, and the store that its path names.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::daemon_info::DaemonInfo;
use super::readiness::ReadinessCheck;
use crate::management::ReplyQueue;
use crate::model::StoreUuid;

/// What the routes work with.
pub(crate) struct AppState<S> {
    pub(crate) stores: S,
    pub(crate) allowed_roots: Vec<String>,
    pub(crate) readiness: Arc<dyn ReadinessCheck>,
    pub(crate) daemon: DaemonInfo,
    pub(crate) replies: ReplyQueue,
    pub(crate) stop: CancellationToken,
}

/// The store a path names; none when it is no uuid.
pub(super) struct StoreIdPath(pub(super) Option<StoreUuid>);

impl<S: Send + Sync> FromRequestParts<S> for StoreIdPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // A part that does not decode is no uuid either.
        let part = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(part.ok().and_then(|Path(text)| text.parse().ok())))
    }
}
