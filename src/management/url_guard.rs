//! Guards the agent protocol against server-side request forgery. Only configured networks may
//! call, and the daemon posts a reply only to a URL in these networks.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower::Service;

use crate::common::{IpAllowlist, run_blocking};

/// Maximum duration of a name lookup.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of concurrent lookups. A management node has one name.
const MAX_CONCURRENT_LOOKUPS: usize = 8;

/// The networks of `server.agent_allow`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UrlGuard {
    allowlist: IpAllowlist,
    lookups: Arc<Semaphore>,
}

/// The reason why a URL is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// The text is not an `http://` URL with a host.
    NotHttp,
    /// The host name does not resolve, for this reason.
    Unresolved(String),
    /// None of the addresses is in the networks.
    NotAllowed(Vec<IpAddr>),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("it is not an http:// URL"),
            Self::Unresolved(cause) => write!(f, "its host name does not resolve: {cause}"),
            Self::NotAllowed(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
                write!(f, "{} is not in server.agent_allow", addresses.join(", "))
            }
        }
    }
}

impl UrlGuard {
    /// Creates the guard for these networks. If there are none, every URL is rejected.
    pub fn new(networks: &[IpNet]) -> Self {
        Self {
            allowlist: IpAllowlist::new(networks),
            lookups: Arc::new(Semaphore::new(MAX_CONCURRENT_LOOKUPS)),
        }
    }

    /// Returns the addresses that may speak the agent protocol.
    pub fn allowlist(&self) -> &IpAllowlist {
        &self.allowlist
    }

    /// Parses a URL, and returns it if its host is in the networks. Ends within 2 s.
    ///
    /// # Errors
    /// [`UrlError`] says why the URL is rejected. No request was sent to it.
    pub async fn validate(&self, url: &str) -> Result<Uri, UrlError> {
        let url: Uri = url.parse().map_err(|_| UrlError::NotHttp)?;
        let host = url.host().filter(|_| url.scheme_str() == Some("http"));
        let host = host.ok_or(UrlError::NotHttp)?;
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(ip) if self.allowlist.contains(ip) => {}
            Ok(ip) => return Err(UrlError::NotAllowed(vec![ip])),
            Err(_) => {
                self.resolve_host(host).await?;
            }
        }
        Ok(url)
    }

    /// Resolves a name, and returns those of its addresses that are in the networks. There is at
    /// least one.
    async fn resolve_host(&self, name: &str) -> Result<Vec<SocketAddr>, UrlError> {
        let Ok(result) = timeout(RESOLVE_TIMEOUT, self.look_up(name.to_owned())).await else {
            return Err(UrlError::Unresolved("the lookup timed out".to_owned()));
        };
        let addresses = result.map_err(|error| UrlError::Unresolved(error.to_string()))?;
        let (allowed, rejected): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|a| self.allowlist.contains(a.ip()));
        if allowed.is_empty() {
            return Err(UrlError::NotAllowed(
                rejected.into_iter().map(|address| address.ip()).collect(),
            ));
        }
        Ok(allowed)
    }
}

impl UrlGuard {
    /// Looks a name up on a blocking thread. An abandoned lookup keeps its thread and its permit
    /// until the C library returns. Further lookups wait for a permit and take no additional
    /// threads.
    async fn look_up(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        let lookup = run_blocking(Instant::now() + RESOLVE_TIMEOUT, move || {
            let _permit = permit;
            (name.as_str(), 0).to_socket_addrs().map(Iterator::collect)
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// Resolves a name again for each connection. A name that was valid before, but now points outside
/// the networks, is rejected.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver(pub(super) UrlGuard);

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.0.clone();
        Box::pin(async move {
            let result = guard.resolve_host(name.as_str()).await;
            result.map(Vec::into_iter).map_err(|error| io::Error::other(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_is_called_in_the_networks_and_nowhere_else() {
        let guard = ["192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8"];
        let guard = UrlGuard::new(&guard.map(|network| network.parse().unwrap()));
        let outside = |ip: &str| UrlError::NotAllowed(vec![ip.parse().unwrap()]);
        for (url, expected) in [
            ("http://192.0.2.7:8080/zstack/asyncrest/callback", Ok(())),
            ("http://[2001:db8::7]:8080/", Ok(())),
            ("http://[::ffff:192.0.2.7]/", Ok(())),
            ("http://localhost:8080/zstack/asyncrest/callback", Ok(())),
            ("http://198.51.100.1/", Err(outside("198.51.100.1"))),
            ("http://[2001:db9::1]/", Err(outside("2001:db9::1"))),
            ("http://169.254.169.254/latest/meta-data", Err(outside("169.254.169.254"))),
            // Whose password would that be?
            ("http://192.0.2.7@198.51.100.1/", Err(outside("198.51.100.1"))),
            ("https://192.0.2.7/", Err(UrlError::NotHttp)),
            ("file:///etc/passwd", Err(UrlError::NotHttp)),
            ("/zstack/asyncrest/callback", Err(UrlError::NotHttp)),
            ("192.0.2.7:8080", Err(UrlError::NotHttp)),
            ("", Err(UrlError::NotHttp)),
        ] {
            assert_eq!(guard.validate(url).await.map(|_| ()), expected, "{url}");
        }
        let unknown = guard.validate("http://no.such.host.invalid/").await;
        assert!(matches!(unknown, Err(UrlError::Unresolved(_))), "{unknown:?}");
        let empty = UrlGuard::new(&[]);
        assert_eq!(empty.validate("http://127.0.0.1/").await, Err(outside("127.0.0.1")));
    }

    #[tokio::test]
    async fn a_name_that_points_elsewhere_when_it_is_dialled_leads_nowhere() {
        let guard = UrlGuard::new(&["192.0.2.0/24".parse().unwrap()]);
        let dialled = GuardedResolver(guard).call("localhost".parse().unwrap()).await;
        assert!(dialled.unwrap_err().to_string().contains("not in server.agent_allow"));
    }
}
