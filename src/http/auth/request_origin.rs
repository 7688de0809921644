//! Protection of requests without a session against web pages.
//!
//! A page of any site can make a browser send requests to an address that the browser can reach,
//! such as a Unix socket that `ssh -L` forwards. A request with `Authorization` needs the consent
//! of the server (CORS preflight), which the daemon never gives. A request that acts without it
//! would run with the access of the browser's user. Browsers state the origin of a request in
//! `Origin` and `Sec-Fetch-Site`, which a page cannot change. Other clients send neither.

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::common::UrlPort;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Returns true if a page of another site may have caused the request: if `Origin` is present and
/// is not that of the `Host`, or if `Sec-Fetch-Site` says so. The navigation to a page is exempt,
/// because it is how a user follows a link.
pub(crate) fn is_cross_site(method: &Method, target: &Uri, headers: &HeaderMap) -> bool {
    if *method == Method::GET && has_only(headers, &SEC_FETCH_MODE, "navigate") {
        return false;
    }
    let crosses = |value: &HeaderValue| {
        let site = value.as_bytes().trim_ascii();
        [&b"cross-site"[..], b"same-site"].iter().any(|word| site.eq_ignore_ascii_case(word))
    };
    if headers.get_all(&SEC_FETCH_SITE).iter().any(crosses) {
        return true;
    }
    let host = match (target.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => Some(authority.clone()),
        (None, host) => host.and_then(|host| Authority::try_from(host.as_bytes()).ok()),
    };
    let is_own = |origin: &HeaderValue| host.as_ref().is_some_and(|host| is_same(origin, host));
    !headers.get_all(header::ORIGIN).iter().all(is_own)
}

/// Returns true if the header is present once, with this value.
fn has_only(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    let value = values.next().is_some_and(|value| value.as_bytes() == expected.as_bytes());
    value && values.next().is_none()
}

/// Returns true if the origin has the scheme `http` or `https` and the host and port of `host`. A
/// port that is absent is the default one of the scheme (RFC 6454 section 6.2, RFC 9110 section
/// 7.2). A proxy may have ended the TLS of the client, so both schemes are compared.
fn is_same(origin: &HeaderValue, host: &Authority) -> bool {
    let Ok(uri) = Uri::try_from(origin.as_bytes()) else { return false };
    let default_port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => 80,
        Some(scheme) if *scheme == Scheme::HTTPS => 443,
        _ => return false,
    };
    // An origin has no path. The parser sets one of its own.
    let has_path = uri.path_and_query().is_some_and(|path| path.as_str() != "/")
        || origin.as_bytes().ends_with(b"/");
    let Some(authority) = uri.authority().filter(|_| !has_path) else { return false };
    let port = |authority: &Authority| UrlPort::of(authority).number_or(default_port);
    !authority.as_str().contains('@')
        && authority.host().eq_ignore_ascii_case(host.host())
        && port(authority).is_some()
        && port(authority) == port(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(method: Method, target: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        is_cross_site(&method, &target.parse().unwrap(), &map)
    }

    #[test]
    fn an_origin_is_the_host_of_the_request_or_it_is_refused() {
        for (host, origin, refused) in [
            ("localhost:7811", "http://localhost:7811", false),
            ("localhost:7811", "https://localhost:7811", false),
            ("LOCALHOST:7811", "http://localhost:7811", false),
            ("localhost", "http://localhost", false),
            ("localhost:80", "http://localhost", false),
            ("localhost", "http://localhost:80", false),
            ("node-1.example", "https://node-1.example:443", false),
            ("[::1]:7811", "http://[::1]:7811", false),
            ("localhost:7811", "http://localhost", true),
            ("localhost:7811", "http://localhost:7812", true),
            ("localhost", "https://localhost:80", true),
            ("localhost:7811", "http://127.0.0.1:7811", true),
            ("localhost:7811", "http://attacker.example", true),
            ("localhost:7811", "http://localhost:7811.attacker.example", true),
            ("localhost:7811", "http://localhost:7811@attacker.example", true),
            ("localhost:7811", "http://attacker.example@localhost:7811", true),
            ("localhost:7811", "http://localhost:7811/", true),
            ("localhost:7811", "http://localhost:7811/path", true),
            ("localhost:7811", "localhost:7811", true),
            ("localhost:7811", "file://localhost:7811", true),
            ("localhost:7811", "moz-extension://localhost:7811", true),
            ("localhost:7811", "null", true),
            ("localhost:", "http://localhost", false),
            ("localhost", "http://localhost:99999", true),
            ("localhost:99999", "http://localhost", true),
            ("localhost:99999", "http://localhost:99999", true),
            ("localhost:7811", "", true),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(is_refused(Method::POST, "/x", &headers), refused, "{host} {origin}");
        }
    }

    #[test]
    fn every_origin_counts_and_without_a_host_none_is_the_own() {
        let own = ("origin", "http://localhost");
        let other = ("origin", "http://attacker.example");
        let host = ("host", "localhost");
        assert!(!is_refused(Method::POST, "/x", &[host]));
        assert!(!is_refused(Method::POST, "/x", &[]));
        assert!(!is_refused(Method::POST, "/x", &[host, own, own]));
        assert!(is_refused(Method::POST, "/x", &[host, own, other]));
        assert!(is_refused(Method::POST, "/x", &[own]));
        // An absolute target takes precedence over the host.
        assert!(!is_refused(Method::POST, "http://localhost/x", &[own]));
        assert!(is_refused(Method::POST, "http://127.0.0.1/x", &[host, own]));
    }

    #[test]
    fn a_request_of_another_site_is_refused_unless_it_is_a_navigation() {
        let navigation = ("sec-fetch-mode", "navigate");
        for (site, refused) in
            [("cross-site", true), ("same-site", true), ("same-origin", false), ("none", false)]
        {
            let site = ("sec-fetch-site", site);
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(is_refused(method, "/x", &[site]), refused, "{site:?}");
            }
            assert!(!is_refused(Method::GET, "/x", &[site, navigation]), "{site:?}");
            assert_eq!(is_refused(Method::POST, "/x", &[site, navigation]), refused, "{site:?}");
            let twice = [site, navigation, ("sec-fetch-mode", "cors")];
            assert_eq!(is_refused(Method::GET, "/x", &twice), refused, "{site:?}");
        }
        let both = [("sec-fetch-site", "none"), ("sec-fetch-site", "Cross-Site")];
        assert!(is_refused(Method::POST, "/x", &both));
    }
}
