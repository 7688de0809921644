//! The metrics of the daemon, `GET /metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::agent::StoreService;
use crate::common::run_blocking;
use crate::http::api::AppState;
use crate::http::auth::Principal;
use crate::http::error::ApiError;
use crate::http::limits::ServerLimits;
use crate::metrics::{Exposition, Metrics, ServerSample};
use crate::model::{AttemptFailure, Fault, Reason};

/// Maximum number of renderings at once for the callers with a session, and again for those without
/// one. A further one waits.
const MAX_RENDERINGS: usize = 2;
/// Maximum time of a rendering, with its wait. One of thousands of stores takes tens of
/// milliseconds.
const RENDER_TIMEOUT: Duration = Duration::from_secs(5);

/// The metrics, and the limits of their scrapes: apart for callers with a session and for those
/// without one, so that the latter do not lock out the former.
pub(in crate::http) struct MetricsAccess {
    metrics: Metrics,
    with_session: ScrapeLimits,
    without_session: ScrapeLimits,
}

impl MetricsAccess {
    pub(in crate::http) fn new(metrics: Metrics, limits: &ServerLimits) -> Self {
        let of_class = || ScrapeLimits {
            renderings: Arc::new(Semaphore::new(MAX_RENDERINGS)),
            unsent: Arc::new(Semaphore::new(limits.max_unsent_metrics_bytes)),
        };
        Self { metrics, with_session: of_class(), without_session: of_class() }
    }
}

/// The limits of one class of callers.
struct ScrapeLimits {
    renderings: Arc<Semaphore>,
    /// The bytes of the responses that are not sent yet. A response with a thousand stores has
    /// megabytes, which a client may read slowly.
    unsent: Arc<Semaphore>,
}

impl ScrapeLimits {
    /// Renders the metrics on a thread for blocking work.
    async fn render<S: StoreService>(
        &self,
        metrics: Metrics,
        stores: S,
        server: ServerSample,
        exposition: Exposition,
    ) -> Result<String, ApiError> {
        let deadline = Instant::now() + RENDER_TIMEOUT;
        let turn = timeout_at(deadline, Arc::clone(&self.renderings).acquire_owned()).await;
        let turn = turn.map_err(|error| not_rendered(&error))?;
        let work = move || {
            // A rendering that is late, or whose client has gone, keeps its turn until its end.
            let _turn = turn;
            metrics.render(&stores, server, exposition)
        };
        let rendered = run_blocking(deadline, work).await;
        rendered.map_err(|error| not_rendered(&error))?.map_err(|error| not_rendered(&error))
    }

    /// Returns the response with a text, which counts as unsent until its end.
    fn respond(&self, text: String, exposition: Exposition) -> Result<Response, ApiError> {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.unsent).try_acquire_many_owned(bytes);
        let permit = permit.map_err(|_| {
            busy(Fault::new(Reason::AgentBusy, "earlier scrapes have not been read yet"))
        })?;
        let text = Bytes::from_owner(UnsentText { text, _permit: permit });
        let mut response = Response::new(Body::from(text));
        let content_type = HeaderValue::from_static(exposition.content_type());
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(response)
    }
}

/// Returns the metrics. The caller was admitted already: every role may read them. With
/// `server.open_metrics`, a caller without a session may too.
pub(in crate::http::api) async fn get_metrics<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Result<Principal, ApiError>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let exposition = Exposition::negotiate(accept);
    let certificate = state.tls.as_ref().and_then(|tls| tls.borrow().certificate().cloned());
    let server = ServerSample {
        certificate_end: certificate.map(|certificate| certificate.not_after),
        open_streams: state.events.open_streams(),
    };
    let MetricsAccess { metrics, with_session, without_session } = &state.metrics;
    let limits = if caller.is_ok() { with_session } else { without_session };
    let text = limits.render(metrics.clone(), state.stores.clone(), server, exposition).await?;
    limits.respond(text, exposition)
}

/// The text of a response. It keeps its permit until the server drops it, which is after the last
/// byte was sent.
struct UnsentText {
    text: String,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for UnsentText {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

fn not_rendered(error: &dyn std::error::Error) -> ApiError {
    busy(Fault::new(Reason::AgentBusy, format!("the metrics were not rendered: {error}")))
}

fn busy(fault: Fault) -> ApiError {
    ApiError::ConnectFailed(AttemptFailure::from_fault(fault))
}
