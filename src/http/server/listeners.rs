//! Opens the listening sockets and accepts connections from them.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::unix_socket;
use super::unix_socket::SocketFile;
use crate::http::admission::tarpit::Tarpit;
use crate::settings::ListenUse;

/// Pause after the system had no resources for another connection. The condition passes when
/// connections end, so an immediate retry would only use CPU time.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Minimum interval between two warnings about it.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Time that sent bytes may stay unacknowledged, in milliseconds (`TCP_USER_TIMEOUT`, tcp(7)). A
/// client whose machine has failed would otherwise keep its permit until TCP itself times out.
const UNACKNOWLEDGED_TIMEOUT_MS: u32 = 30_000;

/// Maximum number of connections that wait to be accepted: the default limit of the kernel
/// (`net.core.somaxconn`). A flood of connections fills a shorter queue between two turns of the
/// scheduler, and the SYN of a good client is then dropped.
const LISTEN_BACKLOG: i32 = 4096;

/// The error if the daemon cannot listen on a configured address or socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The daemon cannot listen on a TCP address.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// An inherited socket cannot be used.
    #[error("an inherited socket is unusable")]
    Inherited(#[source] io::Error),
    /// An inherited socket is reachable from other machines, and the port speaks plain HTTP.
    #[error(
        "the inherited socket {0} has no loopback address and would serve plain HTTP; set \
         server.insecure_http = true to allow this"
    )]
    NotLoopback(SocketAddr),
    /// The daemon cannot listen on the Unix socket.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file at the path is not a socket. It is left unchanged.
    #[error("cannot listen on {}: the file at this path is not a socket", path.display())]
    NotASocket {
        /// Its path.
        path: PathBuf,
    },
    /// Another process answers on the socket.
    #[error("cannot listen on {}: another process listens there", path.display())]
    AddressInUse {
        /// Its path.
        path: PathBuf,
    },
}

/// Sockets that another process has opened for the daemon and keeps open.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// They replace `server.listen`.
    pub tcp: Vec<TcpListener>,
    /// They replace `server.socket`. Their files and modes belong to their owner.
    pub unix: Vec<UnixListener>,
}

impl InheritedSockets {
    /// Returns the use of `server.listen` beside these sockets.
    pub fn listen_use(&self) -> ListenUse {
        if self.tcp.is_empty() { ListenUse::Opened } else { ListenUse::Replaced }
    }

    /// Returns the addresses that the daemon listens on: those of these sockets, or `configured` if
    /// it inherits none.
    pub fn listen_addresses(&self, configured: &[SocketAddr]) -> Vec<SocketAddr> {
        match self.listen_use() {
            ListenUse::Opened => configured.to_vec(),
            // A socket without an address fails at the start.
            ListenUse::Replaced => {
                self.tcp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
            }
        }
    }
}

/// Sockets that already listen and are not registered with the runtime yet.
#[derive(Debug)]
pub(super) struct BoundSockets {
    tcp: Vec<(TcpListener, SocketAddr)>,
    unix: Vec<UnixListener>,
    /// The file of the Unix socket, or `None` if the socket is inherited.
    file: Option<SocketFile>,
}

impl BoundSockets {
    /// Opens the sockets. Inherited sockets override the addresses in the settings. An inherited
    /// socket off loopback is an error unless `allows_remote` is true.
    pub(super) fn open_sockets(
        listen: &[SocketAddr],
        inherited: InheritedSockets,
        allows_remote: bool,
        socket: &Path,
    ) -> Result<Self, BindError> {
        let mut tcp = Vec::new();
        if inherited.tcp.is_empty() {
            for address in listen {
                let to_error = |source| BindError::Address { address: *address, source };
                tcp.push(bind_address(*address).and_then(prepare_listener).map_err(to_error)?);
            }
        }
        for listener in inherited.tcp {
            let (listener, address) = prepare_listener(listener).map_err(BindError::Inherited)?;
            if !allows_remote && !address.ip().to_canonical().is_loopback() {
                return Err(BindError::NotLoopback(address));
            }
            tcp.push((listener, address));
        }
        if inherited.unix.is_empty() {
            let (unix, file) = unix_socket::open_socket(socket)?;
            return Ok(Self { tcp, unix: vec![unix], file: Some(file) });
        }
        for listener in &inherited.unix {
            listener.set_nonblocking(true).map_err(BindError::Inherited)?;
        }
        Ok(Self { tcp, unix: inherited.unix, file: None })
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().map(|(_, address)| *address).collect()
    }

    /// Registers the sockets with the current runtime.
    pub(super) fn into_listeners(self, tarpit: Tarpit) -> io::Result<SocketListeners> {
        let mut sockets = Vec::new();
        for (listener, _) in self.tcp {
            sockets.push(ListeningSocket::Tcp(tokio::net::TcpListener::from_std(listener)?));
        }
        for listener in self.unix {
            sockets.push(ListeningSocket::Unix(tokio::net::UnixListener::from_std(listener)?));
        }
        Ok(SocketListeners {
            sockets,
            next_socket: 0,
            resume_at: None,
            last_warning: None,
            tarpit,
            _file: self.file,
        })
    }
}

/// Opens a socket with the address. A socket of IPv6 serves IPv6 only, whatever the system's
/// default is (`net.ipv6.bindv6only`), so that `[::]` leaves the port of `0.0.0.0` to another
/// socket (`ipv6(7)`).
fn bind_address(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // A restart does not wait for the connections of the last run.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(TcpListener::from(fd))
}

fn prepare_listener(listener: TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    listener.set_nonblocking(true)?;
    // A long backlog is for a burst of reconnects. An inherited socket may have a shorter one. A
    // client whose SYN is dropped because the backlog is full retries a whole second later
    // (`listen(2)`, `tcp(7)`).
    listen(&listener, Backlog::new(LISTEN_BACKLOG)?)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A stream that a listening socket has accepted.
pub(super) enum AcceptedStream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// The listening sockets. They are polled round-robin, so that a flood on one does not starve the
/// others.
pub(super) struct SocketListeners {
    sockets: Vec<ListeningSocket>,
    next_socket: usize,
    resume_at: Option<Instant>,
    last_warning: Option<Instant>,
    /// It gives its descriptors back when the system has no more.
    tarpit: Tarpit,
    _file: Option<SocketFile>,
}

impl SocketListeners {
    /// Waits for the next connection.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(super) async fn accept_next(&mut self) -> AcceptedStream {
        loop {
            if let Some(resume_at) = self.resume_at {
                sleep_until(resume_at).await;
                self.resume_at = None;
            }
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => return accepted,
                Err(error) => self.back_off(&error),
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedStream>> {
        let count = self.sockets.len();
        for (at, socket) in (0..count).zip(&self.sockets).cycle().skip(self.next_socket).take(count)
        {
            let result = match socket {
                ListeningSocket::Tcp(socket) => socket
                    .poll_accept(cx)
                    .map_ok(|(stream, peer)| AcceptedStream::Tcp(stream, peer)),
                ListeningSocket::Unix(socket) => {
                    socket.poll_accept(cx).map_ok(|(stream, _)| AcceptedStream::Unix(stream))
                }
            };
            if result.is_ready() {
                self.next_socket = (at + 1) % count;
                return result;
            }
        }
        Poll::Pending
    }

    /// Pauses accepting after an error. A connection that ended before it was accepted causes no
    /// pause. Any other error (no descriptors, no memory; accept(2)) passes when connections end,
    /// and an immediate retry would only use CPU time.
    fn back_off(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        self.tarpit.close_all();
        let now = Instant::now();
        self.resume_at = Some(now + ACCEPT_RETRY_DELAY);
        if self
            .last_warning
            .is_none_or(|last_warning| now.duration_since(last_warning) >= WARN_INTERVAL)
        {
            self.last_warning = Some(now);
            warn!(error = %error, "accept failed");
        }
    }
}

/// Sends responses without delay and gives up a client that does not acknowledge. Both options only
/// save time, so a connection is served even if the system rejects them. A connection without a
/// request needs neither.
pub(super) fn set_socket_options(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "setting TCP_NODELAY failed");
    }
    if let Err(error) = setsockopt(stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_TIMEOUT_MS) {
        debug!(error = %error, "setting TCP_USER_TIMEOUT failed");
    }
}
