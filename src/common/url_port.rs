//! The port of a URL or of a `Host` header.

use hyper::http::uri::Authority;

/// The port in the text of an authority. The parser of URLs accepts texts that are no port, and
/// then shows none. A caller that takes this for the default port connects to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlPort {
    /// The text names no port.
    Absent,
    /// The text has a colon and no port behind it, which RFC 3986 section 3.2.3 permits.
    Empty,
    /// A port from 1 to 65535.
    Number(u16),
    /// The text is no such number.
    Invalid,
}

impl UrlPort {
    /// Reads the port of an authority.
    pub fn of(authority: &Authority) -> Self {
        let text = authority.as_str();
        let text = text.rsplit_once('@').map_or(text, |(_, host_and_port)| host_and_port);
        let Some(rest) = text.strip_prefix(authority.host()) else { return Self::Invalid };
        match rest.strip_prefix(':') {
            None if rest.is_empty() => Self::Absent,
            Some("") => Self::Empty,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0).map_or(Self::Invalid, Self::Number)
            }
            _ => Self::Invalid,
        }
    }

    /// Returns the number, or the default port if the text names none. An empty port is also the
    /// default one. Returns `None` if the port is invalid.
    pub fn number_or(self, default_port: u16) -> Option<u16> {
        match self {
            Self::Absent | Self::Empty => Some(default_port),
            Self::Number(port) => Some(port),
            Self::Invalid => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_that_a_server_can_have() {
        use UrlPort::{Absent, Empty, Invalid, Number};
        for (text, expected) in [
            ("node7", Absent),
            ("[::1]", Absent),
            ("u:p@node7", Absent),
            ("node7:", Empty),
            ("[::1]:", Empty),
            ("node7:7811", Number(7811)),
            ("[::1]:80", Number(80)),
            ("u:p@node7:65535", Number(65535)),
            ("node7:080", Number(80)),
            ("node7:0", Invalid),
            ("node7:65536", Invalid),
            ("node7:99999", Invalid),
            ("[::1]:76110", Invalid),
            ("node7:184467440737095516960", Invalid),
            ("node7:+80", Invalid),
        ] {
            let Ok(authority) = Authority::try_from(text) else {
                assert_eq!(expected, Invalid, "{text}");
                continue;
            };
            assert_eq!(UrlPort::of(&authority), expected, "{text}");
        }
    }

    #[test]
    fn only_a_missing_port_is_the_default_one() {
        assert_eq!(UrlPort::Absent.number_or(80), Some(80));
        assert_eq!(UrlPort::Empty.number_or(80), Some(80));
        assert_eq!(UrlPort::Number(1).number_or(80), Some(1));
        assert_eq!(UrlPort::Invalid.number_or(80), None);
    }
}
