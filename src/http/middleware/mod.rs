//! The middleware around the router. It is one service, because each layer of a `tower` stack would
//! box every request once more.

pub(super) mod request_id;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service as _;
use tracing::{Instrument as _, Level, Span, debug, enabled, info_span};

use super::api::health;
use super::audit::AUDIT_TARGET;
use super::auth::agent_allowlist::AgentAllowlist;
use super::auth::host_allowlist::HostAllowlist;
use super::auth::rate_limit::{MAX_EVENTS_PER_WINDOW, SourceCounter, WindowCount};
use super::auth::tokens::TokenTable;
use super::auth::{PeerAddress, Principal};
use super::body::CompleteBody;
use super::error::{AccessDenial, ApiError};
use super::limits::ServerLimits;
use crate::common::{Random, lock_unpoisoned};

const JSON_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// Maximum length of a path in a log line, in bytes.
const MAX_LOGGED_PATH_BYTES: usize = 256;

/// The service that handles every request.
pub(super) struct ApiService {
    pub(super) router: Router,
    pub(super) host_allowlist: HostAllowlist,
    pub(super) agent_allowlist: AgentAllowlist,
    pub(super) tokens: watch::Receiver<Arc<TokenTable>>,
    pub(super) random: Arc<dyn Random>,
    /// Counts the unknown tokens of each address.
    pub(super) auth_failures: Mutex<SourceCounter>,
    /// Counts the denials of each address, to bound the lines in the log.
    pub(super) denials: Mutex<SourceCounter>,
    pub(super) limits: ServerLimits,
}

impl ApiService {
    /// Handles one request and returns its response.
    pub(super) async fn handle_request(
        &self,
        peer: &PeerAddress,
        request: Request<Incoming>,
    ) -> Response {
        self.with_request_context(peer, request, async |request| {
            self.authenticate_and_dispatch(peer, request).await
        })
        .await
    }

    /// Rejects one request of a connection beyond the limits.
    pub(super) async fn reject_over_capacity(
        &self,
        peer: &PeerAddress,
        request: Request<Incoming>,
    ) -> Response {
        let reject = async |request: Request<Incoming>| {
            let (parts, body) = request.into_parts();
            super::body::drain_body(body, &parts.headers).await;
            Err(ApiError::over_capacity(self.limits.max_connections))
        };
        self.with_request_context(peer, request, reject).await
    }

    /// Adds the request id and the span to a request, and the common headers to its response.
    async fn with_request_context(
        &self,
        peer: &PeerAddress,
        request: Request<Incoming>,
        handler: impl AsyncFnOnce(Request<Incoming>) -> Result<Response, ApiError>,
    ) -> Response {
        let id = request_id::from_headers(request.headers(), self.random.as_ref());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let span = || {
            let path = uri.path();
            let path =
                path.get(..path.floor_char_boundary(MAX_LOGGED_PATH_BYTES)).unwrap_or_default();
            info_span!(target: AUDIT_TARGET, "request", id = id.to_str().unwrap_or_default(), %method, path, %peer)
        };
        // A span costs more than the rest of a read request, which logs nothing unless it is
        // denied.
        let is_quiet = method.is_safe() && !enabled!(Level::DEBUG);
        let request_span = if is_quiet { Span::none() } else { span() };
        async {
            let mut response = handler(request).await.unwrap_or_else(ApiError::into_response);
            if let Some(denial) = response.extensions_mut().remove::<AccessDenial>() {
                let repeated = self.count_denial(peer, denial) > MAX_EVENTS_PER_WINDOW + 1;
                let line = || super::audit::log_denial(response.status(), denial, repeated);
                if is_quiet { span().in_scope(line) } else { line() }
            }
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, JSON_CONTENT_TYPE);
            headers.insert(request_id::REQUEST_ID_HEADER, id.clone());
            debug!(status = response.status().as_u16(), "request handled");
            response
        }
        .instrument(request_span)
        .await
    }

    async fn authenticate_and_dispatch(
        &self,
        peer: &PeerAddress,
        request: Request<Incoming>,
    ) -> Result<Response, ApiError> {
        let (mut parts, body) = request.into_parts();
        match self.authenticate(peer, &parts) {
            Ok(Some(caller)) => {
                parts.extensions.insert(caller);
            }
            Ok(None) => {}
            Err(error) => {
                super::body::drain_body(body, &parts.headers).await;
                return Err(error);
            }
        }
        let body = super::body::read_body(body, &parts.headers, &self.limits).await?;
        if !body.is_empty() {
            parts.extensions.insert(CompleteBody(body));
        }
        let request = Request::from_parts(parts, Body::empty());
        let Ok(response) = self.router.clone().call(request).await;
        Ok(response)
    }

    /// Returns the principal of a request, or `None` on the open paths. The file mode controls
    /// access to the Unix socket, and no page in a browser can reach it. A request over the Unix
    /// socket therefore needs neither a token nor a valid host.
    fn authenticate(
        &self,
        peer: &PeerAddress,
        parts: &Parts,
    ) -> Result<Option<Principal>, ApiError> {
        if let Some(caller) = peer.local_principal() {
            return Ok(Some(caller));
        }
        self.host_allowlist.check_host(&parts.uri, &parts.headers)?;
        if matches!(parts.uri.path(), health::LIVENESS_PATH | health::READINESS_PATH) {
            return Ok(None);
        }
        if self.agent_allowlist.matches_path(parts.uri.path()) {
            return self.agent_allowlist.authorize(peer).map(Some);
        }
        // A token takes precedence, because its caller may differ from that of the certificate.
        if let (PeerAddress::Tcp(_, Some(certificate)), false) =
            (peer, parts.headers.contains_key(header::AUTHORIZATION))
            && let Some(caller) = certificate.caller()
        {
            return Ok(Some(caller));
        }
        let token = bearer_token(&parts.headers).ok_or(ApiError::MissingToken)?;
        let tokens = Arc::clone(&self.tokens.borrow());
        tokens.authenticate(token).cloned().map(Some).ok_or_else(|| self.record_unknown_token(peer))
    }

    /// Counts a denial against the address of its peer, and returns its number within the minute.
    ///
    /// Returns 1 without counting if the peer has no address. The same holds if the caller is
    /// admitted and only a field of its request is denied.
    fn count_denial(&self, peer: &PeerAddress, denial: AccessDenial) -> u32 {
        if denial.field.is_some() {
            return 1;
        }
        count_source(&self.denials, peer).map_or(1, |window| window.count)
    }

    /// Counts an unknown token against the address of its peer, and returns the error.
    fn record_unknown_token(&self, peer: &PeerAddress) -> ApiError {
        match count_source(&self.auth_failures, peer) {
            Some(WindowCount { count, resets_in }) if count > MAX_EVENTS_PER_WINDOW => {
                ApiError::TooManyAuthFailures { resets_in }
            }
            _ => ApiError::UnknownSession,
        }
    }
}

/// Counts one event of the peer's address. Returns `None` for the Unix socket, which has no
/// address.
fn count_source(counter: &Mutex<SourceCounter>, peer: &PeerAddress) -> Option<WindowCount> {
    let PeerAddress::Tcp(address, _) = peer else { return None };
    Some(lock_unpoisoned(counter).count_source(address.ip(), Instant::now()))
}

/// Returns the token in `Authorization: OAuth <session>`, or after the scheme `Bearer`, the common
/// name for the same credential. Returns `None` unless exactly one such header exists.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, session) = value.to_str().ok()?.split_once(' ')?;
    let is_supported = ["OAuth", "Bearer"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    Some(session.trim()).filter(|session| is_supported && !session.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_follows_oauth_or_bearer_in_one_header() {
        for (values, expected) in [
            (vec!["OAuth abc"], Some("abc")),
            (vec!["oauth  abc "], Some("abc")),
            (vec!["Bearer abc"], Some("abc")),
            (vec!["OAuth"], None),
            (vec!["OAuth  "], None),
            (vec!["OAuthabc"], None),
            (vec!["ZStack id:signature"], None),
            (vec!["Basic abc"], None),
            (vec!["OAuth abc", "OAuth abc"], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer_token(&headers), expected, "{values:?}");
        }
    }
}
