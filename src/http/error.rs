//! Maps every request error to a status, its headers and its error object.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::response;
use super::auth::Role;
use crate::agent::{AcceptError, ReconnectError};
use crate::management::BadUrl;
use crate::model::{AttemptFailure, Fault, HostKey, Reason, StoreUuid};
use crate::wire::{BadBody, ErrorCode};

/// The error of a request.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// The uuid in the path is malformed.
    BadUuid,
    /// The body does not contain a valid request.
    BadBody(BadBody),
    /// The body ended early, or its framing differs from its headers.
    MalformedBody,
    /// There is not exactly one `Host` header, or it cannot be parsed.
    BadHost,
    /// The daemon does not answer to this `Host`.
    HostNotAllowed,
    /// The request has no token.
    MissingToken,
    /// The token is unknown.
    UnknownSession,
    /// The address has sent too many unknown tokens. The client should wait for the time `left`.
    TooManyAuthFailures { left: Duration },
    /// A call of the agent protocol came from outside the networks of `server.agent_allow`.
    NetworkNotAllowed(IpAddr),
    /// The daemon must not call the URL in the field `name`.
    UrlNotAllowed { name: &'static str, bad: BadUrl },
    /// This header of an asynchronous call is missing or invalid.
    InvalidTaskHeader(&'static str),
    /// A synchronous call has the `taskuuid` header of an asynchronous one.
    UnexpectedTaskHeader,
    /// The role of the caller is insufficient.
    InsufficientRole { has: Role, needs: Role },
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
    /// The content type is not JSON in UTF-8.
    NotJson,
    /// The host key to accept is not the one that the last failed attempt recorded. The value is
    /// the recorded key, if there is one.
    HostKeyMismatch(Option<HostKey>),
    /// The store to add already exists.
    AlreadyExists(Fault),
    /// The attempt failed, or there was no attempt because the daemon is busy or stopping.
    ConnectFailed(AttemptFailure),
    /// The add failed.
    AddFailed(AttemptFailure),
    /// The removal could not be recorded.
    RemoveFailed(AttemptFailure),
}

/// The denial of access behind an error. It is an extension of the response, so that the middleware
/// finds it both for its own errors and for those of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessDenial {
    /// The rule that denied access.
    pub(crate) why: &'static str,
    /// The field of the request that broke the rule, if the caller itself was admitted.
    pub(crate) field: Option<&'static str>,
}

impl ApiError {
    /// Creates the error for too many open connections.
    pub(crate) fn over_capacity(connections: usize) -> Self {
        let fault = Fault::new(Reason::AgentBusy, "too many connections are open");
        Self::ConnectFailed(AttemptFailure::from_fault(
            fault.with_detail("connections", connections),
        ))
    }

    /// Returns the denial for the audit log, or `None` if the error does not deny access.
    fn access_denial(&self) -> Option<AccessDenial> {
        let (why, field) = match self {
            Self::MissingToken => ("no session", None),
            Self::UnknownSession => ("unknown session", None),
            Self::TooManyAuthFailures { .. } => ("too many unknown sessions", None),
            Self::NetworkNotAllowed(_) => ("not in server.agent_allow", None),
            Self::UrlNotAllowed { name, .. } => {
                ("a URL that is not in server.agent_allow", Some(*name))
            }
            Self::BadHost | Self::HostNotAllowed => ("another Host", None),
            _ => return None,
        };
        Some(AccessDenial { why, field })
    }

    /// Creates the error for a full reply queue of the agent protocol.
    pub(super) fn reply_queue_full() -> Self {
        let told = "answers to earlier calls of the agent protocol wait to be posted";
        Self::ConnectFailed(AttemptFailure::from_fault(Fault::new(Reason::AgentBusy, told)))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadUuid
            | Self::BadBody(_)
            | Self::MalformedBody
            | Self::BadHost
            | Self::InvalidTaskHeader(_)
            | Self::UrlNotAllowed { bad: BadUrl::NotHttp, .. }
            | Self::HostKeyMismatch(_)
            | Self::AlreadyExists(_) => StatusCode::BAD_REQUEST,
            Self::MissingToken | Self::UnknownSession => StatusCode::UNAUTHORIZED,
            Self::TooManyAuthFailures { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::InsufficientRole { .. }
            | Self::NetworkNotAllowed(_)
            | Self::UrlNotAllowed { .. } => StatusCode::FORBIDDEN,
            // ZStack's agents answer with this status (`zstacklib/utils/http.py`).
            Self::UnexpectedTaskHeader => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UnknownPath | Self::UnknownStore(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // RFC 9110 section 15.5.20: the request is not addressed to this server.
            Self::HostNotAllowed => StatusCode::MISDIRECTED_REQUEST,
            Self::ConnectFailed(_) | Self::AddFailed(_) | Self::RemoveFailed(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Returns the reason why an attempt, an add or a removal failed, or `None` for other errors.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::ConnectFailed(failure)
            | Self::AddFailed(failure)
            | Self::RemoveFailed(failure) => Some(failure.root_fault().reason()),
            Self::AlreadyExists(fault) => Some(fault.reason()),
            _ => None,
        }
    }

    /// Returns the time in seconds after which the same request may succeed without an operator, or
    /// `None` if there is none.
    fn retry_after(&self) -> Option<u16> {
        if let Self::TooManyAuthFailures { left } = self {
            return u16::try_from(left.as_secs().saturating_add(1)).ok();
        }
        let (Self::ConnectFailed(failure) | Self::AddFailed(failure) | Self::RemoveFailed(failure)) =
            self
        else {
            return None;
        };
        match failure.root_fault().reason() {
            Reason::AgentBusy => Some(1),
            Reason::AgentStopping => Some(5),
            Reason::StateDiskTrouble => Some(30),
            _ => u16::try_from(failure.root_fault().retry_after()?.as_secs()).ok(),
        }
    }

    /// Returns true if the connection cannot be reused, because the rest of the body precedes the
    /// next request.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::BodyTimeout(_) | Self::BodyTooLarge(_) | Self::MalformedBody)
    }

    fn error_code(&self) -> ErrorCode {
        match self {
            Self::BadUuid => ErrorCode::new(
                "SYS.1007",
                "the uuid in the path is not 32 lower-case hexadecimal digits",
            )
            .with_elaboration("write the uuid as the inventory shows it, without dashes"),
            Self::BadBody(bad) => {
                let error = ErrorCode::new("SYS.1007", bad.to_string());
                match bad {
                    BadBody::Field(field) => error
                        .with_elaboration("correct the field and send it again")
                        .with_opaque("path", field.path.as_str())
                        .with_opaque("expected", field.expected.as_str()),
                    BadBody::NotJson { .. } | BadBody::NoAction => {
                        error.with_elaboration("correct the body and send it again")
                    }
                }
            }
            Self::MalformedBody => ErrorCode::new(
                "SYS.1007",
                "the body ended early or is not framed as its headers say",
            )
            .with_elaboration("send as many bytes as Content-Length says, or well-formed chunks"),
            Self::BadHost => {
                ErrorCode::new("SYS.1007", "there is not exactly one readable Host header")
                    .with_elaboration(
                        "send one Host header: a name or an address, and an optional port",
                    )
            }
            Self::HostNotAllowed => ErrorCode::new(
                "SYS.1007",
                "the Host header names a host this daemon does not answer to",
            )
            .with_elaboration(
                "use an IP address or localhost, or add the name to server.host_names",
            ),
            Self::MissingToken => ErrorCode::new("ID.1001", "no session was given").with_elaboration(
                "send the header Authorization: OAuth <session>, with a token of auth.tokens_file",
            ),
            Self::UnknownSession => ErrorCode::new("ID.1001", "the session is not known")
                .with_elaboration(
                    "check the token against auth.tokens_file; reload the daemon after changing it",
                ),
            Self::TooManyAuthFailures { .. } => {
                ErrorCode::new("SYS.1007", "too many unknown sessions came from this address")
                    .with_elaboration("wait, and check the token against auth.tokens_file")
            }
            Self::NetworkNotAllowed(ip) => {
                let ip = ip.to_canonical().to_string();
                ErrorCode::new("ID.1002", format!("{ip} may not speak the agent protocol"))
                    .with_elaboration("add the management node's network to server.agent_allow")
                    .with_opaque("address", ip)
            }
            Self::UrlNotAllowed { name, bad: bad @ BadUrl::NotHttp } => {
                ErrorCode::new("SYS.1007", format!("{name} is not called: {bad}"))
                    .with_elaboration("send the http:// URL of the management node")
            }
            Self::UrlNotAllowed { name, bad } => {
                ErrorCode::new("ID.1002", format!("{name} is not called: {bad}"))
                    .with_elaboration("add the management node's network to server.agent_allow")
            }
            Self::InvalidTaskHeader(name) => {
                ErrorCode::new("SYS.1007", format!("the header {name} is missing or of no use"))
                    .with_elaboration("send taskuuid and callbackurl: this call is answered later")
            }
            Self::UnexpectedTaskHeader => ErrorCode::new(
                "SYS.1006",
                "the header taskuuid was sent with a call that is answered at once",
            )
            .with_elaboration("send this call without taskuuid"),
            Self::InsufficientRole { has, needs } => ErrorCode::new(
                "ID.1002",
                format!("this needs the role {needs}, the session has {has}"),
            )
            .with_elaboration("use a session with that role")
            .with_opaque("role", has.as_str())
            .with_opaque("needs", needs.as_str()),
            Self::UnknownPath => ErrorCode::new("SYS.1003", "there is nothing at this path")
                .with_elaboration("check the path, and its prefix against server.base_path"),
            Self::UnknownStore(store) => {
                ErrorCode::new("SYS.1003", format!("no store has the uuid {store}"))
                    .with_elaboration("list the stores to see their uuids")
                    .with_opaque("uuid", store.to_string())
            }
            Self::MethodNotAllowed => {
                ErrorCode::new("SYS.1007", "this path does not have this method")
                    .with_elaboration("use one of the methods in the Allow header")
            }
            Self::BodyTimeout(limit) => ErrorCode::new("SYS.1007", "the body did not come in time")
                .with_elaboration("send the body without a pause")
                .with_opaque("milliseconds", u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            Self::BodyTooLarge(most) => {
                ErrorCode::new("SYS.1007", format!("the body has more than {most} bytes"))
                    .with_elaboration("send a smaller body")
                    .with_opaque("bytes", *most)
            }
            Self::NotJson => ErrorCode::new("SYS.1007", "the Content-Type is not JSON in UTF-8")
                .with_elaboration("send Content-Type: application/json"),
            Self::HostKeyMismatch(Some(key)) => ErrorCode::new(
                "SYS.1007",
                format!(
                    "the last failed attempt recorded another host key: {} {}",
                    key.algorithm, key.fingerprint
                ),
            )
            .with_elaboration("compare it with ssh-keygen -lf on the server, then accept that one")
            .with_opaque("offeredFingerprint", key.fingerprint.as_str())
            .with_opaque("offeredKeyType", key.algorithm.as_str()),
            Self::HostKeyMismatch(None) => {
                ErrorCode::new("SYS.1007", "the store is not down for its host key")
                    .with_elaboration("look at the store: there is no key to accept")
            }
            Self::AlreadyExists(fault) => ErrorCode::of_fault("SYS.1007", fault),
            Self::ConnectFailed(failure) => ErrorCode::not_connected(failure),
            Self::AddFailed(failure) => ErrorCode::not_added(failure),
            Self::RemoveFailed(failure) => ErrorCode::not_removed(failure),
        }
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

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::UnknownStore(store) => Self::UnknownStore(store),
            AcceptError::NotOffered(recorded) => Self::HostKeyMismatch(recorded),
            AcceptError::Failed(failure) => Self::ConnectFailed(failure),
        }
    }
}

impl From<BadBody> for ApiError {
    fn from(bad: BadBody) -> Self {
        Self::BadBody(bad)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = response::error_response(self.status(), &self.error_code());
        if let Some(denial) = self.access_denial() {
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
        if self.ends_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
