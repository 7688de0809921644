//! The routes of the API and their shared state. The modules below hold the handlers and the
//! responses that they give.

mod accounts;
pub(super) mod agent_protocol;
mod description;
pub(super) mod events;
pub(super) mod health;
pub(super) mod job;
mod operation;
mod queries;
pub(super) mod query_string;
pub(super) mod response;
pub(super) mod routes;
pub(super) mod stores;
pub(super) mod unsupported;
mod version;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::auth::accounts::Accounts;
use super::auth::agent_refusals::AgentRefusals;
use super::auth::rate_limit::SourceCounter;
use super::error::ApiError;
use super::tls::TlsListenerConfig;
use crate::agent::StoreService;
use crate::catalog::Language;
use crate::management::ReplyQueue;
use crate::metrics::HttpStats;
use crate::model::{StoreUuid, ZoneUuid};
use crate::wire::DateFormat;
use events::EventAccess;
use health::metrics::MetricsAccess;
use health::{DaemonInfo, ReadinessCheck};
use job::call::JobCallRules;
use job::runner::JobRunner;

/// Creates the router with every path of the daemon. `bases` are those of `server.base_path`,
/// and `prefixes` are `server.agent_prefixes`.
pub(crate) fn build_router<S: StoreService>(
    bases: &[String],
    prefixes: &[String],
    state: AppState<S>,
) -> Router {
    routes::add_routes(Router::new(), bases, prefixes)
        .fallback(async || ApiError::UnknownPath)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .with_state(Arc::new(state))
}

/// The dependencies of the routes.
pub(crate) struct AppState<S> {
    pub(crate) stores: S,
    /// The value of `storage.allowed_roots`.
    pub(crate) allowed_roots: Vec<String>,
    /// The accounts that may log in, and their sessions.
    pub(crate) accounts: Arc<Accounts>,
    /// Counts the unknown sessions of each address.
    pub(crate) auth_failures: Arc<Mutex<SourceCounter>>,
    /// The calls of the agent protocol that were refused because of their address.
    pub(crate) agent_refusals: Arc<AgentRefusals>,
    /// TLS of the listeners, or `None` without TLS.
    pub(crate) tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
    /// The format of ZStack's dates.
    pub(crate) dates: DateFormat,
    /// The language of remedies: `api.language`.
    pub(crate) language: Language,
    pub(crate) readiness: Arc<dyn ReadinessCheck>,
    pub(crate) daemon: DaemonInfo,
    pub(crate) events: EventAccess,
    pub(crate) metrics: MetricsAccess,
    /// The counts of the requests.
    pub(crate) stats: Arc<HttpStats>,
    /// Queue of the replies to asynchronous calls of the agent protocol.
    pub(crate) replies: ReplyQueue,
    /// Runs the operations whose callers fetch the result later.
    pub(crate) jobs: JobRunner,
    pub(crate) job_call_rules: JobCallRules,
    /// Counts the requests for unknown jobs of each address.
    pub(crate) job_guesses: Mutex<SourceCounter>,
    /// Cancelled when the daemon stops. `/readyz` reports it.
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

/// The zone and the store that a path names, each `None` if its segment is not a uuid.
pub(super) struct ZonePath {
    pub(super) zone: Option<ZoneUuid>,
    pub(super) store: Option<StoreUuid>,
}

impl<S: Send + Sync> FromRequestParts<S> for ZonePath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let segments = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (zone, store) = segments.map(|Path(segments)| segments).unwrap_or_default();
        Ok(Self { zone: zone.parse().ok(), store: store.parse().ok() })
    }
}
