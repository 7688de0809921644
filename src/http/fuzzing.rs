//! Entry points of the fuzzer to the parsers of request heads and of the files that allow access.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use jiff::tz::TimeZone;

use super::admission::source::TrustedProxies;
use super::api::query_string::QueryParameters;
use super::auth::access_key::AccessKeyTable;
use super::auth::accounts::table::AccountTable;
use super::auth::host_allowlist::HostAllowlist;
use super::auth::request_origin::is_cross_site;
use super::auth::tokens::TokenTable;
use super::middleware::target::normalize_target;
use super::tls::parse_client_rule;
use crate::common::{IpAllowlist, Timestamp, parse_lines};
use crate::model::{ImageDir, Inventory, SshAddress, State, Status, StoreUuid};
use crate::query::{CapacityScope, RecordQuery, STORE_FIELDS, ZONE_FIELDS};

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

/// Parses the query of a request, and evaluates it.
pub fn fuzz_query_string(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(parameters) = QueryParameters::decode(&text) else { return };
    assert!(parameters.pairs().count() <= text.split('&').count());
    let store = example_store();
    if let Ok(scope) = CapacityScope::parse(parameters.pairs()) {
        let _ = store.as_ref().is_some_and(|store| scope.covers(store));
    }
    if let Ok(query) = RecordQuery::parse(parameters.pairs(), &STORE_FIELDS, &TimeZone::UTC) {
        let matching = store.iter().filter(|store| query.matches(store)).collect();
        let page = query.page_of(matching);
        let is_other = |store: &&Inventory| query.only_uuid().is_some_and(|id| id != store.uuid);
        assert!(!page.iter().any(is_other));
    }
    if let Ok(query) = RecordQuery::parse(parameters.pairs(), &ZONE_FIELDS, &TimeZone::UTC) {
        let _ = query.matches(&"zone".to_owned());
    }
}

fn example_store() -> Option<Inventory> {
    Some(Inventory {
        uuid: StoreUuid::from_u128(1),
        name: "Ä store, 100%".to_owned(),
        description: String::new(),
        image_dir: ImageDir::parse("/srv/images").ok()?,
        capacity: None,
        state: State::Enabled,
        status: Status::Connected,
        created: Timestamp(1_482_426_606_007),
        last_op: Timestamp(-1),
        zone_uuids: vec!["zone".to_owned()],
        address: SshAddress { hostname: "::1".parse().ok()?, port: 22.try_into().ok()? },
        username: "root".to_owned(),
    })
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

/// Parses the files of the tokens, the access keys, the accounts and the client certificates.
pub fn fuzz_access_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let count = text.lines().count();
    let is_known = |line: &usize| (1..=count).contains(line);
    if let Err(invalid) = TokenTable::read_file(&text) {
        assert!(invalid.iter().all(|(line, _)| is_known(line)));
    }
    if let Err(invalid) = AccessKeyTable::read_file(&text) {
        assert!(invalid.iter().all(|(line, _)| is_known(line)));
    }
    if let Err(invalid) = AccountTable::read_file(&text) {
        assert!(invalid.iter().all(|(line, _)| is_known(line)));
    }
    match parse_lines(&text, parse_client_rule) {
        Ok(rules) => assert!(rules.len() <= count),
        Err(invalid) => assert!(invalid.iter().all(|(line, _)| is_known(line))),
    }
}
