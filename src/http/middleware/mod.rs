//! The middleware around the router. It is one service, because each layer of a `tower` stack would
//! box every request once more.

pub(super) mod request_count;
pub(super) mod request_id;
pub(super) mod target;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::Service as _;
use tracing::{Instrument as _, Level, Span, debug, enabled, info_span};

use super::admission::ConnectionPermit;
use super::admission::source::TrustedProxies;
use super::api::unsupported::legacy;
use super::audit::AUDIT_TARGET;
use super::audit::denial::{AccessDenial, RoleDenial};
use super::audit::denial_log::DenialLog;
use super::auth::access_key::SentTarget;
use super::auth::authenticator::Authenticator;
use super::auth::open_paths::is_legacy_api;
use super::auth::rate_limit::{MAX_EVENTS_PER_WINDOW, RequestSource, SourceCounter};
use super::auth::{PeerAddress, Principal};
use super::body::{CompleteBody, drain_body, read_body};
use super::error::ApiError;
use super::error_text::with_error_language;
use super::limits::ServerLimits;
use super::request_start::RequestStart;
use crate::catalog::Language;
use crate::common::Random;
use request_count::RequestCounter;

const JSON_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// The count of the requests on connections beyond `max_trusted_connections`.
const TOO_MANY_TRUSTED: &str = "too many connections with a session";
/// Maximum length of a path in a log line, in bytes.
const MAX_LOGGED_PATH_BYTES: usize = 256;

/// The service that handles every request.
pub(super) struct ApiService {
    pub(super) router: Router,
    pub(super) request_counter: RequestCounter,
    pub(super) authenticator: Authenticator,
    pub(super) proxies: TrustedProxies,
    pub(super) random: Arc<dyn Random>,
    /// Counts the denials of each address, to bound the lines in the log.
    pub(super) denials: Mutex<SourceCounter>,
    /// Bounds the lines about the denials of all addresses.
    pub(super) denial_log: DenialLog,
    pub(super) limits: ServerLimits,
    /// The permits for large bodies.
    pub(super) large_bodies: Arc<Semaphore>,
    /// The language of the errors: `api.language`.
    pub(super) language: Language,
}

impl ApiService {
    /// Handles one request and returns its response. Adds the request id and the span to the
    /// request, and the common headers to the response.
    pub(super) async fn handle_request(
        &self,
        peer: &PeerAddress,
        permit: &ConnectionPermit,
        mut request: Request<Incoming>,
    ) -> Response {
        if let Some(normal) = target::normalize_target(request.uri()) {
            let sent = std::mem::replace(request.uri_mut(), normal);
            request.extensions_mut().insert(SentTarget(sent));
        }
        let id = request_id::from_headers(request.headers(), self.random.as_ref());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let source = self.request_source(peer, request.headers());
        let span = || {
            let path = target::loggable_path(uri.path());
            let path =
                path.get(..path.floor_char_boundary(MAX_LOGGED_PATH_BYTES)).unwrap_or_default();
            let client = source.client.map(tracing::field::display);
            let id = id.to_str().unwrap_or_default();
            info_span!(target: AUDIT_TARGET, "request", id, %method, path, %peer, client)
        };
        // A span costs more than the rest of a read request, which logs nothing unless it is
        // denied.
        let is_quiet = method.is_safe() && !enabled!(Level::DEBUG);
        let request_span = if is_quiet { Span::none() } else { span() };
        let mut counted = self.request_counter.begin(&method, uri.path());
        let handled = async {
            let response = self.authenticate_and_dispatch(peer, source, permit, request).await;
            let mut response = response.unwrap_or_else(|error| match is_legacy_api(uri.path()) {
                true => legacy::failure(error),
                false => error.into_response(),
            });
            if let Some(denial) = response.extensions_mut().remove::<AccessDenial>() {
                self.request_counter.count_refusal(denial.rule);
                let repeated = self.count_denial(source, denial) > MAX_EVENTS_PER_WINDOW + 1;
                let written = self.denial_log.count_denial(repeated, Instant::now());
                let line = || super::audit::log_denial(response.status(), denial, written);
                if is_quiet { span().in_scope(line) } else { line() }
            } else if response.extensions().get::<RoleDenial>().is_some() {
                self.request_counter.count_refusal(RoleDenial::RULE);
            }
            let status = response.status();
            counted.set_status(status);
            let headers = response.headers_mut();
            headers.entry(header::CONTENT_TYPE).or_insert(JSON_CONTENT_TYPE);
            headers.insert(request_id::REQUEST_ID_HEADER, id.clone());
            debug!(status = status.as_u16(), "request handled");
            response
        };
        with_error_language(self.language, handled.instrument(request_span)).await
    }

    /// Returns the source of a request.
    fn request_source(&self, peer: &PeerAddress, headers: &HeaderMap) -> RequestSource {
        let PeerAddress::Tcp(address, _) = peer else { return RequestSource::default() };
        let client = self.proxies.forwarded_client(address.ip(), headers);
        RequestSource { client, limited: Some(client.unwrap_or_else(|| address.ip())) }
    }

    async fn authenticate_and_dispatch(
        &self,
        peer: &PeerAddress,
        source: RequestSource,
        permit: &ConnectionPermit,
        request: Request<Incoming>,
    ) -> Result<Response, ApiError> {
        let (mut parts, body) = request.into_parts();
        if !parts.method.is_safe() {
            let start = RequestStart { at: Instant::now(), network: source.network() };
            parts.extensions.insert(start);
        }
        let mut max_body_bytes = self.limits.max_body_bytes;
        match self.admit_request(peer, source, permit, &parts).await {
            Ok(Some(caller)) => {
                parts.extensions.insert(caller);
            }
            Ok(None) => {
                // The paths without a session need no large body, and must not hold the permits
                // of callers that do.
                max_body_bytes = max_body_bytes.min(self.limits.large_body_bytes);
                // A handler without a caller limits requests by their source.
                if self.authenticator.limits_source(parts.uri.path()) {
                    parts.extensions.insert(source);
                }
            }
            Err(error) => {
                drain_body(body, &parts.headers).await;
                return Err(error);
            }
        }
        let (headers, limits) = (&parts.headers, &self.limits);
        let body = read_body(body, headers, limits, max_body_bytes, &self.large_bodies).await?;
        if !body.is_empty() {
            parts.extensions.insert(CompleteBody(body));
        }
        let request = Request::from_parts(parts, Body::empty());
        let Ok(response) = self.router.clone().call(request).await;
        Ok(response)
    }

    /// Returns the principal of a request, or `None` on the open paths, and counts the connection
    /// among those that have shown a credential.
    async fn admit_request(
        &self,
        peer: &PeerAddress,
        source: RequestSource,
        permit: &ConnectionPermit,
        parts: &Parts,
    ) -> Result<Option<Principal>, ApiError> {
        let authenticated = self.authenticator.authenticate(peer, source, parts).await?;
        let Some((caller, credential)) = authenticated else { return Ok(None) };
        if permit.record_credential(credential) {
            return Ok(Some(caller));
        }
        self.request_counter.count_refusal(TOO_MANY_TRUSTED);
        Err(ApiError::over_capacity(self.limits.max_trusted_connections))
    }

    /// Counts a denial against its source, and returns its number within the minute.
    ///
    /// Returns 1 without counting if the source has no address. The same holds if the caller is
    /// admitted and only a field of its request is denied.
    fn count_denial(&self, source: RequestSource, denial: AccessDenial) -> u32 {
        if denial.field.is_some() {
            return 1;
        }
        source.count_event(&self.denials).map_or(1, |window| window.count)
    }
}
