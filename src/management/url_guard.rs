//! Guards the agent protocol against server-side request forgery. Only configured networks may
//! call, and the daemon posts a reply only to a URL in these networks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, Uri, http};
use ipnet::IpNet;

use super::http_client::USER_AGENT_NAME;
use super::lookup_limiter::{LookupError, LookupLimiter};
use crate::common::{IpAllowlist, UrlPort};

/// Maximum number of addresses of one name. A management node has a few, but a name service may
/// answer with hundreds.
const MAX_ADDRESSES: usize = 8;
/// Maximum length of the URL of a web hook, in bytes. Those of ZStack's SDK have about 40. Each job
/// that is kept may have one in the ledger.
pub const MAX_HOOK_URL_BYTES: usize = 2048;
/// The port of an `http://` URL without one.
const HTTP_PORT: u16 = 80;

/// The networks of `server.agent_allow`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UrlGuard {
    allowlist: IpAllowlist,
    lookups: Arc<LookupLimiter>,
}

/// A URL whose addresses are in the networks. Requests go to these addresses, so that the name
/// cannot point elsewhere after the check.
#[derive(Clone, Debug)]
pub struct ReplyUrl {
    uri: Uri,
    host: HeaderValue,
    /// At least one and at most [`MAX_ADDRESSES`], in the order of the name service.
    addresses: Arc<[SocketAddr]>,
    destination: SocketAddr,
}

/// The reason why a URL is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// The text is not an `http://` URL with a host and a valid port.
    NotHttp,
    /// The URL of a web hook has more than [`MAX_HOOK_URL_BYTES`].
    TooLong,
    /// The URL of a web hook has user information, which the daemon would not send.
    UserInfo,
    /// The host name does not resolve, for this reason.
    Unresolved(String),
    /// None of the addresses is in the networks.
    NotAllowed(Vec<IpAddr>),
    /// The daemon could not find the addresses out, for this reason. It says nothing about the URL.
    UnknownAddresses(&'static str),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("it is not an http:// URL"),
            Self::TooLong => write!(f, "it has more than {MAX_HOOK_URL_BYTES} bytes"),
            Self::UserInfo => f.write_str("it has a user name or a password"),
            Self::Unresolved(cause) => write!(f, "its host name does not resolve: {cause}"),
            Self::NotAllowed(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
                write!(f, "{} is not in server.agent_allow", addresses.join(", "))
            }
            Self::UnknownAddresses(why) => {
                write!(f, "the addresses of its host name are not known: {why}")
            }
        }
    }
}

impl From<LookupError> for UrlError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Failed(cause) => Self::Unresolved(cause),
            LookupError::Unknown(why) => Self::UnknownAddresses(why),
        }
    }
}

impl UrlGuard {
    /// Creates the guard for these networks. If there are none, every URL is rejected.
    pub fn new(networks: &[IpNet]) -> Self {
        let lookups = Arc::new(LookupLimiter::new());
        Self { allowlist: IpAllowlist::new(networks), lookups }
    }

    /// Returns a guard with the same networks and with lookups of its own, so that its names delay
    /// none of this guard.
    pub(super) fn with_own_lookups(&self) -> Self {
        let lookups = Arc::new(LookupLimiter::new());
        Self { allowlist: self.allowlist.clone(), lookups }
    }

    /// Returns the addresses that may speak the agent protocol.
    pub fn allowlist(&self) -> &IpAllowlist {
        &self.allowlist
    }

    /// Validates the URL of a web hook as [`UrlGuard::validate`] does, and also its length. It must
    /// have no user information.
    ///
    /// # Errors
    /// [`UrlError`] says why the URL is rejected. No request was sent to it.
    pub async fn validate_hook(
        &self,
        url: &str,
        caller: Option<IpAddr>,
    ) -> Result<ReplyUrl, UrlError> {
        check_hook_form(url)?;
        self.validate(url, caller).await
    }

    /// Parses a URL, and returns it if its host is in the networks. `caller` is the network of the
    /// caller that names the URL, or `None` if it has no address. Ends within 2 s.
    ///
    /// # Errors
    /// [`UrlError`] says why the URL is rejected. No request was sent to it.
    pub async fn validate(&self, url: &str, caller: Option<IpAddr>) -> Result<ReplyUrl, UrlError> {
        let (uri, port) = parse_http_url(url)?;
        let host = uri.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = match name.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => self.lookups.look_up(name, caller).await?,
        };
        let (addresses, destination) = self.judge(found, port)?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // User information is no part of `Host`, and the daemon does not send it.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| UrlError::NotHttp)?;
        Ok(ReplyUrl { uri, host, addresses: addresses.into(), destination })
    }

    /// Returns the addresses that a request may go to, and the one that stands for all of them.
    ///
    /// # Errors
    /// [`UrlError::NotAllowed`] if none is in the networks.
    fn judge(
        &self,
        found: Vec<IpAddr>,
        port: u16,
    ) -> Result<(Vec<SocketAddr>, SocketAddr), UrlError> {
        let found = found.into_iter().map(|ip| ip.to_canonical());
        let (allowed, rejected): (Vec<_>, Vec<_>) =
            found.partition(|ip| self.allowlist.contains(*ip));
        // The smallest address of all stays the same if the name service rotates its answers.
        let smallest = *allowed.iter().min().ok_or(UrlError::NotAllowed(rejected))?;
        let mut addresses = Vec::new();
        for address in allowed.into_iter().map(|ip| SocketAddr::new(ip, port)) {
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok((addresses, SocketAddr::new(smallest, port)))
    }
}

/// Checks the URL of a web hook without its addresses: its length, its form, and that it has no
/// user information.
///
/// # Errors
/// [`UrlError`] says why the URL is rejected.
pub fn check_hook_form(url: &str) -> Result<(), UrlError> {
    if url.len() > MAX_HOOK_URL_BYTES {
        return Err(UrlError::TooLong);
    }
    let (uri, _) = parse_http_url(url)?;
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(UrlError::UserInfo),
        _ => Ok(()),
    }
}

/// Returns an `http://` URL with a host, and its port.
fn parse_http_url(url: &str) -> Result<(Uri, u16), UrlError> {
    let uri: Uri = url.parse().map_err(|_| UrlError::NotHttp)?;
    if uri.scheme_str() != Some("http") {
        return Err(UrlError::NotHttp);
    }
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let port = UrlPort::of(authority.ok_or(UrlError::NotHttp)?).number_or(HTTP_PORT);
    let port = port.ok_or(UrlError::NotHttp)?;
    Ok((uri, port))
}

impl ReplyUrl {
    /// Returns the URL as it was given.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the address that stands for all addresses of the URL. It is the same for every
    /// spelling of a host, so that a receiver has one share of the places.
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Begins a post of JSON to the address whose turn it is after this number of failures.
    ///
    /// # Errors
    /// Never, because the parts come from a URL.
    pub(super) fn start_post(&self, failures: u32) -> http::Result<Builder> {
        let post = Request::post(self.dialled_uri(failures)?);
        let post = post.header(HOST, &self.host).header(CONTENT_TYPE, "application/json");
        Ok(post.header(USER_AGENT, USER_AGENT_NAME))
    }

    /// Returns the URL with the address whose turn it is after this number of failures.
    ///
    /// # Errors
    /// Never, because the parts come from a URL.
    fn dialled_uri(&self, failures: u32) -> http::Result<Uri> {
        let turn = usize::try_from(failures).unwrap_or_default();
        let at = turn.checked_rem(self.addresses.len()).unwrap_or_default();
        let address = self.addresses.get(at).unwrap_or(&self.destination);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path).build()
    }

    /// Returns the number of times that each address has failed after this number of failures, or
    /// `None` if a round is not complete.
    pub(super) fn failed_rounds(&self, failures: u32) -> Option<u32> {
        let addresses = u32::try_from(self.addresses.len()).ok()?;
        let is_complete = failures.checked_rem(addresses)? == 0;
        is_complete.then(|| failures.checked_div(addresses)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> UrlGuard {
        let networks = ["192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8"];
        UrlGuard::new(&networks.map(|network| network.parse().unwrap()))
    }

    #[tokio::test]
    async fn a_url_is_called_in_the_networks_and_nowhere_else() {
        let guard = guard();
        let outside = |ip: &str| UrlError::NotAllowed(vec![ip.parse().unwrap()]);
        for (url, expected) in [
            ("http://192.0.2.7:8080/zstack/asyncrest/callback", Ok(())),
            ("http://[2001:db8::7]:8080/", Ok(())),
            ("http://[::ffff:192.0.2.7]/", Ok(())),
            ("http://localhost:8080/zstack/asyncrest/callback", Ok(())),
            ("http://198.51.100.1/", Err(outside("198.51.100.1"))),
            ("http://[2001:db9::1]/", Err(outside("2001:db9::1"))),
            ("http://169.254.169.254/latest/meta-data", Err(outside("169.254.169.254"))),
            // The part before `@` is user information.
            ("http://192.0.2.7@198.51.100.1/", Err(outside("198.51.100.1"))),
            ("https://192.0.2.7/", Err(UrlError::NotHttp)),
            ("http://192.0.2.7:0/", Err(UrlError::NotHttp)),
            ("http://192.0.2.7:99999/", Err(UrlError::NotHttp)),
            ("file:///etc/passwd", Err(UrlError::NotHttp)),
            ("/zstack/asyncrest/callback", Err(UrlError::NotHttp)),
            ("192.0.2.7:8080", Err(UrlError::NotHttp)),
            ("", Err(UrlError::NotHttp)),
        ] {
            assert_eq!(guard.validate(url, None).await.map(|_| ()), expected, "{url}");
        }
        let unknown = guard.validate("http://no.such.host.invalid/", None).await;
        assert!(matches!(unknown, Err(UrlError::Unresolved(_))), "{unknown:?}");
        let empty = UrlGuard::new(&[]);
        let refused = empty.validate("http://127.0.0.1/", None).await.unwrap_err();
        assert_eq!(refused, outside("127.0.0.1"));
    }

    #[tokio::test]
    async fn the_url_of_a_web_hook_is_short_and_has_no_user_information() {
        let guard = guard();
        let of_length = |length: usize| format!("http://192.0.2.7/{}", "a".repeat(length - 17));
        for (url, expected) in [
            ("http://192.0.2.7:8080/hook?key=a@b", Ok(())),
            ("http://192.0.2.7@198.51.100.1/", Err(UrlError::UserInfo)),
            ("http://user:word@192.0.2.7/", Err(UrlError::UserInfo)),
            ("http://@192.0.2.7/", Err(UrlError::UserInfo)),
            ("https://192.0.2.7/", Err(UrlError::NotHttp)),
            ("http:///hook", Err(UrlError::NotHttp)),
            ("", Err(UrlError::NotHttp)),
            (&of_length(MAX_HOOK_URL_BYTES), Ok(())),
            (&of_length(MAX_HOOK_URL_BYTES + 1), Err(UrlError::TooLong)),
        ] {
            assert_eq!(guard.validate_hook(url, None).await.map(|_| ()), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn every_spelling_of_a_receiver_has_one_destination_and_one_judgement() {
        let guard = guard();
        for (destination, urls) in [
            (
                "127.0.0.1:80",
                &[
                    "http://127.0.0.1",
                    "http://127.0.0.1:80/other?a=b",
                    "http://127.0.0.1:/",
                    "http://127.0.0.1:0080/",
                    "HTTP://LocalHost/",
                    "http://localhost:80/",
                    "http://2130706433/",
                    "http://0x7f000001/",
                    "http://0177.0.0.1/",
                    "http://127.1/",
                    "http://[::ffff:127.0.0.1]/",
                    "http://[::FFFF:7f00:1]:80/",
                    "http://[0:0:0:0:0:ffff:7f00:0001]/",
                    "http://user:word@127.0.0.1/",
                    "http://192.0.2.7@127.0.0.1:80/",
                ][..],
            ),
            (
                "[2001:db8::7]:8080",
                &[
                    "http://[2001:db8::7]:8080/",
                    "http://[2001:DB8::0007]:8080/",
                    "http://[2001:db8:0:0:0:0:0:7]:08080/",
                    "http://[2001:db8::0.0.0.7]:8080/",
                ],
            ),
        ] {
            for url in urls {
                let validated = guard.validate(url, None).await.map(|url| url.destination());
                assert_eq!(validated, Ok(destination.parse().unwrap()), "{url}");
            }
        }
        // The same spellings of an address outside of the networks.
        let outside = UrlError::NotAllowed(vec!["198.51.100.1".parse().unwrap()]);
        for host in ["198.51.100.1", "3325256705", "0xc6336401", "[::ffff:c633:6401]"] {
            let rejected = guard.validate(&format!("http://{host}/"), None).await.unwrap_err();
            assert_eq!(rejected, outside, "{host}");
        }
    }

    #[test]
    fn the_destination_of_a_name_does_not_depend_on_the_order_of_its_addresses() {
        let guard = guard();
        let mut found: Vec<IpAddr> = (1..=20).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        found.insert(3, "198.51.100.1".parse().unwrap());
        for _ in 0..found.len() {
            found.rotate_left(1);
            let (addresses, destination) = guard.judge(found.clone(), 80).unwrap();
            assert_eq!(destination, "192.0.2.1:80".parse().unwrap());
            assert_eq!(addresses.len(), MAX_ADDRESSES);
        }
    }

    #[tokio::test]
    async fn a_url_is_dialled_by_its_addresses_in_turn_under_its_own_name() {
        let guard = guard();
        for (url, host, dialled) in [
            ("http://localhost:8080/a?b=c", "localhost:8080", "http://127.0.0.1:8080/a?b=c"),
            ("http://user:word@127.0.0.1", "127.0.0.1", "http://127.0.0.1:80/"),
            ("http://127.0.0.1:/x", "127.0.0.1:", "http://127.0.0.1:80/x"),
            ("http://[2001:db8::7]:1/", "[2001:db8::7]:1", "http://[2001:db8::7]:1/"),
            ("http://[::ffff:192.0.2.7]/", "[::ffff:192.0.2.7]", "http://192.0.2.7:80/"),
        ] {
            let url = guard.validate(url, None).await.unwrap();
            assert_eq!(url.host, host);
            assert_eq!(url.dialled_uri(0).unwrap().to_string(), dialled);
        }
        let mut url = guard.validate("http://127.0.0.1:1/", None).await.unwrap();
        assert_eq!([1, 2].map(|failures| url.failed_rounds(failures)), [Some(1), Some(2)]);
        let addresses = ["127.0.0.9:1", "127.0.0.1:1", "[::1]:1"].map(|at| at.parse().unwrap());
        url.addresses = addresses.into();
        let turn = |failures| url.dialled_uri(failures).unwrap().authority().unwrap().to_string();
        assert_eq!(
            [0, 1, 2, 3].map(turn),
            ["127.0.0.9:1", "127.0.0.1:1", "[::1]:1", "127.0.0.9:1"]
        );
        let rounds = [1, 2, 3, 4, 6].map(|failures| url.failed_rounds(failures));
        assert_eq!(rounds, [None, None, Some(1), None, Some(2)]);
    }
}
