//! The source of a connection or a request: the network whose use is limited, and the address that
//! the audit log names.
//!
//! A proxy in `server.trusted_proxies` stands for its clients. It appends the address of its client
//! to `X-Forwarded-For`. A client can send that header too, so only the part that trusted proxies
//! have appended counts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::common::IpAllowlist;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of `server.trusted_proxies`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(IpAllowlist);

impl TrustedProxies {
    pub(crate) fn new(networks: IpAllowlist) -> Self {
        Self(networks)
    }

    /// Returns the source that a new connection counts for, or `None` if a trusted proxy opened it.
    pub(crate) fn connection_source(&self, peer: IpAddr) -> Option<IpAddr> {
        (!self.0.contains(peer)).then(|| source_network(peer))
    }

    /// Returns the address of the client of a request, if the request came through a trusted proxy
    /// that names its client.
    pub(crate) fn forwarded_client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.0.contains(peer) {
            return None;
        }
        let values = headers.get_all(FORWARDED_FOR).iter();
        let hops: Vec<&str> =
            values.flat_map(|value| value.to_str().unwrap_or_default().split(',')).collect();
        last_untrusted(hops.iter().rev().copied(), &self.0)
    }
}

/// Returns the first address outside `trusted`, from the newest entry of the header to the oldest.
/// Each entry was written by the host of the entry before it. An entry that is not an address
/// therefore ends the search, and the result is the last address before it.
fn last_untrusted<'a>(
    newest_first: impl IntoIterator<Item = &'a str>,
    trusted: &IpAllowlist,
) -> Option<IpAddr> {
    let mut found = None;
    for entry in newest_first {
        let Some(address) = parse_hop(entry.trim()) else { return found };
        found = Some(address);
        if !trusted.contains(address) {
            return found;
        }
    }
    found
}

/// Parses an address with or without a port, as proxies write it.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = inner.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

/// Returns the network that is counted as one source. A single host may own a whole IPv6 /64.
pub(crate) fn source_network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        TrustedProxies::new(IpAllowlist::new(&networks))
    }

    fn client(peer: &str, values: &[&'static str]) -> Option<String> {
        let values = values.iter().map(|value| (FORWARDED_FOR, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        values.for_each(|(name, value)| {
            headers.append(name, value);
        });
        let found = proxies().forwarded_client(peer.parse().unwrap(), &headers);
        found.map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        for (peer, values, expected) in [
            ("10.0.0.1", vec!["203.0.113.7"], Some("203.0.113.7")),
            ("10.0.0.1", vec!["198.51.100.1, 203.0.113.7"], Some("203.0.113.7")),
            ("10.0.0.1", vec!["198.51.100.1, 203.0.113.7, 10.9.9.9"], Some("203.0.113.7")),
            ("10.0.0.1", vec!["198.51.100.1", "203.0.113.7,10.9.9.9"], Some("203.0.113.7")),
            ("::ffff:10.0.0.1", vec!["203.0.113.7:4711"], Some("203.0.113.7")),
            ("fd00::1", vec!["[2001:db8::7]:4711"], Some("2001:db8::7")),
            ("fd00::1", vec!["[2001:db8::7]"], Some("2001:db8::7")),
            ("fd00::1", vec!["2001:db8::7"], Some("2001:db8::7")),
            ("10.0.0.1", vec!["::ffff:203.0.113.7"], Some("203.0.113.7")),
            // All of them are proxies: the farthest one is nearest to the client.
            ("10.0.0.1", vec!["10.3.3.3, 10.2.2.2"], Some("10.3.3.3")),
            // An entry that is no address ends the chain of evidence.
            ("10.0.0.1", vec!["203.0.113.7, unknown, 10.2.2.2"], Some("10.2.2.2")),
            ("10.0.0.1", vec!["203.0.113.7, unknown"], None),
            ("10.0.0.1", vec!["203.0.113.7,"], None),
            ("10.0.0.1", vec![], None),
            // A client that is no proxy cannot name another one.
            ("203.0.113.1", vec!["198.51.100.1"], None),
            ("203.0.113.1", vec!["10.0.0.1"], None),
        ] {
            assert_eq!(client(peer, &values).as_deref(), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn a_connection_counts_for_its_address_or_network_and_that_of_a_proxy_for_none() {
        let source = |peer: &str| {
            let found = proxies().connection_source(peer.parse().unwrap());
            found.map(|address| address.to_string())
        };
        assert_eq!(source("203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(source("::ffff:203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(source("2001:db8::1:2:3:4").as_deref(), Some("2001:db8::"));
        assert_eq!(source("10.1.2.3"), None);
    }
}
