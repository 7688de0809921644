//! The limiter of concurrent logins on one server, over all stores. A server is an address and a
//! port. All loopback addresses are one host.

mod queue;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::common::lock_unpoisoned;
use crate::model::{Fault, Reason};

pub use queue::LoginClass;
pub(crate) use queue::LoginEnd;
use queue::{LoginNumber, MAX_LOGINS_PER_SERVER, ServerQueue};

/// Maximum number of idle servers that are remembered because they did not answer. A forgotten one
/// gets all permits again, until it does not answer once more.
const MAX_SILENT_SERVERS: usize = 1024;

/// Grants the permits for logins. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct LoginLimiter {
    state: Arc<Mutex<LimiterState>>,
}

#[derive(Debug, Default)]
struct LimiterState {
    last_number: LoginNumber,
    servers: BTreeMap<(IpAddr, u16), ServerQueue>,
    /// The logins that wait for their admission.
    waiting: HashMap<LoginNumber, oneshot::Sender<()>>,
}

/// The right to one of the concurrent logins on a server, or a place in its queue. Dropping it
/// releases it.
#[derive(Debug)]
pub struct ServerPermit {
    state: Arc<Mutex<LimiterState>>,
    server: (IpAddr, u16),
    number: LoginNumber,
    end: LoginEnd,
}

impl LoginLimiter {
    /// Waits for a permit for the server at the first of `addresses` (not empty).
    ///
    /// # Errors
    /// Returns `agent_busy` if there was no permit by `deadline`.
    ///
    /// # Cancel safety
    /// The login loses its place in the queue if the future is dropped.
    pub(super) async fn acquire(
        &self,
        addresses: &[SocketAddr],
        class: LoginClass,
        username: &str,
        deadline: Instant,
    ) -> Result<ServerPermit, Fault> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = addresses.first().copied().unwrap_or(any);
        let (permit, admitted) = self.enqueue(server_of(address), class, username);
        match timeout_at(deadline, admitted).await {
            Ok(Ok(())) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                let state = lock_unpoisoned(&self.state);
                Err(server_busy(address, state.servers.get(&permit.server), username))
            }
        }
    }

    fn enqueue(
        &self,
        server: (IpAddr, u16),
        class: LoginClass,
        username: &str,
    ) -> (ServerPermit, oneshot::Receiver<()>) {
        let (admit, admitted) = oneshot::channel();
        let mut state = lock_unpoisoned(&self.state);
        state.last_number = state.last_number.wrapping_add(1);
        let number = state.last_number;
        state.waiting.insert(number, admit);
        state.servers.entry(server).or_default().push(number, class, username);
        state.admit(server);
        let end = LoginEnd::Unknown;
        (ServerPermit { state: Arc::clone(&self.state), server, number, end }, admitted)
    }
}

impl LimiterState {
    fn admit(&mut self, server: (IpAddr, u16)) {
        let Some(queue) = self.servers.get_mut(&server) else { return };
        for number in queue.admit() {
            // A login that no longer waits drops its permit, which admits the next one.
            self.waiting.remove(&number).map(|admit| admit.send(()));
        }
    }

    fn release(&mut self, server: (IpAddr, u16), number: LoginNumber, end: LoginEnd) {
        self.waiting.remove(&number);
        let Some(queue) = self.servers.get_mut(&server) else { return };
        queue.remove(number, end);
        self.admit(server);
        if self.servers.get(&server).is_some_and(ServerQueue::is_forgettable) {
            self.servers.remove(&server);
        }
        if self.servers.len() > MAX_SILENT_SERVERS {
            let idle = self.servers.iter().find(|(_, queue)| queue.is_idle());
            let idle = idle.map(|(server, _)| *server);
            idle.and_then(|server| self.servers.remove(&server));
        }
    }
}

impl ServerPermit {
    /// Releases the permit and records the end of its login.
    pub(super) fn release(mut self, end: LoginEnd) {
        self.end = end;
    }
}

impl Drop for ServerPermit {
    fn drop(&mut self) {
        lock_unpoisoned(&self.state).release(self.server, self.number, self.end);
    }
}

/// Maps all loopback addresses to one host.
fn server_of(address: SocketAddr) -> (IpAddr, u16) {
    let host = match address.ip().to_canonical() {
        loopback if loopback.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        other => other,
    };
    (host, address.port())
}

fn server_busy(address: SocketAddr, queue: Option<&ServerQueue>, username: &str) -> Fault {
    let silent = queue.is_some_and(|queue| queue.was_silent_for(username));
    let details = if silent {
        format!("{address} did not answer the last login; another login on it did not end in time")
    } else {
        format!("the other logins on {address} did not end in time")
    };
    Fault::new(Reason::AgentBusy, details)
        .with_detail("running", queue.map_or(MAX_LOGINS_PER_SERVER, ServerQueue::running_count))
        .with_detail("limit", MAX_LOGINS_PER_SERVER)
        .with_remedy("check why sshd on that host answers slowly; the daemon repeats the login")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LoginClass::{Attempt, Monitor};
    use super::*;

    fn at(address: &str) -> [SocketAddr; 1] {
        [SocketAddr::new(address.parse().unwrap(), 22)]
    }

    async fn acquire(limiter: &LoginLimiter, address: &str) -> Result<ServerPermit, Fault> {
        limiter.acquire(&at(address), Monitor, "u", Instant::now()).await
    }

    #[tokio::test]
    async fn a_fifth_login_on_a_server_waits_for_one_of_four_permits() {
        let limiter = LoginLimiter::default();
        let mut permits = Vec::new();
        // A free permit is granted even past the deadline.
        for address in ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
            permits.push(acquire(&limiter, address).await.unwrap());
        }
        let fault = acquire(&limiter, "127.0.0.1").await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy);
        // Another host, and another port of the same host, have their own.
        let other = acquire(&limiter, "192.0.2.1").await.unwrap();
        let port = [SocketAddr::from(([127, 0, 0, 1], 2222))];
        let port = limiter.acquire(&port, Monitor, "u", Instant::now()).await.unwrap();
        permits.pop();
        assert!(acquire(&limiter, "127.0.0.1").await.is_ok());
        drop((permits, other, port));
    }

    #[tokio::test]
    async fn a_login_that_gives_up_leaves_its_place() {
        let limiter = LoginLimiter::default();
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(acquire(&limiter, "127.0.0.1").await.unwrap());
        }
        let soon = Instant::now() + Duration::from_millis(50);
        let gives_up = limiter.acquire(&at("127.0.0.1"), Attempt, "u", soon).await;
        assert_eq!(gives_up.unwrap_err().reason(), Reason::AgentBusy);
        let far = Instant::now() + Duration::from_secs(60);
        let server = at("127.0.0.1");
        let waits = limiter.acquire(&server, Monitor, "u", far);
        let release = async { drop(held.pop()) };
        tokio::join!(waits, release).0.unwrap();
        drop(held);
        assert!(limiter.state.lock().unwrap().servers.is_empty());
        assert!(limiter.state.lock().unwrap().waiting.is_empty());
    }

    #[tokio::test]
    async fn servers_that_are_idle_are_removed_and_silent_ones_are_bounded() {
        let limiter = LoginLimiter::default();
        for n in 0..3000 {
            let address = format!("192.0.{}.{}", n / 256, n % 256);
            let permit = acquire(&limiter, &address).await.unwrap();
            permit.release(if n < 1500 { LoginEnd::Answered } else { LoginEnd::ServerSilent });
        }
        assert_eq!(limiter.state.lock().unwrap().servers.len(), MAX_SILENT_SERVERS);
    }
}
