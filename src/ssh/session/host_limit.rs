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
const MAX_CONCURRENT_LOGINS: usize = 4;

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
        let seat = self.semaphore(host).acquire_owned();
        match timeout_at(deadline, seat).await {
            Ok(Ok(seat)) => Ok(seat),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(host_busy(host)),
        }
    }

    fn semaphore(&self, host: IpAddr) -> Arc<Semaphore> {
        let mut hosts = lock_unpoisoned(&self.hosts);
        if let Some(seats) = hosts.get(&host).and_then(Weak::upgrade) {
            return seats;
        }
        hosts.retain(|_, seats| seats.strong_count() > 0);
        let seats = Arc::new(Semaphore::new(MAX_CONCURRENT_LOGINS));
        hosts.insert(host, Arc::downgrade(&seats));
        seats
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
    let told = format!("{MAX_CONCURRENT_LOGINS} other logins on {host} did not end in time");
    Fault::new(Reason::AgentBusy, told)
        .with_detail("running", MAX_CONCURRENT_LOGINS)
        .with_remedy("check why sshd on that host is slow to answer; the login is tried again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Vec<SocketAddr> {
        vec![SocketAddr::new(address.parse().unwrap(), 22)]
    }

    #[tokio::test]
    async fn four_are_let_in_and_the_fifth_when_one_has_left() {
        let gate = PerHostLimiter::default();
        // A free permit is granted even past the deadline.
        let soon = Instant::now;
        let mut seats = Vec::new();
        for address in ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
            seats.push(gate.acquire(&at(address), soon()).await.unwrap());
        }
        let fault = gate.acquire(&at("127.0.0.1"), soon()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy);
        // Another host has its own.
        let other = gate.acquire(&at("192.0.2.1"), soon()).await.unwrap();
        seats.pop();
        assert!(gate.acquire(&at("127.0.0.1"), soon()).await.is_ok());
        drop((seats, other));
    }

    #[tokio::test]
    async fn hosts_that_nobody_logs_in_to_are_forgotten() {
        let gate = PerHostLimiter::default();
        for n in 0..1000 {
            drop(
                gate.acquire(&at(&format!("192.0.{}.{}", n / 256, n % 256)), Instant::now()).await,
            );
        }
        assert_eq!(gate.hosts.lock().unwrap().len(), 1);
    }
}
