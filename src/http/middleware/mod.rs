//! The middleware around the router. It is one service, because each layer of a `tower` stack would
//! box every request once more.

pub(super) mod request_id;
mod target;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, Version, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service as _;
use tracing::{Instrument as _, Level, Span, debug, enabled, info_span};

use super::admission::ConnectionPermit;
use super::admission::source::TrustedProxies;
use super::admission::table::Credential;
use super::api::health;
use super::audit::AUDIT_TARGET;
use super::auth::agent_allowlist::AgentAllowlist;
use super::auth::host_allowlist::HostAllowlist;
use super::auth::rate_limit::{MAX_EVENTS_PER_WINDOW, SourceCounter, WindowCount};
use super::auth::request_origin;
use super::auth::tokens::TokenTable;
use super::auth::{PeerAddress, Principal};
use super::body::CompleteBody;
use super::denial_log::DenialLog;
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
    pub(super) proxies: TrustedProxies,
    pub(super) tokens: watch::Receiver<Arc<TokenTable>>,
    pub(super) random: Arc<dyn Random>,
    /// Counts the unknown tokens of each address.
    pub(super) auth_failures: Mutex<SourceCounter>,
    /// Counts the denials of each address, to bound the lines in the log.
    pub(super) denials: Mutex<SourceCounter>,
    /// Bounds the lines about the denials of all addresses.
    pub(super) denial_log: DenialLog,
    pub(super) limits: ServerLimits,
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
            *request.uri_mut() = normal;
        }
        let id = request_id::from_headers(request.headers(), self.random.as_ref());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let source = self.request_source(peer, request.headers());
        let span = || {
            let path = uri.path();
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
        async {
            let response = self.authenticate_and_dispatch(peer, source, permit, request).await;
            let mut response = response.unwrap_or_else(ApiError::into_response);
            if let Some(denial) = response.extensions_mut().remove::<AccessDenial>() {
                let repeated = self.count_denial(source, denial) > MAX_EVENTS_PER_WINDOW + 1;
                let written = self.denial_log.count_denial(repeated, Instant::now());
                let line = || super::audit::log_denial(response.status(), denial, written);
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
        match self.admit_request(peer, source, permit, &parts) {
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

    /// Returns the principal of a request, or `None` on the open paths, and counts the connection
    /// among those that have shown a credential.
    fn admit_request(
        &self,
        peer: &PeerAddress,
        source: RequestSource,
        permit: &ConnectionPermit,
        parts: &Parts,
    ) -> Result<Option<Principal>, ApiError> {
        let Some((caller, credential)) = self.authenticate(peer, source, parts)? else {
            return Ok(None);
        };
        if permit.record_credential(credential) {
            return Ok(Some(caller));
        }
        Err(ApiError::over_capacity(self.limits.max_trusted_connections))
    }

    /// Returns the principal of a request and its credential, or `None` on the open paths. The file
    /// mode controls access to the Unix socket, so a request over it needs no token. A page in a
    /// browser can reach it where it is forwarded, and can send the certificate of its user.
    /// Therefore each request that acts without a session must come from the daemon's own origin.
    fn authenticate(
        &self,
        peer: &PeerAddress,
        source: RequestSource,
        parts: &Parts,
    ) -> Result<Option<(Principal, Credential)>, ApiError> {
        let with_session = |caller| Some((caller, Credential::Session));
        if let Some(caller) = peer.local_principal() {
            self.host_allowlist.check_local_host(&parts.uri, &parts.headers)?;
            check_same_site(parts)?;
            return Ok(with_session(caller));
        }
        let is_open = matches!(parts.uri.path(), health::LIVENESS_PATH | health::READINESS_PATH);
        if is_open && has_no_host(parts) {
            return Ok(None);
        }
        self.host_allowlist.check_host(&parts.uri, &parts.headers)?;
        if is_open {
            return Ok(None);
        }
        if self.agent_allowlist.matches_path(parts.uri.path()) {
            check_same_site(parts)?;
            let caller = self.agent_allowlist.authorize(peer)?;
            return Ok(Some((caller, Credential::Network)));
        }
        // A token takes precedence, because its caller may differ from that of the certificate.
        if let (PeerAddress::Tcp(_, Some(certificate)), false) =
            (peer, parts.headers.contains_key(header::AUTHORIZATION))
            && let Some(caller) = certificate.caller()
        {
            check_same_site(parts)?;
            return Ok(with_session(caller));
        }
        let token = bearer_token(&parts.headers).ok_or(ApiError::MissingToken)?;
        let tokens = Arc::clone(&self.tokens.borrow());
        let caller = tokens.authenticate(token).cloned();
        caller.map(with_session).ok_or_else(|| self.record_unknown_token(source))
    }

    /// Counts a denial against its source, and returns its number within the minute.
    ///
    /// Returns 1 without counting if the source has no address. The same holds if the caller is
    /// admitted and only a field of its request is denied.
    fn count_denial(&self, source: RequestSource, denial: AccessDenial) -> u32 {
        if denial.field.is_some() {
            return 1;
        }
        count_source(&self.denials, source).map_or(1, |window| window.count)
    }

    /// Counts an unknown token against its source, and returns the error.
    fn record_unknown_token(&self, source: RequestSource) -> ApiError {
        match count_source(&self.auth_failures, source) {
            Some(WindowCount { count, resets_in }) if count > MAX_EVENTS_PER_WINDOW => {
                ApiError::TooManyAuthFailures { resets_in }
            }
            _ => ApiError::UnknownSession,
        }
    }
}

/// The source of a request.
#[derive(Clone, Copy, Debug, Default)]
struct RequestSource {
    /// The client that a trusted proxy has named.
    client: Option<IpAddr>,
    /// The address that the limits count: that of the client or else of the peer. `None` for the
    /// Unix socket, which has no address.
    limited: Option<IpAddr>,
}

/// Counts one event of a source. Returns `None` if it has no address.
fn count_source(counter: &Mutex<SourceCounter>, source: RequestSource) -> Option<WindowCount> {
    Some(lock_unpoisoned(counter).count_source(source.limited?, Instant::now()))
}

/// Returns true for a request in HTTP/1.0 that names no host, as health checks of load balancers
/// do. No browser sends one.
fn has_no_host(parts: &Parts) -> bool {
    parts.version == Version::HTTP_10
        && parts.uri.authority().is_none()
        && !parts.headers.contains_key(header::HOST)
}

/// Checks that no page of another site has caused a request without a session.
///
/// # Errors
/// [`ApiError::CrossSiteRequest`].
fn check_same_site(parts: &Parts) -> Result<(), ApiError> {
    if request_origin::is_cross_site(&parts.method, &parts.uri, &parts.headers) {
        return Err(ApiError::CrossSiteRequest);
    }
    Ok(())
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
