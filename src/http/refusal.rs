//! The one mapping from what went wrong to a status, its headers and its error object.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer;
use super::caller::Role;
use crate::model::{Failure, Fault, Reason, StoreUuid};
use crate::wire::{self, BadBody};

/// Why a request was not answered with a yes.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
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
    /// An add of what is served already.
    Taken(Fault),
    /// The attempt failed, or there was none because the daemon is busy or stopping.
    NotConnected(Failure),
    /// The add failed.
    NotAdded(Failure),
    /// The removal could not be recorded.
    NotRemoved(Failure),
}

const INVALID: (&str, &str) = ("SYS.1007", "Invalid argument");
const NOT_FOUND: (&str, &str) = ("SYS.1003", "Not found");
const SESSION: (&str, &str) = ("ID.1001", "Session invalid or expired");
const PERMISSION: (&str, &str) = ("ID.1002", "Permission denied");
const CREATE: (&str, &str) = ("SYS.1002", "Unable to create a resource");
const DELETE: (&str, &str) = ("SYS.1004", "Unable to delete a resource");

impl Refusal {
    /// The daemon has too many connections.
    pub(super) fn busy(connections: usize) -> Self {
        let fault = Fault::new(Reason::AgentBusy, "too many connections are open");
        Self::NotConnected(Failure::of(fault.fact("connections", connections)))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadUuid
            | Self::BadBody(_)
            | Self::BodyBroken
            | Self::BadHost
            | Self::Taken(_) => StatusCode::BAD_REQUEST,
            Self::NoSession | Self::UnknownSession => StatusCode::UNAUTHORIZED,
            Self::RoleTooSmall { .. } => StatusCode::FORBIDDEN,
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

    /// Seconds after which the same request may do better without anybody's help.
    fn retry_after(&self) -> Option<u16> {
        let (Self::NotConnected(failure) | Self::NotAdded(failure) | Self::NotRemoved(failure)) =
            self
        else {
            return None;
        };
        match failure.root().reason() {
            Reason::AgentBusy => Some(1),
            Reason::AgentStopping => Some(5),
            Reason::StateDiskTrouble => Some(30),
            _ => None,
        }
    }

    /// Whether the connection cannot be used again: the rest of the body stands before the next
    /// request.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::BodyTooSlow(_) | Self::BodyTooLarge(_) | Self::BodyBroken)
    }

    fn object(&self) -> Value {
        match self {
            Self::BadUuid => plain(
                INVALID,
                "the uuid in the path is not 32 lower-case hexadecimal digits",
                "write the uuid as the inventory shows it, without dashes",
            ),
            Self::BadBody(BadBody::Field(bad)) => {
                let mut object =
                    plain(INVALID, &bad.to_string(), "correct the field and send it again");
                object["opaque"] = json!({ "path": bad.path, "expected": bad.expected });
                object
            }
            Self::BadBody(bad) => {
                plain(INVALID, &bad.to_string(), "correct the body and send it again")
            }
            Self::BodyBroken => plain(
                INVALID,
                "the body ended early or is not framed as its headers say",
                "send as many bytes as Content-Length says, or well-formed chunks",
            ),
            Self::BadHost => plain(
                INVALID,
                "there is not exactly one readable Host header",
                "send one Host header with a name or an address and an optional port",
            ),
            Self::OtherHost => plain(
                INVALID,
                "the Host header names a host this daemon does not answer to",
                "use an IP address or localhost, or add the name to server.host_names",
            ),
            Self::NoSession => plain(
                SESSION,
                "no session was given",
                "send the header Authorization: OAuth <session>, with a token of auth.tokens_file",
            ),
            Self::UnknownSession => plain(
                SESSION,
                "the session is not known",
                "check the token against auth.tokens_file, and reload the daemon after a change of it",
            ),
            Self::RoleTooSmall { has, needs } => {
                let details = format!("this needs the role {needs}, the session has {has}");
                let mut object = plain(PERMISSION, &details, "use a session with that role");
                object["opaque"] = json!({ "role": has.as_str(), "needs": needs.as_str() });
                object
            }
            Self::UnknownPath => plain(
                NOT_FOUND,
                "there is nothing at this path",
                "check the path, and its prefix against server.base_path",
            ),
            Self::UnknownStore(uuid) => {
                let details = format!("no store has the uuid {uuid}");
                let mut object = plain(NOT_FOUND, &details, "list the stores to see their uuids");
                object["opaque"] = json!({ "uuid": uuid.to_string() });
                object
            }
            Self::MethodNotAllowed => plain(
                INVALID,
                "this path does not have this method",
                "use one of the methods in the Allow header",
            ),
            Self::BodyTooSlow(limit) => {
                let mut object = plain(
                    INVALID,
                    "the body did not come in time",
                    "send the body without a pause",
                );
                object["opaque"] = json!({ "milliseconds": u64::try_from(limit.as_millis()).ok() });
                object
            }
            Self::BodyTooLarge(most) => {
                let details = format!("the body has more than {most} bytes");
                let mut object = plain(INVALID, &details, "send a smaller body");
                object["opaque"] = json!({ "bytes": most });
                object
            }
            Self::NotJson => plain(
                INVALID,
                "the Content-Type is not JSON in UTF-8",
                "send Content-Type: application/json",
            ),
            Self::Taken(fault) => {
                let mut object = plain(INVALID, fault.details(), fault.remedy());
                object["opaque"] = wire::facts(fault);
                object
            }
            Self::NotConnected(failure) => wire::failure(failure),
            Self::NotAdded(failure) => wrapped(CREATE, "the store was not added", failure),
            Self::NotRemoved(failure) => wrapped(DELETE, "the store is still served", failure),
        }
    }
}

fn plain((code, description): (&str, &str), details: &str, remedy: &str) -> Value {
    json!({
        "code": code, "description": description, "details": details, "elaboration": remedy,
    })
}

fn wrapped((code, description): (&str, &str), details: &str, failure: &Failure) -> Value {
    json!({
        "code": code, "description": description, "details": details,
        "cause": wire::failure(failure),
    })
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        Self::BadBody(bad)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.status(), &json!({ "error": self.object() }));
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
