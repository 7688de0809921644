//! The server. It listens, accepts connections within its limits, and drains them when it stops.

pub(super) mod connection;
pub(super) mod connection_limit;
pub(super) mod listeners;
pub(super) mod unix_socket;
pub(super) mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::api;
use super::api::AppState;
use super::api::health::{DaemonInfo, ReadinessCheck};
use super::auth::PeerAddress;
use super::auth::agent_allowlist::AgentAllowlist;
use super::auth::host_allowlist::HostAllowlist;
use super::auth::tokens::TokenTable;
use super::limits::ServerLimits;
use super::middleware::ApiService;
use super::tls::TlsAcceptance;
use crate::agent::StoreService;
use crate::common::Random;
use crate::management::ReplyQueue;
use crate::settings;
use connection::{Admission, wait_for_first_byte};
use connection_limit::{ConnectionLimiter, ConnectionPermit};
use listeners::{AcceptedStream, BindError, BoundSockets, InheritedSockets};

/// Maximum number of connections beyond the limits that still receive an error response. Further
/// connections are closed without a response.
const MAX_OVERFLOW_CONNECTIONS: usize = 64;

/// The dependencies of the server.
pub struct ServerContext<S> {
    /// The stores behind the routes.
    pub stores: S,
    /// The callers with a token, for TCP. A new value takes effect with the next request.
    pub tokens: watch::Receiver<Arc<TokenTable>>,
    /// The TLS settings, which take effect with the next connection, or `None` for plain HTTP.
    pub tls: Option<watch::Receiver<Arc<TlsAcceptance>>>,
    /// The check behind `/readyz`.
    pub readiness: Arc<dyn ReadinessCheck>,
    /// The daemon, as the health view shows it.
    pub daemon: DaemonInfo,
    /// Queue of the replies to asynchronous calls of the agent protocol. Its URL guard also holds
    /// the networks that may use the protocol.
    pub replies: ReplyQueue,
    /// Source of the request ids.
    pub random: Arc<dyn Random>,
    /// The value of `storage.allowed_roots`.
    pub allowed_roots: Vec<String>,
}

/// A server that listens and does not accept connections yet.
#[derive(Debug)]
pub struct HttpServer {
    bound: BoundSockets,
    base_path: String,
    agent_prefixes: Vec<String>,
    hosts: HostAllowlist,
    socket: PathBuf,
    limits: ServerLimits,
}

impl HttpServer {
    /// Opens all sockets. Inherited sockets replace `server.listen` and `server.socket`. The call
    /// needs no runtime.
    ///
    /// # Errors
    /// [`BindError`] names the address. The exit code is 69.
    pub fn bind(
        settings: &settings::ServerSettings,
        inherited: InheritedSockets,
    ) -> Result<Self, BindError> {
        let exposes = settings.insecure_http || settings.tls.is_some();
        let bound =
            BoundSockets::open_sockets(&settings.listen, inherited, exposes, &settings.socket)?;
        Ok(Self {
            bound,
            base_path: settings.base_path.clone(),
            agent_prefixes: settings.agent_prefixes.clone(),
            hosts: HostAllowlist::new(&settings.host_names),
            socket: settings.socket.clone(),
            limits: ServerLimits::default(),
        })
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(self, limits: ServerLimits) -> Self {
        Self { limits, ..self }
    }

    /// Returns the TCP addresses that the server listens on, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.addresses()
    }

    /// Returns the path of the Unix socket.
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    /// Serves until `stop` is cancelled. Then it accepts no more connections, completes the
    /// requests in flight and returns, at the latest after `drain`.
    ///
    /// # Errors
    /// The runtime cannot register the sockets, because of an internal error or a system error.
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection. Work that the stores have started continues.
    pub async fn run<S: StoreService>(
        self,
        context: ServerContext<S>,
        stop: CancellationToken,
        drain: Duration,
    ) -> io::Result<()> {
        let networks = context.replies.url_guard().allowlist().clone();
        let agent = AgentAllowlist { prefixes: self.agent_prefixes.clone(), networks };
        let desk = AppState {
            stores: context.stores,
            allowed_roots: context.allowed_roots,
            readiness: context.readiness,
            daemon: context.daemon,
            replies: context.replies,
            stop: stop.clone(),
        };
        let front = ApiService {
            router: api::build_router(&self.base_path, &self.agent_prefixes, desk),
            hosts: self.hosts,
            agent,
            tokens: context.tokens,
            random: context.random,
            auth_failures: Mutex::default(),
            denials: Mutex::default(),
            limits: self.limits,
        };
        let mut listeners = self.bound.into_listeners()?;
        let mut connections = Connections::new(front, context.tls, stop.clone());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(result) = connections.tasks.join_next() => log_panic(result),
                accepted = listeners.accept_next() => connections.accept_connection(accepted),
            }
        }
        // The listeners close first, so that a new client is refused and does not wait.
        drop(listeners);
        connections.drain_connections(drain).await;
        Ok(())
    }
}

/// The open connections and their limits.
struct Connections {
    front: Arc<ApiService>,
    tls: Option<watch::Receiver<Arc<TlsAcceptance>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    remote: ConnectionLimiter,
    local: ConnectionLimiter,
    turned_away: ConnectionLimiter,
}

impl Connections {
    fn new(
        front: ApiService,
        tls: Option<watch::Receiver<Arc<TlsAcceptance>>>,
        stop: CancellationToken,
    ) -> Self {
        let limits = front.limits;
        Self {
            remote: ConnectionLimiter::new(limits.connections, limits.max_keep_alive),
            local: ConnectionLimiter::new(limits.local_connections, limits.max_keep_alive),
            turned_away: ConnectionLimiter::new(MAX_OVERFLOW_CONNECTIONS, 0),
            front: Arc::new(front),
            tls,
            stop,
            tasks: JoinSet::new(),
        }
    }

    fn accept_connection(&mut self, accepted: AcceptedStream) {
        let kind = match accepted {
            AcceptedStream::Tcp(..) => &self.remote,
            AcceptedStream::Unix(_) => &self.local,
        };
        let Some((welcome, seat)) = self.acquire_permit(kind) else {
            debug!("connection closed: too many open connections");
            return;
        };
        let (front, stop) = (Arc::clone(&self.front), self.stop.clone());
        let tls = self.tls.clone();
        match accepted {
            AcceptedStream::Tcp(stream, address) => self.tasks.spawn(async move {
                let limit = front.limits.header_read_timeout;
                if !wait_for_first_byte(&stream, limit, &stop).await {
                    return;
                }
                let Some(tls) = tls else {
                    let peer = PeerAddress::Tcp(address, None);
                    return Box::pin(connection::serve_connection(
                        stream, peer, welcome, seat, front, stop,
                    ))
                    .await;
                };
                let handshake =
                    Box::pin(super::tls::accept_tls(tls, stream, address, limit, &stop)).await;
                if let Some((stream, shown)) = handshake {
                    let peer = PeerAddress::Tcp(address, shown);
                    Box::pin(connection::serve_connection(
                        stream, peer, welcome, seat, front, stop,
                    ))
                    .await;
                }
            }),
            AcceptedStream::Unix(stream) => self.tasks.spawn(async move {
                let peer = PeerAddress::Unix(stream.peer_cred().ok().map(|peer| peer.uid()));
                connection::serve_connection(stream, peer, welcome, seat, front, stop).await;
            }),
        };
    }

    fn acquire_permit(&self, kind: &ConnectionLimiter) -> Option<(Admission, ConnectionPermit)> {
        let seat = kind.try_acquire().map(|seat| (Admission::Accepted, seat));
        seat.or_else(|| Some((Admission::OverCapacity, self.turned_away.try_acquire()?)))
    }

    async fn drain_connections(mut self, limit: Duration) {
        let all = async {
            while let Some(result) = self.tasks.join_next().await {
                log_panic(result);
            }
        };
        if timeout(limit, all).await.is_err() {
            warn!(connections = self.tasks.len(), "drain timed out, connections closed");
            self.tasks.shutdown().await;
        }
        info!("all connections closed");
    }
}

/// Logs the panic of a connection task, which is an internal error. Its connection is closed, and
/// the other connections continue.
fn log_panic(result: Result<(), JoinError>) {
    if let Err(broken) = result
        && broken.is_panic()
    {
        error!(error = %broken, "connection task panicked");
    }
}
