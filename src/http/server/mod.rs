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
use super::tls::TlsListenerConfig;
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
    pub tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
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
    host_allowlist: HostAllowlist,
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
        let allows_remote = settings.insecure_http || settings.tls.is_some();
        let bound = BoundSockets::open_sockets(
            &settings.listen,
            inherited,
            allows_remote,
            &settings.socket,
        )?;
        Ok(Self {
            bound,
            base_path: settings.base_path.clone(),
            agent_prefixes: settings.agent_prefixes.clone(),
            host_allowlist: HostAllowlist::new(&settings.host_names),
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
    /// requests in flight and returns, at the latest after `drain_timeout`.
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
        drain_timeout: Duration,
    ) -> io::Result<()> {
        let networks = context.replies.url_guard().allowlist().clone();
        let agent_allowlist = AgentAllowlist { prefixes: self.agent_prefixes.clone(), networks };
        let state = AppState {
            stores: context.stores,
            allowed_roots: context.allowed_roots,
            readiness: context.readiness,
            daemon: context.daemon,
            replies: context.replies,
            stop: stop.clone(),
        };
        let service = ApiService {
            router: api::build_router(&self.base_path, &self.agent_prefixes, state),
            host_allowlist: self.host_allowlist,
            agent_allowlist,
            tokens: context.tokens,
            random: context.random,
            auth_failures: Mutex::default(),
            denials: Mutex::default(),
            limits: self.limits,
        };
        let mut listeners = self.bound.into_listeners()?;
        let mut connections = Connections::new(service, context.tls, stop.clone());
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
        connections.drain_connections(drain_timeout).await;
        Ok(())
    }
}

/// The open connections and their limits.
struct Connections {
    service: Arc<ApiService>,
    tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    tcp: ConnectionLimiter,
    unix: ConnectionLimiter,
    /// Connections beyond the limits, which receive an error response.
    overflow: ConnectionLimiter,
}

impl Connections {
    fn new(
        service: ApiService,
        tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
        stop: CancellationToken,
    ) -> Self {
        let limits = service.limits;
        Self {
            tcp: ConnectionLimiter::new(limits.max_connections, limits.max_keep_alive_connections),
            unix: ConnectionLimiter::new(
                limits.max_local_connections,
                limits.max_keep_alive_connections,
            ),
            overflow: ConnectionLimiter::new(MAX_OVERFLOW_CONNECTIONS, 0),
            service: Arc::new(service),
            tls,
            stop,
            tasks: JoinSet::new(),
        }
    }

    fn accept_connection(&mut self, accepted: AcceptedStream) {
        let limiter = match accepted {
            AcceptedStream::Tcp(..) => &self.tcp,
            AcceptedStream::Unix(_) => &self.unix,
        };
        let Some((admission, permit)) = self.acquire_permit(limiter) else {
            debug!("connection closed: too many open connections");
            return;
        };
        let (service, stop) = (Arc::clone(&self.service), self.stop.clone());
        let tls = self.tls.clone();
        match accepted {
            AcceptedStream::Tcp(stream, address) => self.tasks.spawn(async move {
                let limit = service.limits.header_read_timeout;
                if !wait_for_first_byte(&stream, limit, &stop).await {
                    return;
                }
                let Some(tls) = tls else {
                    let peer = PeerAddress::Tcp(address, None);
                    return Box::pin(connection::serve_connection(
                        stream, peer, admission, permit, service, stop,
                    ))
                    .await;
                };
                let handshake =
                    Box::pin(super::tls::accept_tls(tls, stream, address, limit, &stop)).await;
                if let Some((stream, certificate)) = handshake {
                    let peer = PeerAddress::Tcp(address, certificate);
                    Box::pin(connection::serve_connection(
                        stream, peer, admission, permit, service, stop,
                    ))
                    .await;
                }
            }),
            AcceptedStream::Unix(stream) => self.tasks.spawn(async move {
                let peer = PeerAddress::Unix(stream.peer_cred().ok().map(|peer| peer.uid()));
                connection::serve_connection(stream, peer, admission, permit, service, stop).await;
            }),
        };
    }

    fn acquire_permit(&self, limiter: &ConnectionLimiter) -> Option<(Admission, ConnectionPermit)> {
        let permit = limiter.try_acquire().map(|permit| (Admission::Accepted, permit));
        permit.or_else(|| Some((Admission::OverCapacity, self.overflow.try_acquire()?)))
    }

    async fn drain_connections(mut self, drain_timeout: Duration) {
        let drained = async {
            while let Some(result) = self.tasks.join_next().await {
                log_panic(result);
            }
        };
        if timeout(drain_timeout, drained).await.is_err() {
            warn!(connections = self.tasks.len(), "drain timed out, connections closed");
            self.tasks.shutdown().await;
        }
        info!("all connections closed");
    }
}

/// Logs the panic of a connection task, which is an internal error. Its connection is closed, and
/// the other connections continue.
fn log_panic(result: Result<(), JoinError>) {
    if let Err(error) = result
        && error.is_panic()
    {
        error!(%error, "connection task panicked");
    }
}
