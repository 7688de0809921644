//! The host names that the daemon answers to.
//!
//! A page in a browser can point its own host name at 127.0.0.1 and then call the daemon as its own
//! origin (DNS rebinding). It cannot send another `Host`. The daemon therefore answers only to IP
//! addresses, `localhost` and the names in `server.host_names`.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::common::UrlPort;
use crate::http::error::ApiError;

/// The names of `server.host_names`, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostAllowlist(Vec<String>);

impl HostAllowlist {
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| normalize(name)).collect())
    }

    /// Checks the hosts that a request is addressed to: the authority of an absolute target, and
    /// the `Host` header. There must be exactly one `Host` header (RFC 9112 section 3.2).
    ///
    /// # Errors
    /// [`ApiError::InvalidHost`] or [`ApiError::HostNotAllowed`].
    pub(crate) fn check_host(&self, target: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        check_hosts(target, headers, |host| self.allows(host))
    }

    /// Checks the hosts of a request over the Unix socket. A browser reaches the socket if
    /// `ssh -L` forwards it. It always sends `Host`, so that other clients may omit it. Clients of
    /// a Unix socket often send a word without a dot, which no page has as its name in DNS.
    ///
    /// # Errors
    /// The same as for [`HostAllowlist::check_host`].
    pub(crate) fn check_local_host(
        &self,
        target: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        if hosts.all(|host| host.is_empty()) && target.authority().is_none() {
            return Ok(());
        }
        check_hosts(target, headers, |host| !host.contains('.') || self.allows(host))
    }

    fn allows(&self, host: &str) -> bool {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if inner.unwrap_or(host).parse::<IpAddr>().is_ok() {
            return true;
        }
        let host = normalize(host);
        host == "localhost" || self.0.contains(&host)
    }
}

/// Checks the authority of the target, if it has one, and the only `Host` header.
fn check_hosts(
    target: &Uri,
    headers: &HeaderMap,
    allows: impl Fn(&str) -> bool,
) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(ApiError::InvalidHost);
    };
    let host = Authority::try_from(host.as_bytes()).map_err(|_| ApiError::InvalidHost)?;
    let target_host = target.authority().unwrap_or(&host);
    // User information is no part of a host (RFC 9110 section 4.2.4).
    let is_invalid =
        |host: &&Authority| host.as_str().contains('@') || UrlPort::of(host) == UrlPort::Invalid;
    if [target_host, &host].iter().any(is_invalid) {
        return Err(ApiError::InvalidHost);
    }
    if allows(target_host.host()) && allows(host.host()) {
        return Ok(());
    }
    Err(ApiError::HostNotAllowed)
}

/// Returns the name as it is compared: in lower case, without the trailing dot of the root.
fn normalize(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(target: &str, hosts: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let allowlist = HostAllowlist::new(&["node-1.example".to_owned()]);
        match allowlist.check_host(&target.parse().unwrap(), &headers) {
            Ok(()) => "allowed",
            Err(ApiError::InvalidHost) => "invalid",
            Err(_) => "not allowed",
        }
    }

    #[test]
    fn addresses_localhost_and_the_configured_names_are_allowed_and_no_others() {
        for (host, expected) in [
            ("127.0.0.1:7811", "allowed"),
            ("10.1.2.3", "allowed"),
            ("[::1]:7811", "allowed"),
            ("[fe80::1]", "allowed"),
            ("localhost", "allowed"),
            ("LocalHost.:7811", "allowed"),
            ("Node-1.Example:80", "allowed"),
            ("node-1.example.", "allowed"),
            ("attacker.example", "not allowed"),
            ("node-1.example.attacker.example", "not allowed"),
            ("127.0.0.1.attacker.example", "not allowed"),
            ("localhost@attacker.example", "invalid"),
            ("a b", "invalid"),
            ("localhost:", "allowed"),
            ("localhost:65535", "allowed"),
            ("localhost:65536", "invalid"),
            ("localhost:0", "invalid"),
            ("localhost:abc", "invalid"),
            ("localhost:+80", "invalid"),
            ("localhost:-1", "invalid"),
            ("localhost:80,evil", "invalid"),
            ("localhost:80:80", "invalid"),
            ("[::1]x", "invalid"),
            ("[::1]:x", "invalid"),
            ("[::1]80", "invalid"),
            ("", "invalid"),
        ] {
            assert_eq!(check("/healthz", &[host]), expected, "{host:?}");
        }
    }

    #[test]
    fn a_request_over_the_unix_socket_may_omit_its_host_and_otherwise_names_an_allowed_one() {
        for (host, expected) in [
            (None, true),
            (Some(""), true),
            (Some("localhost"), true),
            (Some("127.0.0.1:8080"), true),
            (Some("node-1.example"), true),
            (Some("unix"), true),
            (Some("unix."), false),
            (Some("attacker.example:8080"), false),
            (Some("unix:x"), false),
        ] {
            let header = host.map(|host| (header::HOST, HeaderValue::from_static(host)));
            let allowlist = HostAllowlist::new(&["node-1.example".to_owned()]);
            let headers = header.into_iter().collect();
            let checked = allowlist.check_local_host(&"/".parse().unwrap(), &headers);
            assert_eq!(checked.is_ok(), expected, "{host:?}");
            let absolute = "http://attacker.example/".parse().unwrap();
            assert!(allowlist.check_local_host(&absolute, &headers).is_err(), "{host:?}");
        }
    }

    #[test]
    fn there_is_exactly_one_host_and_an_absolute_target_counts_as_well() {
        assert_eq!(check("/", &[]), "invalid");
        assert_eq!(check("/", &["localhost", "localhost"]), "invalid");
        assert_eq!(check("http://localhost/", &["localhost"]), "allowed");
        assert_eq!(check("http://attacker.example/", &["localhost"]), "not allowed");
        assert_eq!(check("http://user:word@localhost/", &["localhost"]), "invalid");
        assert_eq!(check("http://localhost/", &["attacker.example"]), "not allowed");
        assert_eq!(check("http://localhost:70000/", &["localhost"]), "invalid");
    }
}
