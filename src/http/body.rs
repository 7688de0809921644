//! Reads the body of a request within its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::ApiError;
use super::limits::ServerLimits;

/// Maximum number of bytes of a rejected body that are read and discarded.
///
/// A client that is still writing does not read. If the connection closes then, the kernel answers
/// with a reset, and the client can lose the response (RFC 9112 section 9.6).
const MAX_DISCARDED_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum time to drain the body of a request that is rejected before its body is read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum wait of a large body for its permit. ZStack's Java SDK gives up after 10 s.
const LARGE_BODY_WAIT: Duration = Duration::from_secs(5);

/// Reads the whole body, of at most `max_bytes`. A large one takes a permit of `large_bodies`, and
/// keeps it until it is dropped.
///
/// # Errors
/// The body is too large, too slow or malformed, or gets no permit in time.
pub(super) async fn read_body(
    mut body: Incoming,
    headers: &HeaderMap,
    limits: &ServerLimits,
    max_bytes: usize,
    large_bodies: &Arc<Semaphore>,
) -> Result<Bytes, ApiError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let deadline = Instant::now() + limits.body_read_timeout;
    if u64::try_from(max_bytes).is_ok_and(|max_bytes| body.size_hint().lower() > max_bytes) {
        discard(body, headers, deadline).await;
        return Err(ApiError::BodyTooLarge(max_bytes));
    }
    let expected_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let permits =
        LargeBodyPermits { permits: large_bodies, from: limits.large_body_bytes, deadline };
    match collect_zeroized(Limited::new(&mut body, max_bytes), expected_bytes, permits).await {
        Ok(bytes) => Ok(bytes),
        Err(CollectError::NoPermit) => {
            drain_body(body, headers).await;
            Err(ApiError::too_many_large_bodies())
        }
        Err(CollectError::Unreadable(error)) if error.is::<LengthLimitError>() => {
            drain_body(body, &HeaderMap::new()).await;
            Err(ApiError::BodyTooLarge(max_bytes))
        }
        Err(CollectError::Unreadable(_)) => Err(ApiError::MalformedBody),
        Err(CollectError::TimedOut) => Err(ApiError::BodyTimeout(limits.body_read_timeout)),
    }
}

/// The permits for bodies that are larger than `from` bytes.
struct LargeBodyPermits<'a> {
    permits: &'a Arc<Semaphore>,
    from: usize,
    deadline: Instant,
}

impl LargeBodyPermits<'_> {
    /// Waits for a permit if a body of this size needs one. Returns `None` after too long.
    async fn acquire_for(&self, bytes: usize) -> Option<Option<OwnedSemaphorePermit>> {
        if bytes <= self.from {
            return Some(None);
        }
        let wait_end = self.deadline.min(Instant::now() + LARGE_BODY_WAIT);
        let acquired = timeout_at(wait_end, Arc::clone(self.permits).acquire_owned()).await;
        // The semaphore is never closed.
        Some(Some(acquired.ok()?.ok()?))
    }
}

/// The reason why a body was not collected.
enum CollectError<E> {
    NoPermit,
    TimedOut,
    Unreadable(E),
}

/// A complete body. It keeps its permit, so that the permits bound the memory of all large bodies.
struct CollectedBody {
    bytes: Zeroizing<Vec<u8>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for CollectedBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Collects a body into a buffer that is zeroed when the last reference to it is dropped, because a
/// body may contain a secret. The time that it waits for a permit extends the time of the client.
async fn collect_zeroized<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    expected_bytes: usize,
    permits: LargeBodyPermits<'_>,
) -> Result<Bytes, CollectError<B::Error>> {
    // Only bytes that have arrived take memory and a permit, not the announced length.
    let bytes = Zeroizing::new(Vec::with_capacity(expected_bytes.min(permits.from)));
    let mut collected = CollectedBody { bytes, permit: None };
    let mut deadline = permits.deadline;
    let timed_out = |_| CollectError::TimedOut;
    while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(timed_out)? {
        if let Ok(data) = frame.map_err(CollectError::Unreadable)?.into_data() {
            if collected.permit.is_none() {
                let bytes = collected.bytes.len().saturating_add(data.len());
                let waited_from = Instant::now();
                let permit = permits.acquire_for(bytes).await.ok_or(CollectError::NoPermit)?;
                deadline += waited_from.elapsed();
                collected.permit = permit;
            }
            append_zeroized(&mut collected.bytes, &data);
            // A part that shares the read buffer of the connection stays until it is overwritten.
            if let Ok(mut part) = data.try_into_mut() {
                part.as_mut().zeroize();
            }
        }
    }
    Ok(Bytes::from_owner(collected))
}

/// Appends a part of the body. A buffer that is too small is replaced and zeroed, because growing
/// it in place could leave a copy in memory.
fn append_zeroized(collected: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let needed = collected.len().saturating_add(data.len());
    if needed > collected.capacity() {
        let capacity = needed.max(collected.capacity().saturating_mul(2));
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(collected);
        *collected = larger;
    }
    collected.extend_from_slice(data);
}

/// Drains the body of a rejected request, so that the client can read the response before the
/// connection closes.
pub(super) async fn drain_body(body: Incoming, headers: &HeaderMap) {
    if !body.is_end_stream() {
        discard(body, headers, Instant::now() + DRAIN_TIMEOUT).await;
    }
}

async fn discard(mut body: Incoming, headers: &HeaderMap, deadline: Instant) {
    // With `Expect: 100-continue` the client has not sent its body yet. A body above the limit is
    // not drained.
    let expects_continue = headers.contains_key(header::EXPECT);
    if expects_continue || body.size_hint().lower() > MAX_DISCARDED_BYTES {
        return;
    }
    let mut remaining = MAX_DISCARDED_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match u64::try_from(read).ok().and_then(|read| remaining.checked_sub(read)) {
                Some(unread) => remaining = unread,
                None => break,
            }
        }
    };
    // After the deadline the connection closes, even if the client then loses the response.
    let _ = timeout_at(deadline, reading).await;
}

/// The complete body of a request, as an extension of the request. A request without a body has no
/// such extension.
#[derive(Clone, Debug)]
pub(super) struct CompleteBody(pub(super) Bytes);

/// The body of a request that carries JSON, not yet parsed.
pub(crate) struct JsonBody(Result<Bytes, ApiError>);

impl JsonBody {
    pub(crate) fn into_bytes(self) -> Result<Bytes, ApiError> {
        self.0
    }
}

impl<S: Sync> FromRequestParts<S> for JsonBody {
    type Rejection = std::convert::Infallible;

    /// Takes the body that the middleware has read, and checks its content type and coding.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let body = parts.extensions.remove::<CompleteBody>();
        let body = body.map(|CompleteBody(bytes)| bytes).unwrap_or_default();
        let coding = content_coding(&parts.headers).filter(|_| !body.is_empty());
        if let Some(coding) = coding {
            return Ok(Self(Err(ApiError::UnsupportedCoding(named_coding(coding)))));
        }
        if !is_json(&parts.headers) {
            return Ok(Self(Err(ApiError::NotJson)));
        }
        Ok(Self(Ok(body)))
    }
}

/// Maximum length of the name of a content coding in a response, in bytes. Registered ones have at
/// most 10.
const MAX_CODING_BYTES: usize = 32;

/// Returns the first content coding of a body other than `identity`, or `None` if it has none.
fn content_coding(headers: &HeaderMap) -> Option<&[u8]> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Returns the name of a coding if it has the form of one. Anything else is not repeated.
fn named_coding(coding: &[u8]) -> Option<String> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_valid = coding.len() <= MAX_CODING_BYTES && coding.iter().all(is_name);
    is_valid.then(|| String::from_utf8_lossy(coding).into_owned())
}

/// Returns true if every content type is one of JSON: `application/json`, `text/json`, or one with
/// the suffix `+json` (RFC 6839). Their parameters have no effect (RFC 8259 section 11). Without a
/// `Content-Type` a recipient may examine the body itself (RFC 9110 section 8.3), and every body
/// here is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().all(|value| {
        let Ok(text) = value.to_str() else { return false };
        let kind = text.split(';').next().unwrap_or_default().trim();
        if ["application/json", "text/json"].iter().any(|json| kind.eq_ignore_ascii_case(json)) {
            return true;
        }
        let kind = kind.to_ascii_lowercase();
        let Some((kind, Some(name))) =
            kind.split_once('/').map(|(kind, subtype)| (kind, subtype.strip_suffix("+json")))
        else {
            return false;
        };
        !kind.is_empty() && !name.is_empty() && !name.contains([' ', '\t', ',', '/'])
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn json_types_are_accepted_with_any_parameters_and_nothing_else() {
        for (kind, accepted) in [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON;charset=UTF-8"), true),
            (Some("application/json; charset=\"utf-8\""), true),
            (Some("application/json; charset=utf8"), true),
            (Some("application/json;charset=latin1"), true),
            (Some("application/json ; version=2; q=\"a;b\""), true),
            (Some("application/json;"), true),
            (Some("text/json"), true),
            (Some("application/vnd.example.v1+json; charset=utf8"), true),
            (Some("application/x-www-form-urlencoded"), false),
            (Some("application/jsonp"), false),
            (Some("application/json, text/plain"), false),
            (Some("application/+json"), false),
            (Some("multipart/form-data; a=application/json"), false),
            (Some("text/plain"), false),
            (Some("text/plain; x=+json"), false),
            (Some("json"), false),
            (Some(""), false),
        ] {
            let header = kind.map(|kind| (header::CONTENT_TYPE, HeaderValue::from_static(kind)));
            assert_eq!(is_json(&header.into_iter().collect()), accepted, "{kind:?}");
        }
        let mut both = HeaderMap::new();
        both.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        both.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(!is_json(&both));
    }

    #[test]
    fn a_coding_other_than_identity_is_found_and_named_if_it_is_a_name() {
        for (values, found, named) in [
            (vec![], None, None),
            (vec!["identity"], None, None),
            (vec!["Identity, "], None, None),
            (vec!["gzip"], Some("gzip"), Some("gzip")),
            (vec!["identity, br"], Some("br"), Some("br")),
            (vec!["identity", "zstd"], Some("zstd"), Some("zstd")),
            (vec!["<script>"], Some("<script>"), None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            let coding = content_coding(&headers);
            assert_eq!(coding, found.map(str::as_bytes));
            assert_eq!(coding.and_then(named_coding).as_deref(), named);
        }
        assert_eq!(named_coding(&[b'x'; 33]), None);
    }
}
