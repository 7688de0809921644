//! The client of `auth.session_check_url`. It asks the management node one question per request.

use std::fmt;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};

use crate::management::endpoint::{
    EndpointConnector, endpoint_tls, host_and_port, is_https, new_connector, parse_url,
};
use crate::management::http_client::{BoundedClient, FetchError, RequestTimeouts, USER_AGENT_NAME};
use crate::model::{Fault, Reason, Remedy};
use crate::settings::{
    AuthSettings, CallbackSettings, FilePolicy, SESSION_PLACEHOLDER, SettingsError,
};
use crate::wire::headers::SESSION_QUESTION;
use crate::wire::{MAX_VALIDITY_BYTES, parse_session_validity};

/// The key of the URL.
const URL_KEY: &str = "auth.session_check_url";
/// A session that stands for any other one in a check of the URL.
const EXAMPLE_SESSION: &str = "00000000000000000000000000000000";

/// Asks the management node whether a session is valid.
#[derive(Debug)]
pub struct SessionCheckClient {
    /// The parts of the URL before and after the session.
    parts: (String, String),
    host: String,
    client: BoundedClient<EndpointConnector>,
}

impl SessionCheckClient {
    /// Creates a client of `auth.session_check_url`. Returns `None` if it is not set. An `https://`
    /// URL uses the certificates of `[callback]`. Blocks while it reads their files.
    ///
    /// # Errors
    /// [`SettingsError`] with every fault of the URL and the certificates.
    pub fn new(
        auth: &AuthSettings,
        callback: &CallbackSettings,
        policy: &FilePolicy,
        timeouts: RequestTimeouts,
    ) -> Result<Option<Self>, SettingsError> {
        let Some(text) = &auth.session_check_url else { return Ok(None) };
        let example = text.replace(SESSION_PLACEHOLDER, EXAMPLE_SESSION);
        let mut faults = Vec::new();
        let url = SettingsError::gather(parse_url(URL_KEY, &example), &mut faults);
        let has_https = url.as_ref().is_some_and(is_https);
        let tls = endpoint_tls(callback, policy, has_https);
        let tls = SettingsError::gather(tls, &mut faults);
        let (Some(url), Some(tls)) = (url, tls) else { return Err(SettingsError::new(faults)) };
        let (before, after) = text.split_once(SESSION_PLACEHOLDER).unwrap_or((text, ""));
        let client = BoundedClient::new(new_connector(tls, timeouts, has_https), timeouts);
        let parts = (before.to_owned(), after.to_owned());
        Ok(Some(Self { parts, host: host_and_port(&url), client }))
    }

    /// Returns the host and port of the management node, as a text for operators.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Asks whether the session is valid. `daemon` identifies the daemon that asks. Ends within
    /// [`RequestTimeouts::total`].
    ///
    /// # Errors
    /// [`QuestionFailure`] if there is no answer.
    pub(super) async fn ask_validity(
        &self,
        session: &str,
        daemon: &HeaderValue,
    ) -> Result<bool, QuestionFailure> {
        let (before, after) = &self.parts;
        let url = Uri::try_from(format!("{before}{session}{after}"));
        let request = url.map_err(Into::into).and_then(|url| {
            Request::get(url)
                .header(USER_AGENT, USER_AGENT_NAME)
                .header(ACCEPT, "application/json")
                .header(SESSION_QUESTION, daemon)
                .body(Full::new(Bytes::new()))
        });
        match self.client.fetch_body(request, MAX_VALIDITY_BYTES).await {
            Ok((StatusCode::OK, body)) => {
                parse_session_validity(&body).ok_or(QuestionFailure::NotAnAnswer)
            }
            Ok((status, _)) => Err(QuestionFailure::Status(status.as_u16())),
            Err(error) => Err(QuestionFailure::Fetch(error)),
        }
    }
}

/// The reason why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QuestionFailure {
    /// There was no complete response.
    Fetch(FetchError),
    /// The response has another status than 200.
    Status(u16),
    /// The body does not say whether the session is valid.
    NotAnAnswer,
    /// The URL leads to the daemon itself.
    OwnAddress,
}

impl QuestionFailure {
    /// Returns the fault for a caller and for the log. It names neither the session nor the host.
    pub(super) fn to_fault(&self, duration: Duration) -> Fault {
        let obstacle = match self {
            Self::Fetch(FetchError::Unreached(_)) => "no_response",
            Self::Fetch(FetchError::TimedOut(_)) => "timeout",
            Self::Fetch(FetchError::Interrupted) => "connection_lost",
            Self::Fetch(FetchError::TooLarge(_)) => "body_too_large",
            Self::Status(_) => "status",
            Self::NotAnAnswer => "not_an_answer",
            Self::OwnAddress => "own_address",
        };
        let details =
            format!("the management node did not say whether the session is valid: {self}");
        let fault = Fault::new(Reason::ManagementUnreachable, details)
            .with_detail("obstacle", obstacle)
            .with_detail("milliseconds", duration.as_millis());
        match self {
            Self::Status(status) => fault.with_detail("status", *status),
            Self::OwnAddress => fault.with_remedy(Remedy::CorrectSessionUrl),
            Self::Fetch(_) | Self::NotAnAnswer => fault,
        }
    }
}

impl fmt::Display for QuestionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(FetchError::Unreached(cause)) => f.write_str(cause),
            Self::Fetch(FetchError::TimedOut(limit)) => {
                write!(f, "no answer within {} ms", limit.as_millis())
            }
            Self::Fetch(FetchError::Interrupted) => {
                f.write_str("the connection ended within the answer")
            }
            Self::Fetch(FetchError::TooLarge(bytes)) => {
                write!(f, "the answer has more than {bytes} bytes")
            }
            Self::Status(status) => write!(f, "it answered with status {status}"),
            Self::NotAnAnswer => f.write_str("its answer is not {\"valid\": true or false}"),
            Self::OwnAddress => f.write_str("the question came back to this daemon"),
        }
    }
}
