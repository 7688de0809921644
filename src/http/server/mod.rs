//! The server. It listens, accepts connections within its limits, and drains them when it stops.

pub(super) mod connection;
mod eviction_log;
pub(super) mod listeners;
pub(super) mod unix_socket;
pub(super) mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::admission::ConnectionPermit;
use super::admission::local::LocalLimiter;
use super::admission::remote::RemoteLimiter;
use super::admission::source::TrustedProxies;
use super::admission::table::{AdmissionLimits, Credential};
use super::admission::tarpit::{EvictableStream, EvictionMark, Tarpit};
use super::api;
use super::api::AppState;
use super::api::events::EventAccess;
use super::api::health::metrics::MetricsAccess;
use super::api::health::{DaemonInfo, ReadinessCheck};
use super::api::job::call::JobCallRules;
use super::api::job::runner::JobRunner;
use super::audit::denial_log::DenialLog;
use super::auth::PeerAddress;
use super::auth::access_key::{AccessKeyTable, SignatureVerifier};
use super::auth::accounts::Accounts;
use super::auth::agent_allowlist::AgentAllowlist;
use super::auth::agent_refusals::AgentRefusals;
use super::auth::authenticator::Authenticator;
use super::auth::host_allowlist::HostAllowlist;
use super::auth::management_session::SessionCheck;
use super::auth::open_paths::OpenPaths;
use super::auth::rate_limit::SourceCounter;
use super::auth::tokens::TokenTable;
use super::limits::ServerLimits;
use super::middleware::ApiService;
use super::middleware::request_count::RequestCounter;
use super::tls::TlsListenerConfig;
use crate::agent::{EventReader, StoreService};
use crate::common::{Clock, IpAllowlist, Random};
use crate::hooks::HookQueue;
use crate::jobs::JobRegistry;
use crate::management::ReplyQueue;
use crate::metrics::Metrics;
use crate::settings;
use crate::wire::DateFormat;
use connection::wait_for_first_byte;
use eviction_log::EvictionLog;
use listeners::{AcceptedStream, BindError, BoundSockets, InheritedSockets, set_socket_options};

/// Maximum number of TCP connections beyond the share of their source. Each of them gets one
/// response, so that a health check beside a flood from the same source is answered.
const MAX_RESERVE_CONNECTIONS: usize = 64;
/// Maximum number of them from one source: a quarter, as for the other connections.
const MAX_SOURCE_RESERVE_CONNECTIONS: usize = 16;
/// The count of the connections that were closed for newer ones.
const TOO_MANY_UNTRUSTED: &str = "too many connections without a session";
/// The count of the connections that found no permit of the Unix socket.
const TOO_MANY_LOCAL: &str = "too many connections of the Unix socket";

/// The dependencies of the server.
pub struct ServerContext<S> {
    /// The stores behind the routes.
    pub stores: S,
    /// The callers with a token, for TCP. A new value takes effect with the next request.
    pub tokens: watch::Receiver<Arc<TokenTable>>,
    /// The check of sessions of the management node, or `None` if they are not accepted.
    pub session_check: Option<SessionCheck>,
    /// The callers with an access key, for TCP. A new value takes effect with the next request.
    pub access_keys: watch::Receiver<Arc<AccessKeyTable>>,
    /// The clock that the dates of signed requests are compared with.
    pub clock: Arc<dyn Clock>,
    /// The accounts that may log in, and their sessions.
    pub accounts: Arc<Accounts>,
    /// The TLS settings, which take effect with the next connection, or `None` for plain HTTP.
    pub tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
    /// The check behind `/readyz`.
    pub readiness: Arc<dyn ReadinessCheck>,
    /// The daemon, as the health view shows it.
    pub daemon: DaemonInfo,
    /// The reader of the events.
    pub events: EventReader,
    /// The metrics.
    pub metrics: Metrics,
    /// Queue of the replies to asynchronous calls of the agent protocol. Its URL guard also holds
    /// the networks that may use the protocol.
    pub replies: ReplyQueue,
    /// Source of the request ids.
    pub random: Arc<dyn Random>,
    /// The jobs.
    pub jobs: JobRegistry,
    /// The web hooks of the jobs.
    pub hooks: HookQueue,
    /// The settings of the documented API.
    pub api: settings::ApiSettings,
    /// The value of `storage.allowed_roots`.
    pub allowed_roots: Vec<String>,
    /// The values of `api.dates` and `api.time_zone`.
    pub dates: DateFormat,
}

/// A server that listens and does not accept connections yet.
#[derive(Debug)]
pub struct HttpServer {
    bound: BoundSockets,
    base_paths: Vec<String>,
    agent_prefixes: Vec<String>,
    has_open_metrics: bool,
    host_allowlist: HostAllowlist,
    proxies: TrustedProxies,
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
            base_paths: settings.base_paths.clone(),
            agent_prefixes: settings.agent_prefixes.clone(),
            has_open_metrics: settings.open_metrics,
            host_allowlist: HostAllowlist::new(&settings.host_names),
            proxies: TrustedProxies::new(IpAllowlist::new(&settings.trusted_proxies)),
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
        let agent_refusals = Arc::new(AgentRefusals::new(Arc::clone(&context.clock)));
        let agent_allowlist = AgentAllowlist {
            prefixes: self.agent_prefixes.clone(),
            networks,
            refusals: Arc::clone(&agent_refusals),
        };
        let auth_failures = Arc::new(Mutex::<SourceCounter>::default());
        let stats = Arc::clone(context.metrics.http_stats());
        let request_counter =
            RequestCounter::new(&self.base_paths, &self.agent_prefixes, Arc::clone(&stats));
        let state = AppState {
            accounts: Arc::clone(&context.accounts),
            auth_failures: Arc::clone(&auth_failures),
            agent_refusals,
            tls: context.tls.clone(),
            stores: context.stores,
            allowed_roots: context.allowed_roots,
            dates: context.dates.clone(),
            language: context.api.language,
            readiness: context.readiness,
            daemon: context.daemon,
            events: EventAccess::new(context.events, Arc::clone(&context.clock), &self.limits),
            metrics: MetricsAccess::new(context.metrics, &self.limits),
            stats,
            replies: context.replies,
            jobs: JobRunner::new(context.jobs, context.hooks, context.dates, context.api.language),
            job_call_rules: JobCallRules {
                reply: context.api.reply,
                answer_within: context.api.answer_within,
                scheme: if context.tls.is_some() { "https" } else { "http" },
            },
            job_guesses: Mutex::default(),
            stop: stop.clone(),
        };
        let service = ApiService {
            language: context.api.language,
            request_counter,
            router: api::build_router(&self.base_paths, &self.agent_prefixes, state),
            authenticator: Authenticator {
                host_allowlist: self.host_allowlist,
                open_paths: OpenPaths::new(&self.base_paths, self.has_open_metrics),
                agent_allowlist,
                tokens: context.tokens,
                accounts: context.accounts,
                session_check: context.session_check,
                signatures: SignatureVerifier::new(
                    context.access_keys,
                    &self.base_paths,
                    context.clock,
                ),
                auth_failures,
            },
            proxies: self.proxies,
            random: context.random,
            denials: Mutex::default(),
            denial_log: DenialLog::default(),
            limits: self.limits,
            large_bodies: Arc::new(Semaphore::new(self.limits.max_large_bodies)),
        };
        let tarpit = Tarpit::for_process();
        let mut listeners = self.bound.into_listeners(tarpit.clone())?;
        let mut connections = Connections::new(service, context.tls, tarpit.clone(), stop.clone());
        let (service, stopped) = (Arc::clone(&connections.service), stop.clone());
        connections.tasks.spawn(async move { service.denial_log.run_summaries(&stopped).await });
        let stopped = stop.clone();
        connections.tasks.spawn(async move { tarpit.run_closer(&stopped).await });
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
    tcp: RemoteLimiter,
    unix: LocalLimiter,
    tarpit: Tarpit,
    evictions: EvictionLog,
}

impl Connections {
    fn new(
        service: ApiService,
        tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
        tarpit: Tarpit,
        stop: CancellationToken,
    ) -> Self {
        let limits = service.limits;
        let max_kept_alive = limits.max_keep_alive_connections;
        let admission = AdmissionLimits {
            open: limits.max_connections,
            open_per_source: limits.max_source_connections,
            reserve: MAX_RESERVE_CONNECTIONS,
            reserve_per_source: MAX_SOURCE_RESERVE_CONNECTIONS,
            trusted: limits.max_trusted_connections,
            network_per_source: limits.max_source_connections,
        };
        Self {
            tcp: RemoteLimiter::new(admission, max_kept_alive),
            unix: LocalLimiter::new(limits.max_local_connections, max_kept_alive),
            service: Arc::new(service),
            tls,
            stop,
            tasks: JoinSet::new(),
            tarpit,
            evictions: EvictionLog::default(),
        }
    }

    fn accept_connection(&mut self, accepted: AcceptedStream) {
        match accepted {
            AcceptedStream::Tcp(stream, address) => self.accept_tcp(stream, address),
            AcceptedStream::Unix(stream) => self.accept_local(stream),
        }
    }

    fn accept_tcp(&mut self, stream: TcpStream, address: SocketAddr) {
        let source = self.service.proxies.connection_source(address.ip());
        let (permit, has_evicted) = self.tcp.admit(source);
        if has_evicted {
            self.evictions.count_eviction(Instant::now());
            self.service.request_counter.count_refusal(TOO_MANY_UNTRUSTED);
        }
        let id = permit.id();
        let permit = ConnectionPermit::Remote(permit);
        let (service, stop) = (Arc::clone(&self.service), self.stop.clone());
        let tls = self.tls.clone();
        let mark = EvictionMark::default();
        let stream = EvictableStream::new(stream, mark.clone(), self.tarpit.clone());
        let task = self.tasks.spawn(async move {
            let limit = service.limits.header_read_timeout;
            let Some(tcp) = stream.tcp() else { return };
            if !wait_for_first_byte(tcp, limit, &stop).await {
                return;
            }
            set_socket_options(tcp);
            let Some(tls) = tls else {
                let peer = PeerAddress::Tcp(address, None);
                return Box::pin(connection::serve_connection(stream, peer, permit, service, stop))
                    .await;
            };
            let handshake =
                Box::pin(super::tls::accept_tls(tls, stream, address, limit, &stop)).await;
            if let Some((stream, certificate)) = handshake {
                if certificate.is_some() {
                    permit.record_credential(Credential::Session);
                }
                let peer = PeerAddress::Tcp(address, certificate);
                Box::pin(connection::serve_connection(stream, peer, permit, service, stop)).await;
            }
        });
        self.tcp.set_task(id, task, mark);
    }

    fn accept_local(&mut self, stream: UnixStream) {
        let Some(permit) = self.unix.try_acquire() else {
            debug!("connection closed: too many open connections of the Unix socket");
            self.service.request_counter.count_refusal(TOO_MANY_LOCAL);
            return;
        };
        let permit = ConnectionPermit::Local(permit);
        let (service, stop) = (Arc::clone(&self.service), self.stop.clone());
        self.tasks.spawn(async move {
            let peer = PeerAddress::Unix(stream.peer_cred().ok().map(|peer| peer.uid()));
            connection::serve_connection(stream, peer, permit, service, stop).await;
        });
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
