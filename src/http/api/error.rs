//! The one mapping from what went wrong to a status, its headers and its error object.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::response;
use crate::agent::{AcceptError, ReconnectError};
use crate::http::auth::role::Role;
use crate::management::BadUrl;
use crate::model::{AttemptFailure, Fault, HostKey, Reason, StoreUuid};
use crate::wire::{BadBody, ErrorCode};

/// Why a request was not answered with a yes.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The uuid in the path is none.
    BadUuid,
    /// The body asks for nothing we know.
    BadBody(BadBody),
    /// The body ended early or was not framed as announced.
    BodyBroken,
    /// Not exactly one `Host`, or one that cannot be read.
    BadHost,
    /// A `Host` this daemon does not answer to.
    OtherHost,
    /// No session was given.
    NoSession,
    /// A session that nobody here has.
    UnknownSession,
    /// Unknown sessions time and again: to be told to wait so long.
    TooManyGuesses { left: Duration },
    /// A call of the agent protocol from outside its networks.
    NetworkOutside(IpAddr),
    /// A URL that must not be called.
    UrlOutside { name: &'static str, bad: BadUrl },
    /// This header of a call that is answered later is missing or of no use.
    NoTask(&'static str),
    /// A call that is answered at once, with the header of one that is answered later.
    NotLater,
    /// The caller may not.
    RoleTooSmall { has: Role, needs: Role },
    /// No such path.
    UnknownPath,
    /// No such store.
    UnknownStore(StoreUuid),
    /// The path has other methods; the router says which.
    MethodNotAllowed,
    /// The body did not come in time.
    BodyTooSlow(Duration),
    /// The body has more bytes than this.
    BodyTooLarge(usize),
    /// The body is said to be something else than JSON.
    NotJson,
    /// Not the host key that the last failed attempt recorded: that is this one, if any.
    OtherKey(Option<HostKey>),
    /// An add of what is served already.
    Taken(Fault),
    /// The attempt failed, or there was none because the daemon is busy or stopping.
    NotConnected(AttemptFailure),
    /// The add failed.
    NotAdded(AttemptFailure),
    /// The removal could not be recorded.
    NotRemoved(AttemptFailure),
}

/// The denial of access behind a refusal. It is an extension of the response, in which the front finds
/// it, whether the front or a handler has refused the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessDenial {
    /// The rule that denied it.
    pub(crate) why: &'static str,
    /// The field of the request that broke the rule, if the caller itself was admitted.
    pub(crate) field: Option<&'static str>,
}

impl Refusal {
    /// The daemon has too many connections.
    pub(crate) fn busy(connections: usize) -> Self {
        let fault = Fault::new(Reason::AgentBusy, "too many connections are open");
        Self::NotConnected(AttemptFailure::from_fault(
            fault.with_detail("connections", connections),
        ))
    }

    /// Returns the line that the audit log has for this refusal, or `None` if the refusal denies no
    /// access.
    fn access_denial(&self) -> Option<AccessDenial> {
        let (why, field) = match self {
            Self::NoSession => ("no session", None),
            Self::UnknownSession => ("unknown session", None),
            Self::TooManyGuesses { .. } => ("too many unknown sessions", None),
            Self::NetworkOutside(_) => ("not in server.agent_allow", None),
            Self::UrlOutside { name, .. } => {
                ("a URL that is not in server.agent_allow", Some(*name))
            }
            Self::BadHost | Self::OtherHost => ("another Host", None),
            _ => return None,
        };
        Some(AccessDenial { why, field })
    }

    /// Too many answers to earlier calls wait to be posted.
    pub(super) fn answers_wait() -> Self {
        let told = "answers to earlier calls of the agent protocol wait to be posted";
        Self::NotConnected(AttemptFailure::from_fault(Fault::new(Reason::AgentBusy, told)))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadUuid
            | Self::BadBody(_)
            | Self::BodyBroken
            | Self::BadHost
            | Self::NoTask(_)
            | Self::UrlOutside { bad: BadUrl::NotHttp, .. }
            | Self::OtherKey(_)
            | Self::Taken(_) => StatusCode::BAD_REQUEST,
            Self::NoSession | Self::UnknownSession => StatusCode::UNAUTHORIZED,
            Self::TooManyGuesses { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::RoleTooSmall { .. } | Self::NetworkOutside(_) | Self::UrlOutside { .. } => {
                StatusCode::FORBIDDEN
            }
            // As ZStack's agents answer it (`zstacklib/utils/http.py`).
            Self::NotLater => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UnknownPath | Self::UnknownStore(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // RFC 9110 section 15.5.20: not addressed to this server.
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotConnected(_) | Self::NotAdded(_) | Self::NotRemoved(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Why an attempt, an add or a removal came to nothing.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::NotConnected(failure) | Self::NotAdded(failure) | Self::NotRemoved(failure) => {
                Some(failure.root_fault().reason())
            }
            Self::Taken(fault) => Some(fault.reason()),
            _ => None,
        }
    }

    /// Seconds after which the same request may do better without anybody's help.
    fn retry_after(&self) -> Option<u16> {
        if let Self::TooManyGuesses { left } = self {
            return u16::try_from(left.as_secs().saturating_add(1)).ok();
        }
        let (Self::NotConnected(failure) | Self::NotAdded(failure) | Self::NotRemoved(failure)) =
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

    /// Whether the connection cannot be used again: the rest of the body stands before the next
    /// request.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::BodyTooSlow(_) | Self::BodyTooLarge(_) | Self::BodyBroken)
    }

    fn error(&self) -> ErrorCode {
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
            Self::BodyBroken => ErrorCode::new(
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
            Self::OtherHost => ErrorCode::new(
                "SYS.1007",
                "the Host header names a host this daemon does not answer to",
            )
            .with_elaboration(
                "use an IP address or localhost, or add the name to server.host_names",
            ),
            Self::NoSession => ErrorCode::new("ID.1001", "no session was given").with_elaboration(
                "send the header Authorization: OAuth <session>, with a token of auth.tokens_file",
            ),
            Self::UnknownSession => ErrorCode::new("ID.1001", "the session is not known")
                .with_elaboration(
                    "check the token against auth.tokens_file; reload the daemon after changing it",
                ),
            Self::TooManyGuesses { .. } => {
                ErrorCode::new("SYS.1007", "too many unknown sessions came from this address")
                    .with_elaboration("wait, and check the token against auth.tokens_file")
            }
            Self::NetworkOutside(ip) => {
                let ip = ip.to_canonical().to_string();
                ErrorCode::new("ID.1002", format!("{ip} may not speak the agent protocol"))
                    .with_elaboration("add the management node's network to server.agent_allow")
                    .with_opaque("address", ip)
            }
            Self::UrlOutside { name, bad: bad @ BadUrl::NotHttp } => {
                ErrorCode::new("SYS.1007", format!("{name} is not called: {bad}"))
                    .with_elaboration("send the http:// URL of the management node")
            }
            Self::UrlOutside { name, bad } => {
                ErrorCode::new("ID.1002", format!("{name} is not called: {bad}"))
                    .with_elaboration("add the management node's network to server.agent_allow")
            }
            Self::NoTask(name) => {
                ErrorCode::new("SYS.1007", format!("the header {name} is missing or of no use"))
                    .with_elaboration("send taskuuid and callbackurl: this call is answered later")
            }
            Self::NotLater => ErrorCode::new(
                "SYS.1006",
                "the header taskuuid was sent with a call that is answered at once",
            )
            .with_elaboration("send this call without taskuuid"),
            Self::RoleTooSmall { has, needs } => ErrorCode::new(
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
            Self::BodyTooSlow(limit) => ErrorCode::new("SYS.1007", "the body did not come in time")
                .with_elaboration("send the body without a pause")
                .with_opaque("milliseconds", u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            Self::BodyTooLarge(most) => {
                ErrorCode::new("SYS.1007", format!("the body has more than {most} bytes"))
                    .with_elaboration("send a smaller body")
                    .with_opaque("bytes", *most)
            }
            Self::NotJson => ErrorCode::new("SYS.1007", "the Content-Type is not JSON in UTF-8")
                .with_elaboration("send Content-Type: application/json"),
            Self::OtherKey(Some(key)) => ErrorCode::new(
                "SYS.1007",
                format!(
                    "the last failed attempt recorded another host key: {} {}",
                    key.algorithm, key.fingerprint
                ),
            )
            .with_elaboration("compare it with ssh-keygen -lf on the server, then accept that one")
            .with_opaque("offeredFingerprint", key.fingerprint.as_str())
            .with_opaque("offeredKeyType", key.algorithm.as_str()),
            Self::OtherKey(None) => {
                ErrorCode::new("SYS.1007", "the store is not down for its host key")
                    .with_elaboration("look at the store: there is no key to accept")
            }
            Self::Taken(fault) => ErrorCode::of_fault("SYS.1007", fault),
            Self::NotConnected(failure) => ErrorCode::not_connected(failure),
            Self::NotAdded(failure) => ErrorCode::not_added(failure),
            Self::NotRemoved(failure) => ErrorCode::not_removed(failure),
        }
    }
}

impl From<ReconnectError> for Refusal {
    fn from(error: ReconnectError) -> Self {
        match error {
            ReconnectError::UnknownStore(store) => Self::UnknownStore(store),
            ReconnectError::Failed(failure) => Self::NotConnected(failure),
        }
    }
}

impl From<AcceptError> for Refusal {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::UnknownStore(store) => Self::UnknownStore(store),
            AcceptError::NotOffered(recorded) => Self::OtherKey(recorded),
            AcceptError::Failed(failure) => Self::NotConnected(failure),
        }
    }
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        Self::BadBody(bad)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = response::error(self.status(), &self.error());
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
