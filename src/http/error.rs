//! Maps every request error to a status and its headers.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::response;
use super::auth::Role;
use super::auth::access_key::SignatureRefusal;
use super::error_text::error_language;
use crate::agent::{AcceptError, CheckError, ReconnectError};
use crate::management::{PostShare, ReplyRefusal, UrlError};
use crate::model::{AttemptFailure, Fault, HostKey, Reason, Remedy, StoreUuid};
use crate::query::InvalidParameter;
use crate::wire::{InvalidBody, UnsupportedCall};

/// The error of a request.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// The uuid in the path is malformed.
    InvalidUuid,
    /// A query parameter cannot be honoured.
    InvalidParameter(InvalidParameter),
    /// The body does not contain a valid request.
    InvalidBody(InvalidBody),
    /// The body ended early, or its framing differs from its headers.
    MalformedBody,
    /// The header `name` is invalid, or is present several times.
    InvalidHeader { name: &'static str, expected: &'static str },
    /// The id of a job belongs to another request.
    JobIdTaken,
    /// The job is unknown, or its result was dropped.
    UnknownJob,
    /// The address has asked for too many unknown jobs. The client should wait for the time
    /// `resets_in`.
    TooManyJobGuesses { resets_in: Duration },
    /// There is not exactly one `Host` header, or it cannot be parsed.
    InvalidHost,
    /// The daemon does not answer to this `Host`.
    HostNotAllowed,
    /// A page of another site has caused a request that needs no session.
    CrossSiteRequest,
    /// The request has no token.
    MissingToken,
    /// The token is unknown.
    UnknownSession,
    /// The signature of an access key does not admit the request.
    SignatureRefused(SignatureRefusal),
    /// The address has sent too many unknown tokens or wrong signatures. The client should wait
    /// for the time `resets_in`.
    TooManyAuthFailures { resets_in: Duration },
    /// The management node did not say whether the session is valid, or was not asked.
    SessionUnchecked(Fault),
    /// The request is a question of this daemon to the management node.
    OwnQuestion,
    /// A login has a wrong name or a wrong password.
    LoginFailed,
    /// No account may log in, because `auth.accounts_file` names none.
    LoginDisabled,
    /// The address has sent too many logins, or too many wrong ones for one name. The client should
    /// wait for the time `resets_in`.
    TooManyLogins { resets_in: Duration },
    /// A caller requested a probe of the store within `monitor.interval`. The next request may
    /// follow after the time `resets_in`.
    ProbeTooSoon { resets_in: Duration },
    /// The queue of the passwords to check is full, or did not reach this one in time.
    LoginsBusy,
    /// A call of the agent protocol came from outside the networks of `server.agent_allow`.
    NetworkNotAllowed(IpAddr),
    /// The daemon must not call the URL in the field `name`.
    UrlNotAllowed { name: &'static str, bad: UrlError },
    /// The daemon must not call the URL in `X-Web-Hook`.
    HookNotAllowed(UrlError),
    /// This header of an asynchronous call is missing or invalid.
    InvalidTaskHeader(&'static str),
    /// A synchronous call has the `taskuuid` header of an asynchronous one.
    UnexpectedTaskHeader,
    /// The role of the caller is insufficient.
    InsufficientRole { has: Role, needs: Role },
    /// An update names the fingerprint of a host key, which needs the role admin.
    FingerprintNeedsAdmin { has: Role },
    /// An update to another server does not bring the secrets for it.
    SecretsRequired,
    /// An update names another image directory than that of the store.
    UrlIsFixed,
    /// The query names a mode of deletion that ZStack does not have.
    InvalidDeleteMode,
    /// The call is known, but the daemon does not carry it out.
    UnsupportedCall(UnsupportedCall),
    /// The request is a message of ZStack's older protocol.
    LegacyApi,
    /// The path does not exist.
    UnknownPath,
    /// The store does not exist.
    UnknownStore(StoreUuid),
    /// The path does not support the method. The router sets the `Allow` header.
    MethodNotAllowed,
    /// The body did not arrive within this time.
    BodyTimeout(Duration),
    /// The body has more bytes than this.
    BodyTooLarge(usize),
    /// The content type is not JSON.
    NotJson,
    /// The body has a content coding. The value is its name, if it is a valid one.
    UnsupportedCoding(Option<String>),
    /// The host key to accept is not the one that the last failed attempt recorded. The value is
    /// the recorded key, if there is one.
    HostKeyMismatch(Option<HostKey>),
    /// The store to add already exists.
    AlreadyExists(Fault),
    /// The attempt failed, or there was no attempt because the daemon is busy or stopping.
    ConnectFailed(AttemptFailure),
    /// The add failed.
    AddFailed(AttemptFailure),
    /// The store was not enabled or disabled, or its zones were not changed.
    ChangeFailed(AttemptFailure),
    /// The removal could not be recorded.
    RemoveFailed(AttemptFailure),
}

impl ApiError {
    /// Creates the error for too many open connections.
    pub(crate) fn over_capacity(connections: usize) -> Self {
        let fault = Fault::new(Reason::AgentBusy, "too many connections are open");
        Self::ConnectFailed(AttemptFailure::from_fault(
            fault.with_detail("connections", connections),
        ))
    }

    /// Creates the error for a call of the agent protocol whose reply is not accepted.
    pub(super) fn reply_refused(refusal: ReplyRefusal) -> Self {
        let fault = match refusal {
            ReplyRefusal::Full { share, destination } => {
                let (details, remedy) = match share {
                    PostShare::All => ("too many replies are pending", None),
                    PostShare::Caller => ("this caller has its share of the pending replies", None),
                    PostShare::Destination => (
                        "this destination has its share of the pending replies",
                        Some(Remedy::CheckReplyReceiver),
                    ),
                };
                let fault = Fault::new(Reason::AgentBusy, details)
                    .with_detail("destination", destination.to_string());
                match remedy {
                    Some(remedy) => fault.with_remedy(remedy),
                    None => fault,
                }
            }
            ReplyRefusal::Stopping => {
                Fault::new(Reason::AgentStopping, "the daemon is stopping, and posts no reply")
            }
        };
        Self::ConnectFailed(AttemptFailure::from_fault(fault))
    }

    /// Creates the error for a URL in the field `name` that the daemon does not call.
    pub(super) fn url_not_allowed(name: &'static str, bad: UrlError) -> Self {
        if !matches!(bad, UrlError::UnknownAddresses(_)) {
            return Self::UrlNotAllowed { name, bad };
        }
        // The URL may be good, so a later call may succeed.
        let details = format!("the daemon has not checked the URL in {name}: {bad}");
        Self::ConnectFailed(AttemptFailure::from_fault(Fault::new(Reason::AgentBusy, details)))
    }

    /// Creates the error for a large body that did not get its turn.
    pub(super) fn too_many_large_bodies() -> Self {
        let details = "the large bodies of other requests did not arrive in time";
        Self::ConnectFailed(AttemptFailure::from_fault(Fault::new(Reason::AgentBusy, details)))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidUuid
            | Self::InvalidParameter(_)
            | Self::InvalidBody(_)
            | Self::MalformedBody
            | Self::SecretsRequired
            | Self::UrlIsFixed
            | Self::InvalidDeleteMode
            | Self::InvalidHeader { .. }
            | Self::JobIdTaken
            | Self::InvalidHost
            | Self::InvalidTaskHeader(_)
            | Self::UrlNotAllowed { bad: UrlError::NotHttp, .. }
            | Self::HookNotAllowed(_)
            | Self::HostKeyMismatch(_)
            | Self::AlreadyExists(_) => StatusCode::BAD_REQUEST,
            Self::MissingToken | Self::UnknownSession => StatusCode::UNAUTHORIZED,
            Self::SignatureRefused(refusal) => refusal.status(),
            Self::TooManyAuthFailures { .. }
            | Self::TooManyJobGuesses { .. }
            | Self::TooManyLogins { .. }
            | Self::ProbeTooSoon { .. }
            | Self::LoginsBusy => StatusCode::TOO_MANY_REQUESTS,
            Self::InsufficientRole { .. }
            | Self::FingerprintNeedsAdmin { .. }
            | Self::CrossSiteRequest
            | Self::NetworkNotAllowed(_)
            | Self::UrlNotAllowed { .. } => StatusCode::FORBIDDEN,
            // ZStack's agents answer with this status (`zstacklib/utils/http.py`).
            Self::UnexpectedTaskHeader => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UnknownPath | Self::UnknownStore(_) | Self::UnknownJob => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson | Self::UnsupportedCoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // RFC 9110 section 15.5.20: the request is not addressed to this server.
            Self::HostNotAllowed | Self::OwnQuestion => StatusCode::MISDIRECTED_REQUEST,
            // ZStack reports a failed login as it reports a failed action.
            Self::LoginFailed
            | Self::LoginDisabled
            | Self::ConnectFailed(_)
            | Self::AddFailed(_)
            | Self::ChangeFailed(_)
            | Self::RemoveFailed(_)
            | Self::UnsupportedCall(_)
            | Self::LegacyApi
            | Self::SessionUnchecked(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the reason why an attempt, an add or a removal failed, or `None` for other errors.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::ConnectFailed(failure)
            | Self::AddFailed(failure)
            | Self::ChangeFailed(failure)
            | Self::RemoveFailed(failure) => Some(failure.root_fault().reason()),
            Self::AlreadyExists(fault) | Self::SessionUnchecked(fault) => Some(fault.reason()),
            _ => None,
        }
    }

    /// Returns the time in seconds after which the same request may succeed without an operator, or
    /// `None` if there is none. It is never 0, with which OkHttp would repeat the request at once.
    fn retry_after(&self) -> Option<u16> {
        match self {
            Self::TooManyAuthFailures { resets_in }
            | Self::TooManyJobGuesses { resets_in }
            | Self::TooManyLogins { resets_in }
            | Self::ProbeTooSoon { resets_in } => {
                return u16::try_from(resets_in.as_secs().saturating_add(1)).ok();
            }
            // OkHttp repeats a request after a 408 without this header, also one that changes a
            // store.
            Self::LoginsBusy | Self::BodyTimeout(_) => return Some(1),
            _ => {}
        }
        let fault = match self {
            Self::ConnectFailed(failure)
            | Self::AddFailed(failure)
            | Self::ChangeFailed(failure)
            | Self::RemoveFailed(failure) => failure.root_fault(),
            Self::SessionUnchecked(fault) => fault,
            _ => return None,
        };
        match fault.reason() {
            Reason::AgentBusy => Some(1),
            Reason::AgentStopping | Reason::ManagementUnreachable => Some(5),
            Reason::StateDiskTrouble => Some(30),
            _ => u16::try_from(fault.retry_after()?.as_secs().max(1)).ok(),
        }
    }

    /// Returns true if a caller that fetches its result later gets the error in the response
    /// itself. These are the errors that are none of the action, and those that the same request
    /// overcomes later.
    pub(super) fn is_direct_answer(&self) -> bool {
        match self.status() {
            StatusCode::BAD_REQUEST => !matches!(
                self,
                Self::InvalidUuid
                    | Self::InvalidBody(InvalidBody::Field(_))
                    | Self::SecretsRequired
                    | Self::UrlIsFixed
                    | Self::InvalidDeleteMode
                    | Self::HostKeyMismatch(_)
                    | Self::AlreadyExists(_)
            ),
            StatusCode::NOT_FOUND => !matches!(self, Self::UnknownStore(_)),
            StatusCode::SERVICE_UNAVAILABLE => self.retry_after().is_some(),
            _ => true,
        }
    }

    /// Returns true if the connection cannot be reused, because the rest of the body precedes the
    /// next request.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::BodyTimeout(_) | Self::BodyTooLarge(_) | Self::MalformedBody)
    }
}

impl From<ReconnectError> for ApiError {
    fn from(error: ReconnectError) -> Self {
        match error {
            ReconnectError::UnknownStore(store) => Self::UnknownStore(store),
            ReconnectError::Failed(failure) => Self::ConnectFailed(failure),
        }
    }
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::UnknownStore(store) => Self::UnknownStore(store),
            CheckError::TooSoon(resets_in) => Self::ProbeTooSoon { resets_in },
            CheckError::Failed(failure) => Self::ConnectFailed(failure),
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::UnknownStore(store) => Self::UnknownStore(store),
            AcceptError::NotOffered(recorded) => Self::HostKeyMismatch(recorded),
            AcceptError::Failed(failure) => Self::ConnectFailed(failure),
        }
    }
}

impl From<InvalidBody> for ApiError {
    fn from(bad: InvalidBody) -> Self {
        Self::InvalidBody(bad)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response =
            response::error_response(self.status(), &self.error_code(error_language()));
        if let Some(denial) = self.access_denial() {
            response.extensions_mut().insert(denial);
        }
        if let Some(denial) = self.role_denial() {
            response.extensions_mut().insert(denial);
        }
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("OAuth realm=\"imagestore-agent\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        // RFC 9110 section 12.5.3.
        if matches!(self, Self::UnsupportedCoding(_)) {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.ends_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use hyper::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn a_url_whose_addresses_are_not_known_may_be_sent_again() {
        for name in ["X-Web-Hook", "callbackurl"] {
            let unknown = UrlError::UnknownAddresses("the name service did not answer in time");
            let response = ApiError::url_not_allowed(name, unknown).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{name}");
            assert!(response.headers().contains_key(RETRY_AFTER), "{name}");
            // The name service has answered, so the URL is at fault.
            let no_address = UrlError::Unresolved("no such name".to_owned());
            let response = ApiError::url_not_allowed(name, no_address).into_response();
            assert!(response.status().is_client_error(), "{name}");
        }
    }
}
