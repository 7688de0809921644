//! Entry points of the fuzzer to the parsers of request heads and of the files that allow access.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::admission::source::TrustedProxies;
use super::auth::host_allowlist::HostAllowlist;
use super::auth::request_origin::is_cross_site;
use super::auth::tokens::TokenTable;
use super::middleware::target::normalize_target;
use super::tls::parse_client_rule;
use crate::common::{IpAllowlist, parse_lines};

/// Parses the target of a request, and the same bytes as its `Host` and `Origin`.
pub fn fuzz_request_target(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        headers.insert(header::HOST, value.clone());
        headers.insert(header::ORIGIN, value);
    }
    // An origin has a scheme, and a host has none, so the same bytes are never both.
    if headers.contains_key(header::ORIGIN) {
        assert!(is_cross_site(&Method::POST, &Uri::from_static("/"), &headers));
    }
    let hosts = HostAllowlist::new(&["node-1.example".to_owned()]);
    let _ = hosts.check_host(&Uri::from_static("/"), &headers);
    let Ok(target) = Uri::try_from(bytes) else { return };
    let _ = hosts.check_host(&target, &headers);
    if let Some(normal) = normalize_target(&target) {
        assert_eq!(normal.query(), target.query());
        assert!(normal.path().len() <= target.path().len());
        assert_eq!(normalize_target(&normal), None);
    }
}

/// Parses `X-Forwarded-For`, one header for each line.
pub fn fuzz_forwarded_for(bytes: &[u8]) {
    let proxy = IpAddr::from([10, 0, 0, 1]);
    let proxies =
        TrustedProxies::new(IpAllowlist::new(&["10.0.0.0/8".parse().unwrap_or_default()]));
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static("x-forwarded-for"), value);
        }
    }
    let client = proxies.forwarded_client(proxy, &headers);
    assert!(client.is_none_or(|client| client == client.to_canonical()));
    // A peer that is no proxy cannot name another client.
    assert_eq!(proxies.forwarded_client(IpAddr::from([192, 0, 2, 1]), &headers), None);
}

/// Parses the file of the tokens and the file of the client certificates.
pub fn fuzz_access_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let count = text.lines().count();
    let is_known = |line: &usize| (1..=count).contains(line);
    if let Err(invalid) = TokenTable::read_file(&text) {
        assert!(invalid.iter().all(|(line, _)| is_known(line)));
    }
    match parse_lines(&text, parse_client_rule) {
        Ok(rules) => assert!(rules.len() <= count),
        Err(invalid) => assert!(invalid.iter().all(|(line, _)| is_known(line))),
    }
}
