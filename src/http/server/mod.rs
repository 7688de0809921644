//! The server: listens, takes connections within its caps, and ends without cutting anybody off.

pub(super) mod bind_error;
pub(super) mod connection;
pub(super) mod connection_limit;
pub(super) mod first_byte;
pub(super) mod limits;
pub(super) mod listeners;
pub(super) mod tls;
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

use super::api::daemon_info::DaemonInfo;
use super::api::readiness::Readiness;
use super::api::state::Desk;
use super::api::stores;
use super::auth::agent_allowlist::AgentDoor;
use super::auth::host_allowlist::Hosts;
use super::auth::peer::Peer;
use super::auth::tokens::Tokens;
use super::middleware::Front;
use crate::agent::StoreService;
use crate::common::Random;
use crate::management::ReplyQueue;
use crate::settings;
use bind_error::BindError;
use connection::Welcome;
use connection_limit::{Seat, Seats};
use first_byte::begins;
use limits::Limits;
use listeners::{Accepted, Bound, Inherited};
use tls::Tls;

/// Connections beyond the caps that are told so at once; those beyond these are closed unheard.
const TURNED_AWAY: usize = 64;

/// What the server works with.
pub struct Context<S> {
    /// The stores behind the routes.
    pub stores: S,
    /// Who may call over TCP; a new value takes effect with the next request.
    pub tokens: watch::Receiver<Arc<Tokens>>,
    /// What TLS is accepted with, for the next connection; none: plain HTTP.
    pub tls: Option<watch::Receiver<Arc<Tls>>>,
    /// Whether the daemon can do its work.
    pub readiness: Arc<dyn Readiness>,
    /// The daemon, as the health view shows it.
    pub daemon: DaemonInfo,
    /// Takes the answers to calls of the agent protocol that are answered later, and knows who may call.
    pub replies: ReplyQueue,
    /// Makes request ids.
    pub random: Arc<dyn Random>,
    /// `storage.allowed_roots`
    pub allowed_roots: Vec<String>,
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    bound: Bound,
    base_path: String,
    agent_prefixes: Vec<String>,
    hosts: Hosts,
    socket: PathBuf,
    limits: Limits,
}

impl Server {
    /// Opens all sockets. Inherited ones take the place of `server.listen`, and of `server.socket`. Needs
    /// no runtime.
    ///
    /// # Errors
    /// [`BindError`] names the address: exit 69.
    pub fn bind(
        settings: &settings::ServerSettings,
        inherited: Inherited,
    ) -> Result<Self, BindError> {
        let exposes = settings.insecure_http || settings.tls.is_some();
        let bound = Bound::open(&settings.listen, inherited, exposes, &settings.socket)?;
        Ok(Self {
            bound,
            base_path: settings.base_path.clone(),
            agent_prefixes: settings.agent_prefixes.clone(),
            hosts: Hosts::new(&settings.host_names),
            socket: settings.socket.clone(),
            limits: Limits::default(),
        })
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The TCP addresses it listens on, with the ports the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.addresses()
    }

    /// The path of the Unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Serves until `stop` is cancelled; then takes no more connections, answers what is in flight and
    /// returns, at the latest after `drain`.
    ///
    /// # Errors
    /// The runtime cannot take the sockets; a fault of ours or of the system.
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection; what was asked of the stores goes on.
    pub async fn run<S: StoreService>(
        self,
        context: Context<S>,
        stop: CancellationToken,
        drain: Duration,
    ) -> io::Result<()> {
        let networks = context.replies.url_guard().allowlist().clone();
        let agent = AgentDoor { prefixes: self.agent_prefixes.clone(), networks };
        let desk = Desk {
            stores: context.stores,
            allowed_roots: context.allowed_roots,
            readiness: context.readiness,
            daemon: context.daemon,
            replies: context.replies,
            stop: stop.clone(),
        };
        let front = Front {
            router: stores::router(&self.base_path, &self.agent_prefixes, desk),
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
                Some(ended) = connections.tasks.join_next() => note(ended),
                accepted = listeners.accept() => connections.take(accepted),
            }
        }
        // Closed first, so that a client is refused rather than left waiting.
        drop(listeners);
        connections.drain(drain).await;
        Ok(())
    }
}

/// The connections that are open.
struct Connections {
    front: Arc<Front>,
    tls: Option<watch::Receiver<Arc<Tls>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    remote: Seats,
    local: Seats,
    turned_away: Seats,
}

impl Connections {
    fn new(front: Front, tls: Option<watch::Receiver<Arc<Tls>>>, stop: CancellationToken) -> Self {
        let limits = front.limits;
        Self {
            remote: Seats::new(limits.connections, limits.kept_connections),
            local: Seats::new(limits.local_connections, limits.kept_connections),
            turned_away: Seats::new(TURNED_AWAY, 0),
            front: Arc::new(front),
            tls,
            stop,
            tasks: JoinSet::new(),
        }
    }

    fn take(&mut self, accepted: Accepted) {
        let kind = match accepted {
            Accepted::Tcp(..) => &self.remote,
            Accepted::Unix(_) => &self.local,
        };
        let Some((welcome, seat)) = self.seat(kind) else {
            debug!("connection closed: no room");
            return;
        };
        let (front, stop) = (Arc::clone(&self.front), self.stop.clone());
        let tls = self.tls.clone();
        match accepted {
            Accepted::Tcp(stream, address) => self.tasks.spawn(async move {
                let limit = front.limits.head_deadline;
                if !begins(&stream, limit, &stop).await {
                    return;
                }
                let Some(tls) = tls else {
                    let peer = Peer::Tcp(address, None);
                    return Box::pin(connection::serve(stream, peer, welcome, seat, front, stop))
                        .await;
                };
                let secured = Box::pin(tls::secure(tls, stream, address, limit, &stop)).await;
                if let Some((stream, shown)) = secured {
                    let peer = Peer::Tcp(address, shown);
                    Box::pin(connection::serve(stream, peer, welcome, seat, front, stop)).await;
                }
            }),
            Accepted::Unix(stream) => self.tasks.spawn(async move {
                let peer = Peer::Unix(stream.peer_cred().ok().map(|peer| peer.uid()));
                connection::serve(stream, peer, welcome, seat, front, stop).await;
            }),
        };
    }

    fn seat(&self, kind: &Seats) -> Option<(Welcome, Seat)> {
        let seat = kind.take().map(|seat| (Welcome::Served, seat));
        seat.or_else(|| Some((Welcome::TurnedAway, self.turned_away.take()?)))
    }

    async fn drain(mut self, limit: Duration) {
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                note(ended);
            }
        };
        if timeout(limit, all).await.is_err() {
            warn!(connections = self.tasks.len(), "connections cut off: the time to drain is over");
            self.tasks.shutdown().await;
        }
        info!("no connection is open any more");
    }
}

/// A task that panicked is a fault of ours; its connection is closed and the others go on.
fn note(ended: Result<(), JoinError>) {
    if let Err(broken) = ended
        && broken.is_panic()
    {
        error!(error = %broken, "a connection broke off");
    }
}
