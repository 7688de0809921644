//! The limiter of concurrent logins on one server, over all stores. All names and addresses of this
//! host are one server, as for the rejections of logins.

mod queue;
mod silence;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::common::lock_unpoisoned;
use crate::model::{Fault, Reason, Remedy};

use super::prepared::LoginServer;
pub use queue::LoginClass;
use queue::{LoginNumber, MAX_LOGINS_PER_SERVER, ServerQueue};
pub(crate) use silence::LoginEnd;

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
    servers: BTreeMap<LoginServer, ServerQueue>,
    /// The logins that wait for their admission.
    waiting: HashMap<LoginNumber, oneshot::Sender<()>>,
}

/// The right to one of the concurrent logins on a server, or a place in its queue. Dropping it
/// releases it.
#[derive(Debug)]
pub struct ServerPermit {
    state: Arc<Mutex<LimiterState>>,
    server: LoginServer,
    number: LoginNumber,
    end: LoginEnd,
}

impl LoginLimiter {
    /// Waits for a permit for the server, which has the address `address`.
    ///
    /// # Errors
    /// Returns `agent_busy`, with the address, if there was no permit by `deadline`.
    ///
    /// # Cancel safety
    /// The login loses its place in the queue if the future is dropped.
    pub(super) async fn acquire(
        &self,
        (server, address): (LoginServer, SocketAddr),
        class: LoginClass,
        username: &str,
        deadline: Instant,
    ) -> Result<ServerPermit, Fault> {
        let (permit, admitted) = self.enqueue(server, class, username);
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
        server: LoginServer,
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
    fn admit(&mut self, server: LoginServer) {
        let Some(queue) = self.servers.get_mut(&server) else { return };
        for number in queue.admit() {
            // A login that no longer waits drops its permit, which admits the next one.
            self.waiting.remove(&number).map(|admit| admit.send(()));
        }
    }

    fn release(&mut self, server: LoginServer, number: LoginNumber, end: LoginEnd) {
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
        .with_remedy(Remedy::CheckSlowServer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LoginClass::{Attempt, Monitor};
    use super::*;

    /// Returns a server on another host, and its address.
    fn other_host(address: &str, port: u16) -> (LoginServer, SocketAddr) {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        (LoginServer { other_host: Some(address.ip()), port }, address)
    }

    /// Returns the server of this host with this address.
    fn this_host(address: &str) -> (LoginServer, SocketAddr) {
        let (server, address) = other_host(address, 22);
        (LoginServer { other_host: None, ..server }, address)
    }

    async fn acquire(
        limiter: &LoginLimiter,
        server: (LoginServer, SocketAddr),
    ) -> Result<ServerPermit, Fault> {
        limiter.acquire(server, Monitor, "u", Instant::now()).await
    }

    #[tokio::test]
    async fn a_fifth_login_on_a_server_waits_for_one_of_four_permits() {
        let limiter = LoginLimiter::default();
        let mut permits = Vec::new();
        // A free permit is granted even past the deadline. All addresses of this host count.
        for address in ["127.0.0.1", "127.0.0.9", "::1", "192.0.2.9"] {
            permits.push(acquire(&limiter, this_host(address)).await.unwrap());
        }
        let fault = acquire(&limiter, this_host("127.0.0.1")).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy);
        assert!(fault.details().contains("127.0.0.1:22"), "{fault}");
        // Another host, and another port of the same host, have their own.
        let other = acquire(&limiter, other_host("192.0.2.1", 22)).await.unwrap();
        let (this, address) = this_host("127.0.0.1");
        let port = (LoginServer { port: 2222, ..this }, address);
        let port = acquire(&limiter, port).await.unwrap();
        permits.pop();
        assert!(acquire(&limiter, this_host("127.0.0.1")).await.is_ok());
        drop((permits, other, port));
    }

    #[tokio::test]
    async fn a_login_that_gives_up_leaves_its_place() {
        let limiter = LoginLimiter::default();
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(acquire(&limiter, this_host("127.0.0.1")).await.unwrap());
        }
        let soon = Instant::now() + Duration::from_millis(50);
        let gives_up = limiter.acquire(this_host("127.0.0.1"), Attempt, "u", soon).await;
        assert_eq!(gives_up.unwrap_err().reason(), Reason::AgentBusy);
        let far = Instant::now() + Duration::from_secs(60);
        let waits = limiter.acquire(this_host("127.0.0.1"), Monitor, "u", far);
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
            let permit = acquire(&limiter, other_host(&address, 22)).await.unwrap();
            permit.release(if n < 1500 { LoginEnd::Answered } else { LoginEnd::ServerSilent });
        }
        assert_eq!(limiter.state.lock().unwrap().servers.len(), MAX_SILENT_SERVERS);
    }
}
