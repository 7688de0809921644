//! What every request passes: one service around the router, in place of a stack of layers, each of
//! which would box the request once more.

pub(super) mod audit;
pub(super) mod body;
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

use super::api::error::{AccessDenial, Refusal};
use super::api::health;
use super::auth::agent_allowlist::AgentDoor;
use super::auth::host_allowlist::Hosts;
use super::auth::peer::Peer;
use super::auth::principal::Caller;
use super::auth::rate_limit::{MOST, Nth, Repeats};
use super::server::limits::Limits;
use audit::AUDIT;
use body::CompleteBody;

use super::auth::tokens::Tokens;
use crate::common::{Random, lock_unpoisoned};

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// Most bytes of a path in a log line.
const SHOWN: usize = 256;

/// The way in.
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) hosts: Hosts,
    pub(super) agent: AgentDoor,
    pub(super) tokens: watch::Receiver<Arc<Tokens>>,
    pub(super) random: Arc<dyn Random>,
    /// The unknown sessions of each address.
    pub(super) auth_failures: Mutex<Repeats>,
    /// The denials of each address, which bound the lines of the log.
    pub(super) denials: Mutex<Repeats>,
    pub(super) limits: Limits,
}

impl Front {
    /// Answers one request.
    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Response {
        self.named(peer, request, async |request| self.serve(peer, request).await).await
    }

    /// Answers one request of a connection there is no room for.
    pub(super) async fn turn_away(&self, peer: &Peer, request: Request<Incoming>) -> Response {
        let refuse = async |request: Request<Incoming>| {
            let (parts, body) = request.into_parts();
            body::hear_out(body, &parts.headers).await;
            Err(Refusal::busy(self.limits.connections))
        };
        self.named(peer, request, refuse).await
    }

    /// Gives the request its name and span, and the answer the headers that all answers have.
    async fn named(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        answer: impl AsyncFnOnce(Request<Incoming>) -> Result<Response, Refusal>,
    ) -> Response {
        let id = request_id::of(request.headers(), self.random.as_ref());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let span = || {
            let path = uri.path();
            let path = path.get(..path.floor_char_boundary(SHOWN)).unwrap_or_default();
            info_span!(target: AUDIT, "request", id = id.to_str().unwrap_or_default(), %method, path, %peer)
        };
        // A span costs more than the rest of a read, which has nothing to say unless it is refused.
        let reads = method.is_safe() && !enabled!(Level::DEBUG);
        let around = if reads { Span::none() } else { span() };
        async {
            let mut response = answer(request).await.unwrap_or_else(Refusal::into_response);
            if let Some(denial) = response.extensions_mut().remove::<AccessDenial>() {
                let repeated = self.count_denial(peer, denial) > MOST + 1;
                let line = || audit::log_denial(response.status(), denial, repeated);
                if reads { span().in_scope(line) } else { line() }
            }
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, JSON);
            headers.insert(request_id::HEADER, id.clone());
            debug!(status = response.status().as_u16(), "answered");
            response
        }
        .instrument(around)
        .await
    }

    async fn serve(&self, peer: &Peer, request: Request<Incoming>) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        match self.admit(peer, &parts) {
            Ok(Some(caller)) => {
                parts.extensions.insert(caller);
            }
            Ok(None) => {}
            Err(refusal) => {
                body::hear_out(body, &parts.headers).await;
                return Err(refusal);
            }
        }
        let body = body::read(body, &parts.headers, &self.limits).await?;
        if !body.is_empty() {
            parts.extensions.insert(CompleteBody(body));
        }
        let request = Request::from_parts(parts, Body::empty());
        let Ok(response) = self.router.clone().call(request).await;
        Ok(response)
    }

    /// Who is let in: nobody by name on the open paths. Access to the Unix socket is its file mode, and
    /// no page in a browser reaches it, so that there neither session nor host is asked for.
    fn admit(&self, peer: &Peer, parts: &Parts) -> Result<Option<Caller>, Refusal> {
        if let Some(caller) = peer.local_caller() {
            return Ok(Some(caller));
        }
        self.hosts.check(&parts.uri, &parts.headers)?;
        if matches!(parts.uri.path(), health::ALIVE | health::READY) {
            return Ok(None);
        }
        if self.agent.leads_to(parts.uri.path()) {
            return self.agent.admit(peer).map(Some);
        }
        // A session that is given counts: its caller may be another than the certificate's.
        if let (Peer::Tcp(_, Some(shown)), false) =
            (peer, parts.headers.contains_key(header::AUTHORIZATION))
            && let Some(caller) = shown.caller()
        {
            return Ok(Some(caller));
        }
        let token = session(&parts.headers).ok_or(Refusal::NoSession)?;
        let tokens = Arc::clone(&self.tokens.borrow());
        tokens.caller(token).cloned().map(Some).ok_or_else(|| self.on_unknown_token(peer))
    }

    /// Counts a denial against the address of its peer, and returns its number within the minute.
    ///
    /// Returns 1 without counting if the peer has no address, or if only a field of an admitted caller
    /// was denied.
    fn count_denial(&self, peer: &Peer, denial: AccessDenial) -> u32 {
        let counted = denial.field.is_none().then(|| count_source(&self.denials, peer)).flatten();
        counted.map_or(1, |Nth { nth, .. }| nth)
    }

    /// Counts an unknown session against the address of its peer, and returns the refusal.
    fn on_unknown_token(&self, peer: &Peer) -> Refusal {
        match count_source(&self.auth_failures, peer) {
            Some(Nth { nth, left }) if nth > MOST => Refusal::TooManyGuesses { left },
            _ => Refusal::UnknownSession,
        }
    }
}

/// Counts one more request of the peer's address. Returns `None` for the Unix socket, which has none.
fn count_source(repeats: &Mutex<Repeats>, peer: &Peer) -> Option<Nth> {
    let Peer::Tcp(address, _) = peer else { return None };
    Some(lock_unpoisoned(repeats).count(address.ip(), Instant::now()))
}

/// The session in `Authorization: OAuth <session>`, or behind `Bearer`, the name the world has given
/// to the same thing.
fn session(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, session) = value.to_str().ok()?.split_once(' ')?;
    let known = ["OAuth", "Bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    Some(session.trim()).filter(|session| known && !session.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stands_behind_oauth_or_bearer_once() {
        for (given, expected) in [
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
            for value in &given {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(session(&headers), expected, "{given:?}");
        }
    }
}
