//! Name lookups for callers of the agent protocol, with a share for each caller.
//!
//! The C library looks a name up on a thread that it blocks, for up to half a minute if the name
//! service does not answer. A caller can name hosts of such a name service. Therefore each caller
//! has its own permits, and one that uses them up delays only its own calls.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::caller_share::CallerShares;
use crate::common::{BlockingError, run_blocking};

/// Maximum duration of a lookup, the wait for its permits included.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of concurrent lookups. Each one takes a thread.
const MAX_LOOKUPS: usize = 16;
/// Maximum number of them for one caller. A management node has one name, and a lookup that is
/// answered takes milliseconds.
const MAX_LOOKUPS_PER_CALLER: usize = 4;

/// The reason why a lookup has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupError {
    /// The name service has no address for the name.
    Failed(String),
    /// The daemon had no permit or no thread in time, or the name service did not answer in time.
    /// This says nothing about the name.
    Unknown(&'static str),
}

/// Limits the lookups of all callers and of each caller.
#[derive(Debug)]
pub(super) struct LookupLimiter {
    all: Arc<Semaphore>,
    callers: CallerShares,
}

/// The permits of one lookup.
struct LookupPermits {
    _all: OwnedSemaphorePermit,
    _caller: OwnedSemaphorePermit,
}

impl LookupLimiter {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            callers: CallerShares::new(MAX_LOOKUPS_PER_CALLER),
        }
    }

    /// Returns the addresses of a name from the name service. Ends within 2 s.
    ///
    /// An abandoned lookup keeps its thread and its permits until the C library returns.
    pub(super) async fn look_up(
        &self,
        name: &str,
        caller: Option<IpAddr>,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let name = name.to_owned();
        let ask = move || {
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        };
        self.run_lookup(ask, caller).await
    }

    /// Runs a lookup with the permits of the caller.
    async fn run_lookup(
        &self,
        ask: impl FnOnce() -> io::Result<Vec<IpAddr>> + Send + 'static,
        caller: Option<IpAddr>,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let deadline = Instant::now() + RESOLVE_TIMEOUT;
        let permits = timeout_at(deadline, self.acquire(caller)).await.ok().flatten();
        let permits =
            permits.ok_or(LookupError::Unknown("too many lookups wait for the name service"))?;
        let lookup = run_blocking(deadline, move || {
            let _permits = permits;
            ask()
        });
        match lookup.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(LookupError::Failed(error.to_string())),
            Err(BlockingError::TimedOut) => {
                Err(LookupError::Unknown("the name service did not answer in time"))
            }
            Err(BlockingError::NotStarted | BlockingError::Panicked) => {
                Err(LookupError::Unknown("the system provided no thread for it"))
            }
        }
    }

    /// Waits for the permits of a lookup. That of the caller comes first, so that a caller never
    /// waits with a permit that others need.
    async fn acquire(&self, caller: Option<IpAddr>) -> Option<LookupPermits> {
        let own = self.callers.semaphore(caller);
        let own = own.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(LookupPermits { _all: all, _caller: own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    #[tokio::test]
    async fn a_caller_whose_lookups_hang_delays_no_other_caller() {
        let limiter = LookupLimiter::new();
        let mut hanging = Vec::new();
        for _ in 0..MAX_LOOKUPS_PER_CALLER {
            hanging.push(limiter.acquire(caller(1)).await.unwrap());
        }
        let refused = limiter.look_up("localhost", caller(1)).await;
        assert!(matches!(refused, Err(LookupError::Unknown(_))), "{refused:?}");
        for n in 2..=40 {
            assert!(limiter.acquire(caller(n)).await.is_some(), "{n}");
        }
        assert_eq!(limiter.all.available_permits(), MAX_LOOKUPS - MAX_LOOKUPS_PER_CALLER);
        hanging.clear();
        assert!(limiter.acquire(caller(1)).await.is_some());
        let _ = limiter.callers.semaphore(caller(2));
        assert_eq!(limiter.callers.count(), 1, "callers without lookups are forgotten");
    }

    #[tokio::test]
    async fn a_name_service_that_does_not_answer_says_nothing_about_the_name() {
        let limiter = LookupLimiter::new();
        let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
        let hangs = move || {
            let _ = released.recv();
            Ok(Vec::new())
        };
        let unknown = limiter.run_lookup(hangs, caller(1)).await;
        assert!(matches!(unknown, Err(LookupError::Unknown(_))), "{unknown:?}");
        assert_eq!(limiter.all.available_permits(), MAX_LOOKUPS - 1, "the thread still hangs");
        drop(release);
        let refused = || Err(io::Error::other("no such name"));
        let failed = limiter.run_lookup(refused, caller(1)).await;
        assert_eq!(failed, Err(LookupError::Failed("no such name".to_owned())));
    }

    #[tokio::test]
    async fn a_name_has_addresses_or_an_error() {
        let limiter = LookupLimiter::new();
        let found = limiter.look_up("localhost", None).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        let unknown = limiter.look_up("no.such.host.invalid", None).await;
        assert!(matches!(unknown, Err(LookupError::Failed(_))), "{unknown:?}");
    }
}
