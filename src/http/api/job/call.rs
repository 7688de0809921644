//! A call whose caller may fetch the result later: the calls that are such, and their parameters.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use tokio::time::Instant;

use crate::http::api::AppState;
use crate::http::api::response::SchemaRequest;
use crate::http::auth::open_paths::ZSTACK_BASE_PATH;
use crate::http::auth::{CallerKind, Principal};
use crate::http::body::CompleteBody;
use crate::http::error::ApiError;
use crate::http::request_start::RequestStart;
use crate::model::{JobId, Secret};
use crate::settings::ReplyMode;
use crate::wire::headers;

/// The path of a job below `server.base_path`, without its id. ZStack's clients find the id after
/// it.
pub(in crate::http) const JOBS_PATH: &str = "/v1/api-jobs";
/// The time for which ZStack lets a client poll, unless the client sets it.
const DEFAULT_API_TIMEOUT: Duration = Duration::from_secs(30 * 60);

const JOB_UUID: HeaderName = HeaderName::from_static(headers::JOB_UUID);
const WEB_HOOK: HeaderName = HeaderName::from_static(headers::WEB_HOOK);
const API_TIMEOUT: HeaderName = HeaderName::from_static(headers::API_TIMEOUT);
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A call whose caller may fetch the result later.
#[derive(Debug)]
pub(in crate::http::api) struct JobCall {
    /// The id of the client, or `None` for one of the daemon.
    pub(in crate::http::api) id: Option<JobId>,
    /// The caller, the method, the target and the body.
    pub(in crate::http::api) caller: Principal,
    /// The network of the caller, or `None` for the Unix socket.
    pub(in crate::http::api) network: Option<IpAddr>,
    pub(in crate::http::api) method: String,
    pub(in crate::http::api) target: String,
    pub(in crate::http::api) body: Bytes,
    /// The URL that the result is posted to if the caller is referred to the job. It is not checked
    /// yet.
    pub(in crate::http::api) hook_url: Option<Secret>,
    /// The scheme, the host and the path of the location, without the id.
    location: String,
    /// The time at which the call is answered, even if its operation runs.
    pub(in crate::http::api) deadline: Instant,
    pub(in crate::http::api) api_timeout: Duration,
    pub(in crate::http::api) schema: SchemaRequest,
}

impl JobCall {
    /// Returns the call with or without a request for the classes of the objects in its result.
    pub(in crate::http::api) fn with_schema(self, schema: SchemaRequest) -> Self {
        Self { schema, ..self }
    }

    /// Returns the call without its body, whose memory and permit are then free.
    pub(in crate::http::api) fn without_body(self) -> Self {
        Self { body: Bytes::new(), ..self }
    }

    /// Returns the URL of the job `id`.
    pub(in crate::http::api) fn location(&self, id: JobId) -> String {
        format!("{}/{}", self.location, id.expose_digits())
    }
}

/// The rules of calls whose caller may fetch the result later.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct JobCallRules {
    /// The value of `api.reply`.
    pub(in crate::http) reply: ReplyMode,
    /// The value of `api.answer_within`.
    pub(in crate::http) answer_within: Duration,
    /// The scheme of the TCP listeners.
    pub(in crate::http) scheme: &'static str,
}

/// Extracts the call, or `None` if its caller waits for the result.
pub(in crate::http::api) struct OptionalJobCall(
    pub(in crate::http::api) Result<Option<JobCall>, ApiError>,
);

impl<S: Send + Sync> FromRequestParts<Arc<AppState<S>>> for OptionalJobCall {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState<S>>,
    ) -> Result<Self, Infallible> {
        Ok(Self(read_call(parts, &state.job_call_rules)))
    }
}

fn read_call(parts: &Parts, rules: &JobCallRules) -> Result<Option<JobCall>, ApiError> {
    let headers = &parts.headers;
    let Some(caller) = parts.extensions.get::<Principal>() else { return Ok(None) };
    // Clients that authenticate in these ways fetch results of their own accord.
    let always = matches!(caller.kind(), CallerKind::AccessKey | CallerKind::Account);
    let asks = always
        || rules.reply == ReplyMode::Async
        || headers.contains_key(&JOB_UUID)
        || headers.contains_key(&WEB_HOOK)
        || prefers_async(headers);
    if !asks {
        return Ok(None);
    }
    let id = single_value(headers, &JOB_UUID).map_err(|()| bad_id())?;
    let id = id.map(|text| text.parse().map_err(|_| bad_id())).transpose()?;
    let hook_url = single_value(headers, &WEB_HOOK).map_err(|()| bad_hook())?;
    let api_timeout = read_timeout(headers)?;
    let wait = rules.answer_within.min(api_timeout.unwrap_or(rules.answer_within));
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => {
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")
        }
    };
    // The Unix socket has no TLS.
    let scheme = if caller.kind() == CallerKind::Local { "http" } else { rules.scheme };
    let body = parts.extensions.get::<CompleteBody>();
    let start = parts.extensions.get::<RequestStart>();
    Ok(Some(JobCall {
        id,
        caller: caller.clone(),
        network: start.and_then(|start| start.network),
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or("", |target| target.as_str()).to_owned(),
        hook_url: hook_url.map(|url| Secret::new(url.to_owned())),
        body: body.map(|CompleteBody(bytes)| bytes.clone()).unwrap_or_default(),
        location: format!("{scheme}://{host}{ZSTACK_BASE_PATH}{JOBS_PATH}"),
        // The client has waited since it sent the request, also while the caller was checked.
        deadline: start.map_or_else(Instant::now, |start| start.at) + wait,
        api_timeout: api_timeout.unwrap_or(DEFAULT_API_TIMEOUT),
        schema: SchemaRequest(false),
    }))
}

fn bad_id() -> ApiError {
    ApiError::InvalidHeader { name: "X-Job-UUID", expected: "32 hexadecimal digits" }
}

fn bad_hook() -> ApiError {
    ApiError::InvalidHeader { name: "X-Web-Hook", expected: "an http:// URL in ASCII" }
}

/// Returns the time in `X-API-Timeout`, which has whole seconds, from 1.
fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let bad = || ApiError::InvalidHeader {
        name: "X-API-Timeout",
        expected: "a whole number of seconds, from 1 to 4294967295",
    };
    let text = single_value(headers, &API_TIMEOUT).map_err(|()| bad())?;
    let seconds = text.map(|text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|seconds| digits && *seconds > 0).ok_or_else(bad)
    });
    Ok(seconds.transpose()?.map(|seconds| Duration::from_secs(seconds.into())))
}

/// Returns the value of a header, or `None` without it.
///
/// # Errors
/// There are several, or it is not text.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Returns true if a `Prefer` header has the preference `respond-async` (RFC 7240 section 4.1).
fn prefers_async(headers: &HeaderMap) -> bool {
    let is_async = |value: &HeaderValue| {
        let mut in_quotes = false;
        let mut preferences = value.as_bytes().split(|byte| {
            // A quoted text is one value (RFC 9110 section 5.6.4). One with an escaped quote is
            // read to its end in two parts, neither of which is a name.
            in_quotes ^= *byte == b'"';
            *byte == b',' && !in_quotes
        });
        preferences.any(|preference| {
            let name = preference.split(|byte| matches!(byte, b';' | b'=')).next();
            name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"respond-async"))
        })
    };
    headers.get_all(&PREFER).iter().any(is_async)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::http::auth::Role;

    const RULES: JobCallRules = JobCallRules {
        reply: ReplyMode::Sync,
        answer_within: Duration::from_secs(8),
        scheme: "http",
    };

    fn caller(kind: CallerKind) -> Principal {
        Principal::new(kind, "a", Role::Operate)
    }

    fn read(uri: &str, headers: &[(&str, &str)]) -> Result<Option<JobCall>, ApiError> {
        let mut request = Request::put(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(caller(CallerKind::Token));
        read_call(&parts, &RULES)
    }

    const ID: &str = "14c18a1ec8734438869ae841449197d5";

    #[test]
    fn only_a_header_or_the_setting_asks_for_a_job() {
        for (headers, expected) in [
            (&[][..], false),
            (&[("x-job-uuid", ID)], true),
            (&[("X-Web-Hook", "http://a/")], true),
            (&[("prefer", "respond-async")], true),
            (&[("prefer", "wait=10, Respond-Async ")], true),
            (&[("prefer", "respond-async; x=1")], true),
            (&[("prefer", "a=\"x, y\", respond-async")], true),
            (&[("prefer", "a=\"x, respond-async, y\"")], false),
            (&[("prefer", "return=minimal")], false),
            (&[("prefer", "respond-asynchronously")], false),
        ] {
            let call = read("/a", headers).unwrap();
            assert_eq!(call.is_some(), expected, "{headers:?}");
        }
        let (mut parts, ()) = Request::put("/a").body(()).unwrap().into_parts();
        let always = JobCallRules { reply: ReplyMode::Async, ..RULES };
        assert!(read_call(&parts, &always).unwrap().is_none());
        for kind in CallerKind::ALL {
            parts.extensions.insert(caller(*kind));
            assert!(read_call(&parts, &always).unwrap().is_some());
            let fetches = matches!(kind, CallerKind::AccessKey | CallerKind::Account);
            assert_eq!(read_call(&parts, &RULES).unwrap().is_some(), fetches, "{kind}");
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        for headers in [
            &[("x-job-uuid", "abc")][..],
            &[("x-job-uuid", "")],
            &[("x-job-uuid", ID), ("x-job-uuid", ID)],
            &[("x-web-hook", "http://a/"), ("x-web-hook", "http://a/")],
            &[("x-web-hook", "http://ä/")],
            &[("x-job-uuid", ID), ("x-api-timeout", "0")],
            &[("x-job-uuid", ID), ("x-api-timeout", "-1")],
            &[("x-job-uuid", ID), ("x-api-timeout", "+1")],
            &[("x-job-uuid", ID), ("x-api-timeout", "1.5")],
            &[("x-job-uuid", ID), ("x-api-timeout", "4294967296")],
            &[("x-job-uuid", ID), ("x-api-timeout", "soon")],
        ] {
            let error = read("/a", headers).unwrap_err();
            assert!(matches!(error, ApiError::InvalidHeader { .. }), "{headers:?}: {error:?}");
        }
    }

    #[test]
    fn the_time_of_the_client_bounds_the_wait_and_is_answered() {
        let before = Instant::now();
        for (given, wait, answered) in [(None, 8, 1800), (Some("3"), 3, 3), (Some("60"), 8, 60)] {
            let mut headers = vec![("x-job-uuid", ID)];
            headers.extend(given.map(|given| ("x-api-timeout", given)));
            let call = read("/a", &headers).unwrap().unwrap();
            let waits = call.deadline.duration_since(before);
            assert!(waits >= Duration::from_secs(wait), "{waits:?}");
            assert!(waits < Duration::from_secs(wait) + Duration::from_secs(60), "{waits:?}");
            assert_eq!(call.api_timeout, Duration::from_secs(answered));
        }
    }

    #[test]
    fn the_time_before_the_call_counts_as_a_part_of_the_wait() {
        let start = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let request = Request::put("/a").header("x-job-uuid", ID);
        let request = request
            .extension(caller(CallerKind::Token))
            .extension(RequestStart { at: start, network: None });
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let call = read_call(&parts, &RULES).unwrap().unwrap();
        assert_eq!(call.deadline, start + RULES.answer_within);
    }

    #[test]
    fn the_location_has_the_host_of_the_request_and_the_path_that_clients_look_for() {
        for (uri, host, expected) in [
            ("/x/v1/a", "node-1:7811", "http://node-1:7811/zstack/v1/api-jobs/"),
            ("/a", "[::1]:7811", "http://[::1]:7811/zstack/v1/api-jobs/"),
            ("http://other:1/a", "node-1", "http://other:1/zstack/v1/api-jobs/"),
        ] {
            let call = read(uri, &[("host", host), ("x-job-uuid", ID)]).unwrap().unwrap();
            assert_eq!(call.location(call.id.unwrap()), format!("{expected}{ID}"));
        }
    }
}
