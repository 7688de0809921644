//! Authentication of a request: its principal, by the kind of its peer, its path and its
//! credential.

use std::sync::{Arc, Mutex};

use axum::http::request::Parts;
use axum::http::{Version, header};
use tokio::sync::watch;

use super::access_key::SignatureVerifier;
use super::accounts::Accounts;
use super::agent_allowlist::AgentAllowlist;
use super::authorization::Authorization;
use super::host_allowlist::HostAllowlist;
use super::management_session::SessionCheck;
use super::open_paths::{OpenPath, OpenPaths};
use super::rate_limit::{RequestSource, SourceCounter};
use super::tokens::TokenTable;
use super::{PeerAddress, Principal, request_origin};
use crate::http::admission::table::Credential;
use crate::http::error::ApiError;
use crate::management::CandidateSession;
use LocalAuthentication::{Complete, Undecided};

/// The rules and tables that authenticate requests.
pub(in crate::http) struct Authenticator {
    pub(in crate::http) host_allowlist: HostAllowlist,
    pub(in crate::http) open_paths: OpenPaths,
    pub(in crate::http) agent_allowlist: AgentAllowlist,
    pub(in crate::http) tokens: watch::Receiver<Arc<TokenTable>>,
    pub(in crate::http) accounts: Arc<Accounts>,
    /// The check of sessions of the management node, or `None` if they are not accepted.
    pub(in crate::http) session_check: Option<SessionCheck>,
    pub(in crate::http) signatures: SignatureVerifier,
    /// Counts the unknown sessions and tokens, the unknown access keys and the wrong signatures of
    /// each address.
    pub(in crate::http) auth_failures: Arc<Mutex<SourceCounter>>,
}

/// The result of an authentication without a wait.
enum LocalAuthentication<'a> {
    /// The principal and its credential, or `None` on the open paths.
    Complete(Option<(Principal, Credential)>),
    /// Only the management node knows whether this session is valid.
    Undecided(&'a SessionCheck, CandidateSession<'a>),
}

impl Authenticator {
    /// Returns the principal of a request and its credential, or `None` on the open paths. The file
    /// mode controls access to the Unix socket, so a request over it needs no token. A page in a
    /// browser can reach it where it is forwarded, and can send the certificate of its user.
    /// Therefore each request that acts without a session must come from the daemon's own origin.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(in crate::http) async fn authenticate(
        &self,
        peer: &PeerAddress,
        source: RequestSource,
        parts: &Parts,
    ) -> Result<Option<(Principal, Credential)>, ApiError> {
        match self.authenticate_locally(peer, source, parts)? {
            Complete(caller) => Ok(caller),
            Undecided(check, session) => {
                // The box keeps the future of all other requests small.
                let checked = check.authenticate(session, source, &self.auth_failures);
                Ok(Some((Box::pin(checked).await?, Credential::Session)))
            }
        }
    }

    /// Authenticates a request as far as the daemon itself can.
    fn authenticate_locally<'a>(
        &'a self,
        peer: &PeerAddress,
        source: RequestSource,
        parts: &'a Parts,
    ) -> Result<LocalAuthentication<'a>, ApiError> {
        let with_session = |caller| Complete(Some((caller, Credential::Session)));
        if let Some(check) = &self.session_check {
            check.reject_own_question(&parts.headers)?;
        }
        if let Some(caller) = peer.local_principal() {
            self.host_allowlist.check_local_host(&parts.uri, &parts.headers)?;
            check_same_site(parts)?;
            return Ok(with_session(caller));
        }
        let open_path = self.open_paths.find(parts.uri.path());
        if open_path == Some(OpenPath::HealthCheck) && has_no_host(parts) {
            return Ok(Complete(None));
        }
        self.host_allowlist.check_host(&parts.uri, &parts.headers)?;
        match open_path {
            Some(OpenPath::HealthCheck) => return Ok(Complete(None)),
            // A credential is not needed, but gives the caller a share of its own.
            Some(OpenPath::Metrics) => {
                return Ok(match self.authenticate_credential(peer, source, parts) {
                    Ok(Complete(caller)) => Complete(caller),
                    Ok(Undecided(..)) | Err(_) => Complete(None),
                });
            }
            Some(OpenPath::Api) => {
                check_same_site(parts)?;
                return Ok(Complete(None));
            }
            None => {}
        }
        if self.agent_allowlist.matches_path(parts.uri.path()) {
            check_same_site(parts)?;
            let caller = self.agent_allowlist.authorize(peer)?;
            let caller = caller.with_network(source.network());
            return Ok(Complete(Some((caller, Credential::Network))));
        }
        self.authenticate_credential(peer, source, parts)
    }

    /// Authenticates a request by its token, signature or certificate.
    fn authenticate_credential<'a>(
        &'a self,
        peer: &PeerAddress,
        source: RequestSource,
        parts: &'a Parts,
    ) -> Result<LocalAuthentication<'a>, ApiError> {
        let with_session = |caller| Complete(Some((caller, Credential::Session)));
        // A token takes precedence, because its caller may differ from that of the certificate.
        if let (PeerAddress::Tcp(_, Some(certificate)), false) =
            (peer, parts.headers.contains_key(header::AUTHORIZATION))
            && let Some(caller) = certificate.caller()
        {
            check_same_site(parts)?;
            return Ok(with_session(caller));
        }
        match Authorization::from_headers(&parts.headers) {
            Authorization::Session(session) => {
                if let Some(caller) = self.tokens.borrow().authenticate(session) {
                    return Ok(with_session(caller.clone()));
                }
                if let Some(caller) = self.accounts.authenticate(session) {
                    return Ok(with_session(caller));
                }
                if let Some(check) = &self.session_check
                    && let Some(candidate) = check.candidate(session, &parts.headers)
                {
                    return Ok(Undecided(check, candidate));
                }
                Err(source.record_unknown_session(&self.auth_failures))
            }
            Authorization::Signature(signature) => {
                let caller = self.signatures.verify(signature, parts);
                caller.map(with_session).map_err(|refusal| {
                    let error = ApiError::SignatureRefused(refusal);
                    if refusal.is_guess() {
                        source.record_guess(&self.auth_failures, error)
                    } else {
                        error
                    }
                })
            }
            Authorization::Unusable => Err(ApiError::MissingToken),
        }
    }

    /// Returns true if requests for the path need no session and are limited by their source.
    pub(in crate::http) fn limits_source(&self, path: &str) -> bool {
        self.open_paths.find(path) == Some(OpenPath::Api)
    }
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
