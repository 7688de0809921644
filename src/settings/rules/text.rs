//! Rules for texts: addresses, paths, prefixes, names, networks, URLs. They check only the text and
//! neither resolve names nor access the disk.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use hyper::Uri;
use ipnet::{IpNet, Ipv4Net};
use jiff::tz::TimeZone;

use crate::common::UrlPort;
use crate::model::{Hostname, ImageDir};

use super::TextRule;

/// An address to listen on.
pub(crate) const LISTEN_RULE: TextRule<SocketAddr> = TextRule {
    allowed: "an IP address and port, such as 127.0.0.1:7811 or [::1]:7811",
    parse: parse_listen_address,
    hidden: false,
};

/// A file or directory of the daemon.
pub(crate) const PATH_RULE: TextRule<PathBuf> = TextRule {
    allowed: "an absolute path without . or .. parts",
    parse: parse_path,
    hidden: false,
};

/// A file that contains a secret. The value stays hidden, because by mistake it may be the secret
/// itself.
pub(crate) const SECRET_FILE_RULE: TextRule<PathBuf> = TextRule { hidden: true, ..PATH_RULE };

/// A Unix socket.
pub(crate) const SOCKET_RULE: TextRule<PathBuf> = TextRule {
    allowed: "an absolute path of at most 107 bytes without . or .. parts",
    parse: |text| match text.len() <= MAX_SOCKET_BYTES {
        true => parse_path(text),
        false => Err(format!("longer than {MAX_SOCKET_BYTES} bytes")),
    },
    hidden: false,
};

/// Maximum length of a Unix socket path, in bytes: `sun_path` without its final NUL, unix(7).
pub(crate) const MAX_SOCKET_BYTES: usize = 107;

/// An allowed root.
pub(crate) const ROOT_RULE: TextRule<String> = TextRule {
    allowed: "an absolute path without . or .. parts, not / and not in /dev, /proc or /sys",
    parse: |text| match ImageDir::parse(text) {
        Ok(root) => Ok(root.as_str().to_owned()),
        Err(fault) => Err(fault.to_string()),
    },
    hidden: false,
};

/// A time zone. The zones are part of the program, because a container may have no zoneinfo.
pub(crate) const TIME_ZONE_RULE: TextRule<TimeZone> = TextRule {
    allowed: "an IANA name, such as UTC or Asia/Shanghai",
    parse: |text| match TimeZone::get(text) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => Err("not a known time zone".to_owned()),
    },
    hidden: false,
};

/// The prefix of the documented API.
pub(crate) const BASE_PATH_RULE: TextRule<String> = TextRule {
    allowed: "\"\" for no prefix, or a path such as /zstack",
    parse: |text| if text.is_empty() { Ok(String::new()) } else { parse_prefix(text) },
    hidden: false,
};

/// A prefix of the agent protocol.
pub(crate) const PREFIX_RULE: TextRule<String> =
    TextRule { allowed: "a path such as /imagestore", parse: parse_prefix, hidden: false };

/// A name in a `Host` header, converted to lower case because host names are case-insensitive.
pub(crate) const HOST_NAME_RULE: TextRule<String> = TextRule {
    allowed: "a host name without a port",
    parse: |text| match text.parse::<Hostname>() {
        Ok(name) => Ok(name.as_str().to_ascii_lowercase()),
        Err(_) if is_url_host(text) => Ok(text.to_ascii_lowercase()),
        Err(_) => Err("not a host name".to_owned()),
    },
    hidden: false,
};

/// A network or a single address.
pub(crate) const NETWORK_RULE: TextRule<IpNet> = TextRule {
    allowed: "a network such as 10.0.0.0/8 or fd00::/8, or a single IP address",
    parse: parse_network,
    hidden: false,
};

/// The name of an SSH algorithm, RFC 4251 section 6.
pub(crate) const ALGORITHM_RULE: TextRule<String> = TextRule {
    allowed: "an SSH algorithm name such as ssh-rsa",
    parse: |text| {
        let fits = (1..=64).contains(&text.len());
        let named = text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        if fits && named { Ok(text.to_owned()) } else { Err("not an algorithm name".to_owned()) }
    },
    hidden: false,
};

/// The URL of a management node.
pub(crate) const URL_RULE: TextRule<String> = TextRule {
    allowed: "an absolute http or https URL without user name, password or fragment",
    parse: parse_url,
    hidden: false,
};

/// The part of a URL that stands for a session.
pub const SESSION_PLACEHOLDER: &str = "{uuid}";

/// The URL by which the management node says whether a session is valid.
pub(crate) const SESSION_CHECK_RULE: TextRule<String> = TextRule {
    allowed: "an absolute http or https URL without user name, password or fragment, with {uuid} \
              once in its path or query",
    parse: parse_session_check_url,
    hidden: false,
};

/// Parses an address that TCP can listen on. An IPv4-mapped address becomes the IPv4 address,
/// because an IPv6 listener serves IPv6 only. The zone of an address that needs none is dropped.
fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "not an IP address with a port".to_owned())?;
    let (ip, port) = (address.ip().to_canonical(), address.port());
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("an address of several hosts, on which TCP cannot listen".to_owned());
    }
    match (ip, address) {
        (IpAddr::V6(ip), SocketAddr::V6(zoned)) if ip.is_unicast_link_local() => {
            match zoned.scope_id() {
                0 => Err("a link-local address without its zone, the index of the interface: \
                          write [fe80::1%2]:7811, with the index that `ip link` shows"
                    .to_owned()),
                zone => Ok(SocketAddrV6::new(ip, port, 0, zone).into()),
            }
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    // U+FFFD replaces text of a variable that was not UTF-8: such a path would be a different one.
    if text.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err("contains a control character or is not UTF-8".to_owned());
    }
    if !text.starts_with('/') {
        return Err("not an absolute path".to_owned());
    }
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("contains a `.` or `..` part".to_owned());
    }
    // The limit is PATH_MAX without its NUL, limits.h.
    if text.len() > 4095 {
        return Err("longer than 4095 bytes".to_owned());
    }
    // The path is built from its parts, so that `//a/` and `/a` are equal.
    let parts = text.split('/').filter(|part| !part.is_empty());
    Ok(std::iter::once("/").chain(parts).collect())
}

/// Parses a path prefix of unreserved characters (RFC 3986 section 2.3). Any other character would
/// need an encoding, or the router would read it as a pattern.
fn parse_prefix(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let part =
        |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(plain);
    match text.strip_prefix('/') {
        None => Err("does not start with /".to_owned()),
        Some(rest) if rest.split('/').all(part) => Ok(text.to_owned()),
        Some(_) if text.ends_with('/') => Err("ends with /".to_owned()),
        Some(_) => {
            Err("has an empty, `.` or `..` part, or a character other than A-Z a-z 0-9 - . _ ~"
                .to_owned())
        }
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    match text.parse::<IpNet>() {
        Ok(network) if network == network.trunc() => Ok(unmapped_network(network)),
        Ok(network) => {
            Err(format!("has bits beyond its prefix; did you mean {}?", network.trunc()))
        }
        Err(_) => Err("not a network".to_owned()),
    }
}

/// Returns the IPv4 network of an IPv4-mapped one (`::ffff:0:0/96`). Peers with such an address are
/// compared as IPv4, so that the mapped network would contain none of them.
fn unmapped_network(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let (address, prefix) = (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96));
    address
        .zip(prefix)
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(network, IpNet::V4)
}

/// Returns true for a host of a URL that a name service or the system can resolve: an address, or a
/// name. RFC 3986 section 3.2.2 permits more than a host name of RFC 1123: `_`, which networks of
/// containers use, and `-` at the ends of a label.
fn is_url_host(host: &str) -> bool {
    let replaced: String = host.chars().map(|c| if c == '_' { 'x' } else { c }).collect();
    let name = replaced.strip_suffix('.').unwrap_or(&replaced);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_name = !is_numeric && name.len() <= 253 && name.split('.').all(is_label);
    is_name || host.parse::<Hostname>().is_ok()
}

fn parse_url(text: &str) -> Result<String, String> {
    // The parser drops a fragment silently, and RFC 9110 section 7.1 does not send one.
    if text.contains('#') {
        return Err("has a fragment".to_owned());
    }
    if !text.is_ascii() {
        return Err("has characters other than ASCII: write a host name as xn--...".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("not an absolute http or https URL".to_owned());
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("contains a user name or password, which the daemon would not send".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    if !is_url_host(host) {
        return Err("has no valid host".to_owned());
    }
    match uri.authority().map(UrlPort::of) {
        Some(UrlPort::Absent | UrlPort::Number(_)) => Ok(text.to_owned()),
        _ => Err("has no valid port".to_owned()),
    }
}

/// Parses a URL with one placeholder behind its host, so that a caller chooses no other host.
fn parse_session_check_url(text: &str) -> Result<String, String> {
    let mut found = text.match_indices(SESSION_PLACEHOLDER).map(|(at, _)| at);
    let (Some(at), None) = (found.next(), found.next()) else {
        return Err("does not contain {uuid} exactly once".to_owned());
    };
    if let Some((scheme, rest)) = text.split_once("://") {
        let path = rest.find(['/', '?']).map(|path| scheme.len() + "://".len() + path);
        if path.is_none_or(|path| at < path) {
            return Err("has {uuid} in its host".to_owned());
        }
    }
    let example = text.replace(SESSION_PLACEHOLDER, &"0".repeat(32));
    parse_url(&example)?;
    if example.contains(['{', '}']) {
        return Err("has a brace outside of {uuid}".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_check_url_has_one_placeholder_behind_its_host() {
        for good in [
            "http://mn:8080/zstack/v1/accounts/sessions/{uuid}/valid",
            "https://mn.example/valid?session={uuid}",
            "http://[fd00::1]:8080/{uuid}",
            "http://10.0.0.1?{uuid}",
        ] {
            assert_eq!(parse_session_check_url(good).as_deref(), Ok(good));
        }
        for (bad, problem) in [
            ("", "exactly once"),
            ("http://mn/valid", "exactly once"),
            ("http://mn/{UUID}/valid", "exactly once"),
            ("http://mn/{uuid}/{uuid}", "exactly once"),
            ("http://mn/{uuid}/{x}", "a brace"),
            ("http://{uuid}/valid", "in its host"),
            ("http://{uuid}", "in its host"),
            ("http://{uuid}.example/valid", "in its host"),
            ("http://mn:{uuid}/valid", "in its host"),
            ("http://u:{uuid}@mn/valid", "in its host"),
            ("http://u:p@mn/{uuid}", "user name or password"),
            ("http://mn/#{uuid}", "fragment"),
            ("ftp://mn/{uuid}", "http"),
            ("unix:///run/agent.sock/{uuid}", "not a URL"),
            ("/zstack/{uuid}", "http"),
            ("{uuid}", "http"),
        ] {
            let error = parse_session_check_url(bad).unwrap_err();
            assert!(error.contains(problem), "{bad}: {error}");
        }
    }

    #[test]
    fn a_url_is_absolute_and_carries_no_password() {
        for good in [
            "http://mn",
            "https://mn.example:8443/zstack/events?node=1",
            "http://10.0.0.1:8080/",
            "http://[fd00::1]:80/x",
            "http://mn_1.example:8080/",
            "http://_mn/",
            "https://stack_mn-1_default./x",
            "http://-a-/",
        ] {
            assert_eq!(parse_url(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "mn",
            "/events",
            "mn:80",
            "ftp://mn/",
            "http://",
            "http:///x",
            "http://u:p@mn/",
            "http://u@mn",
            "http://mn:0/",
            "http://mn:99999/",
            "http://mn:/",
            "http://mn/#x",
            "http://a b/",
            "http://mn/\n",
            "http://[fd00::1/",
            "http://1.2.3.4.5/",
            "http://mn..example/",
            "http://mn~1/",
            "http://mn%5F1/",
            "http://b\u{fc}cher.example/",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_listen_address_is_one_that_tcp_can_listen_on() {
        let parse = |text| parse_listen_address(text).map(|address| address.to_string());
        for (text, expected) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:80", "[::]:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("[::1%7]:80", "[::1]:80"),
            ("[fe80::1%2]:80", "[fe80::1%2]:80"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("224.0.0.1:80", "several hosts"),
            ("[ff02::1]:80", "several hosts"),
            ("255.255.255.255:80", "several hosts"),
            ("[::ffff:224.0.0.1]:80", "several hosts"),
            ("[fe80::1]:80", "without its zone"),
            ("[fe80::1%eth0]:80", "not an IP address"),
            ("localhost:80", "not an IP address"),
            ("127.0.0.1:65536", "not an IP address"),
        ] {
            assert!(parse(text).is_err_and(|problem| problem.contains(expected)), "{text}");
        }
    }

    #[test]
    fn a_mapped_network_becomes_the_ipv4_network() {
        for (text, expected) in [
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse_network(text).map(|net| net.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        assert_eq!(
            parse_network("10.0.0.7").map(|net| net.to_string()),
            Ok("10.0.0.7/32".to_owned())
        );
        assert!(parse_network("fd00::/8").is_ok());
        assert!(
            parse_network("10.1.0.0/8")
                .is_err_and(|problem| problem.ends_with("did you mean 10.0.0.0/8?"))
        );
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "example.org"] {
            assert!(parse_network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        for good in ["/zstack", "/a/b-c_d.e~f"] {
            assert_eq!(parse_prefix(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "/", "zstack", "/a/", "//a", "/a//b", "/../a", "/{x}", "/*x", "/a%20", "/a b"]
        {
            assert!(parse_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_absolute_and_plain() {
        assert_eq!(parse_path("//srv///a/"), Ok(PathBuf::from("/srv/a")));
        let long = format!("/{}", "a".repeat(4095));
        for bad in ["", "a", "~/a", "/a/../b", "/./a", "/a\0", "/a\u{fffd}", long.as_str()] {
            assert!(parse_path(bad).is_err(), "{bad:?}");
        }
        let socket = format!("/{}", "s".repeat(MAX_SOCKET_BYTES - 1));
        assert!((SOCKET_RULE.parse)(&socket).is_ok());
        assert!((SOCKET_RULE.parse)(&format!("{socket}s")).is_err());
    }
}
