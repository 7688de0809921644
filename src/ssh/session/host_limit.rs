//! The limiter of concurrent logins on one host, over all stores. sshd rejects connections at
//! random while ten are not logged in (`MaxStartups 10:30:100`, `sshd_config(5)`). This also
//! affects the connections of other users.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::common::lock_unpoisoned;
use crate::model::{Fault, Reason};

/// Maximum number of concurrent logins on one host. It stays below the ten of `MaxStartups`.
const MAX_LOGINS_PER_HOST: usize = 4;

/// Counts the running logins of each host.
#[derive(Debug, Default)]
pub(crate) struct PerHostLimiter {
    hosts: Mutex<BTreeMap<IpAddr, Weak<Semaphore>>>,
}

impl PerHostLimiter {
    /// Acquires a permit for the host of `addresses` (not empty). Dropping the permit releases it.
    ///
    /// # Errors
    /// Returns `agent_busy` if the earlier logins did not end by `deadline`.
    pub(crate) async fn acquire(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let host =
            addresses.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |first| host_of(first.ip()));
        let permit = self.semaphore(host).acquire_owned();
        match timeout_at(deadline, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(host_busy(host)),
        }
    }

    fn semaphore(&self, host: IpAddr) -> Arc<Semaphore> {
        let mut hosts = lock_unpoisoned(&self.hosts);
        if let Some(permits) = hosts.get(&host).and_then(Weak::upgrade) {
            return permits;
        }
        hosts.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Semaphore::new(MAX_LOGINS_PER_HOST));
        hosts.insert(host, Arc::downgrade(&permits));
        permits
    }
}

/// Maps all loopback addresses to one host.
fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        loopback if loopback.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        other => other,
    }
}

fn host_busy(host: IpAddr) -> Fault {
    let details = format!("{MAX_LOGINS_PER_HOST} other logins on {host} did not end in time");
    Fault::new(Reason::AgentBusy, details)
        .with_detail("running", MAX_LOGINS_PER_HOST)
        .with_remedy("check why sshd on that host answers slowly; the daemon repeats the login")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Vec<SocketAddr> {
        vec![SocketAddr::new(address.parse().unwrap(), 22)]
    }

    #[tokio::test]
    async fn a_fifth_login_waits_for_one_of_four_permits() {
        let limiter = PerHostLimiter::default();
        // A free permit is granted even past the deadline.
        let soon = Instant::now;
        let mut permits = Vec::new();
        for address in ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
            permits.push(limiter.acquire(&at(address), soon()).await.unwrap());
        }
        let fault = limiter.acquire(&at("127.0.0.1"), soon()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy);
        // Another host has its own.
        let other = limiter.acquire(&at("192.0.2.1"), soon()).await.unwrap();
        permits.pop();
        assert!(limiter.acquire(&at("127.0.0.1"), soon()).await.is_ok());
        drop((permits, other));
    }

    #[tokio::test]
    async fn idle_hosts_are_removed() {
        let limiter = PerHostLimiter::default();
        for n in 0..1000 {
            drop(
                limiter
                    .acquire(&at(&format!("192.0.{}.{}", n / 256, n % 256)), Instant::now())
                    .await,
            );
        }
        assert_eq!(limiter.hosts.lock().unwrap().len(), 1);
    }
}
