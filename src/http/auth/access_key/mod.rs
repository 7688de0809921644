//! The signatures of access keys, by which ZStack's clients authenticate each request:
//! `Authorization: ZStack id:signature`. The signature is the Base64 of an HMAC-SHA1 over the
//! method, the `Date` as it was sent, and the path from `/v1`, each on a line of its own.
//!
//! Neither the query nor the body is signed, and the same request is signed the same way within a
//! second. A signature is therefore no protection against an attacker who can change or repeat a
//! request on its way, and a repeated one is accepted.
//!
//! # Guarantees
//!
//! - A signature is compared in a time that does not depend on it.
//! - The date is read after the signature is found to be right, so that only a caller with a key
//!   reaches its parser.

mod abbreviation;
mod date;
mod new_key;
mod refusal;
mod table;

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use data_encoding::BASE64;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use ring::hmac;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::Principal;
use crate::common::Clock;

pub use new_key::new_access_key_line;
pub(crate) use refusal::SignatureRefusal;
pub use table::AccessKeyTable;

/// Maximum difference between the date of a request and the clock of the daemon, in seconds. It is
/// that of ZStack.
const MAX_SKEW_SECONDS: u64 = 15 * 60;

/// The target of a request as the client has sent it, if its normal form is another one. It is an
/// extension of the request.
#[derive(Clone)]
pub(in crate::http) struct SentTarget(pub(in crate::http) Uri);

/// The credential of a signed request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature<'a> {
    /// The id of the access key.
    pub(super) key_id: &'a str,
    /// The signature in Base64.
    pub(super) base64: &'a str,
}

impl fmt::Debug for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:?})", self.key_id)
    }
}

/// The means to verify signatures: the keys, and the facts that a signature depends on.
pub(in crate::http) struct SignatureVerifier {
    keys: watch::Receiver<Arc<AccessKeyTable>>,
    base_paths: Vec<String>,
    clock: Arc<dyn Clock>,
    time_zone: TimeZone,
}

impl SignatureVerifier {
    /// Creates a verifier. It reads the time zone of the system.
    pub(in crate::http) fn new(
        keys: watch::Receiver<Arc<AccessKeyTable>>,
        base_paths: &[String],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let time_zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        Self { keys, base_paths: base_paths.to_owned(), clock, time_zone }
    }

    /// Returns the caller whose key has signed the request.
    ///
    /// # Errors
    /// [`SignatureRefusal`].
    pub(super) fn verify(
        &self,
        signature: Signature<'_>,
        parts: &Parts,
    ) -> Result<Principal, SignatureRefusal> {
        let date = single_date(&parts.headers)?;
        let caller = {
            let keys = self.keys.borrow();
            let key = keys.find(signature.key_id).ok_or(SignatureRefusal::UnknownKey)?;
            let secret = hmac::Key::new(
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                key.secret.expose_secret().as_bytes(),
            );
            let sent = parts.extensions.get::<SentTarget>().map(|SentTarget(uri)| uri.path());
            let normal = parts.uri.path();
            let lines = (parts.method.as_str(), date.as_bytes());
            let is_right = [sent, Some(normal)].into_iter().flatten().any(|path| {
                let path = signed_path(path, &self.base_paths);
                let decoded: Vec<u8> = percent_decode_str(path).collect();
                is_signed(&secret, signature.base64, lines, path.as_bytes())
                    || is_signed(&secret, signature.base64, lines, &decoded)
            });
            if !is_right {
                return Err(SignatureRefusal::WrongSignature);
            }
            key.caller.clone()
        };
        self.check_date(date)?;
        Ok(caller)
    }

    /// Checks that the date is near to the clock of the daemon.
    fn check_date(&self, date: &HeaderValue) -> Result<(), SignatureRefusal> {
        let text = date.to_str().map_err(|_| SignatureRefusal::Date(date::DateFault::Form))?;
        let now = jiff::Timestamp::from_millisecond(self.clock.now().0).unwrap_or_default();
        let skew = date::date_skew(text, now, &self.time_zone).map_err(SignatureRefusal::Date)?;
        let skew = skew.as_secs();
        if skew.unsigned_abs() <= MAX_SKEW_SECONDS {
            return Ok(());
        }
        Err(SignatureRefusal::TimeTooSkewed { seconds: skew, now })
    }
}

/// Returns the only `Date` of the request.
fn single_date(headers: &HeaderMap) -> Result<&HeaderValue, SignatureRefusal> {
    let mut values = headers.get_all(header::DATE).iter();
    match (values.next(), values.next()) {
        (Some(date), None) => Ok(date),
        (None, _) => Err(SignatureRefusal::NoDate),
        (Some(_), Some(_)) => Err(SignatureRefusal::SeveralDates),
    }
}

/// Returns the path as a client signs it: without the base path, which it has as its context path.
fn signed_path<'a>(path: &'a str, base_paths: &[String]) -> &'a str {
    let below = |base: &String| path.strip_prefix(base.as_str());
    let mut below = base_paths.iter().filter(|base| !base.is_empty()).filter_map(below);
    below.find(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Returns true if the signature is that of these lines.
fn is_signed(secret: &hmac::Key, base64: &str, lines: (&str, &[u8]), path: &[u8]) -> bool {
    let (method, date) = lines;
    let mut context = hmac::Context::with_key(secret);
    for part in [method.as_bytes(), b"\n", date, b"\n", path] {
        context.update(part);
    }
    let expected = context.sign();
    // Two texts of Base64 are compared, because the same bytes have several texts for lax decoders.
    let expected = BASE64.encode(expected.as_ref());
    bool::from(expected.as_bytes().ct_eq(base64.as_bytes()))
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, Request};

    use super::*;
    use crate::common::Timestamp;

    /// 2026-11-26 22:26:21 UTC.
    const NOW: i64 = 1_795_731_981_000;
    const STORE: &str =
        "/zstack/v1/backup-storage/image-store/20f4094e42a64213b9b992b0eb02b488/actions";
    const DATE: &str = "Thu, 26 Nov 2026 22:26:21 Etc/UTC";
    // printf '%s\n%s\n%s' METHOD DATE PATH | openssl dgst -sha1 -hmac secret -binary | base64
    const SIGNATURE: &str = "BgMfs0kzQF/g0qhKWRQd3OFmuGA=";

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp(self.0)
        }
    }

    fn verifier(base_path: &str, now: i64) -> SignatureVerifier {
        let table = AccessKeyTable::read_file("java:AKID:secret:read\nb:OTHER:another\n").unwrap();
        let keys = watch::channel(Arc::new(table)).1;
        SignatureVerifier {
            keys,
            base_paths: [base_path, "/another"].map(str::to_owned).to_vec(),
            clock: Arc::new(At(now)),
            time_zone: TimeZone::UTC,
        }
    }

    fn request(method: Method, path: &str, dates: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(path);
        for date in dates {
            request = request.header(header::DATE, HeaderValue::from_str(date).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verify(key_id: &str, base64: &str, parts: &Parts) -> Result<String, SignatureRefusal> {
        let caller = verifier("/zstack", NOW).verify(Signature { key_id, base64 }, parts);
        caller.map(|caller| caller.name().to_owned())
    }

    #[test]
    fn a_signature_is_right_for_its_request_alone() {
        use SignatureRefusal::{UnknownKey, WrongSignature};
        let verify = |method, path: &str, date, key, signature| {
            verify(key, signature, &request(method, path, &[date]))
        };
        let java = Ok("java".to_owned());
        assert_eq!(verify(Method::PUT, STORE, DATE, "AKID", SIGNATURE), java);
        // The query is not signed.
        let with_query = format!("{STORE}?x=y");
        assert_eq!(verify(Method::PUT, &with_query, DATE, "AKID", SIGNATURE), java);
        // As the Go SDK has sent it with this key, with a date 516 s ahead.
        let (go, go_date) = ("flCuOtCM8vZOt5eXZZGtZRt1UzQ=", "Thu, 26 Nov 2026 22:34:57 UTC");
        let list = "/zstack/v1/backup-storage/image-store";
        assert_eq!(verify(Method::GET, list, go_date, "AKID", go), java);
        for (method, path, date, key, signature, expected) in [
            (Method::GET, STORE, DATE, "AKID", SIGNATURE, WrongSignature),
            (Method::PUT, list, DATE, "AKID", SIGNATURE, WrongSignature),
            (Method::PUT, STORE, go_date, "AKID", SIGNATURE, WrongSignature),
            (Method::PUT, STORE, DATE, "OTHER", SIGNATURE, WrongSignature),
            (Method::PUT, STORE, DATE, "akid", SIGNATURE, UnknownKey),
            (Method::PUT, STORE, DATE, "AKID", "", WrongSignature),
            (Method::PUT, STORE, DATE, "AKID", "BgMfs0kzQF/g0qhKWRQd3OFmuGA", WrongSignature),
            (Method::PUT, STORE, DATE, "AKID", "BgMfs0kzQF/g0qhKWRQd3OFmuGB=", WrongSignature),
            (Method::PUT, STORE, DATE, "AKID", "BGMFS0KZQF/G0QHKWRQD3OFMUGA=", WrongSignature),
        ] {
            let refused = verify(method, path, date, key, signature);
            assert_eq!(refused, Err(expected), "{path} {date} {key} {signature}");
        }
    }

    #[test]
    fn a_path_is_signed_as_sent_or_decoded_and_without_the_base_path() {
        let date = "Thu, 26 Nov 2026 22:26:21 UTC";
        let verify = |base: &str, sent: Option<&str>, path: &str, base64| {
            let mut parts = request(Method::GET, path, &[date]);
            if let Some(sent) = sent {
                parts.extensions.insert(SentTarget(sent.parse().unwrap()));
            }
            verifier(base, NOW).verify(Signature { key_id: "AKID", base64 }, &parts).is_ok()
        };
        // Of the path /v1/backup-storage/image-store/a b%
        let blank = "pPXB2FuSH1NmKsuCssXGbUqBzQA=";
        let encoded = "/zstack/v1/backup-storage/image-store/a%20b%25";
        assert!(verify("/zstack", None, encoded, blank));
        // Of the path /v1/backup-storage/image-store/%7e
        let tilde = "pFjaK2yMkHgv/Tg3y5GmXB9vaSs=";
        let (sent, normal) = (
            "/zstack/v1/backup-storage/image-store/%7e",
            "/zstack/v1/backup-storage/image-store/~",
        );
        assert!(verify("/zstack", Some(sent), normal, tilde));
        assert!(!verify("/zstack", None, normal, tilde));
        // Any of several base paths is left out, and a client without one signs the same path.
        for (base, first) in
            [("", "/x"), ("", ""), ("/x", "/x"), ("/another", ""), ("/another", "/x")]
        {
            let path = encoded.replace("/zstack", base);
            assert!(verify(first, None, &path, blank), "{base} {first}");
        }
        // The whole path is signed outside the base path.
        let whole = "6i1sseCIY0d35y8TVN8RYlk8vpE=";
        assert!(verify("/zstack", None, "/imagestore/stores", whole));
        assert!(verify("", None, "/imagestore/stores", whole));
        assert!(verify("/a/b", None, "/a/b/imagestore/stores", whole));
        assert!(!verify("/a/b", None, "/a/bimagestore/stores", whole));
        assert!(!verify("/zstack", None, "/a/b/imagestore/stores", whole));
    }

    #[test]
    fn a_date_is_present_once_and_within_a_quarter_of_an_hour() {
        use SignatureRefusal::{Date, NoDate, SeveralDates};
        let put = |dates: &[&str]| verify("AKID", SIGNATURE, &request(Method::PUT, STORE, dates));
        assert_eq!(put(&[]), Err(NoDate));
        assert_eq!(put(&[DATE, DATE]), Err(SeveralDates));
        let signature = Signature { key_id: "AKID", base64: SIGNATURE };
        let parts = request(Method::PUT, STORE, &[DATE]);
        for (seconds, accepted) in
            [(0, true), (900, true), (901, false), (-900, true), (-901, false), (-86_400, false)]
        {
            // The clock of the daemon, so that the date is as many seconds ahead.
            let found = verifier("/zstack", NOW - seconds * 1000).verify(signature, &parts);
            match found {
                Ok(_) => assert!(accepted, "{seconds}"),
                Err(SignatureRefusal::TimeTooSkewed { seconds: found, .. }) => {
                    assert!(!accepted && found == seconds, "{seconds}");
                }
                Err(other) => panic!("{seconds}: {other:?}"),
            }
        }
        // A date of a wrong form is reported to the holder of the key alone.
        let date = "Thu, 26 Nov 2026 22:26:21 XYZ";
        let parts = request(Method::PUT, STORE, &[date]);
        assert_eq!(verify("AKID", SIGNATURE, &parts), Err(SignatureRefusal::WrongSignature));
        let right = "HAkIANXNuackeDRFGYFzC2inyw8=";
        assert_eq!(verify("AKID", right, &parts), Err(Date(date::DateFault::Zone)));
    }
}
