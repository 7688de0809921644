//! Errors of opening the listening sockets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    #[error("an inherited socket cannot be used")]
    Inherited(#[source] io::Error),
    /// An inherited socket is reachable from other machines, and the port speaks plain HTTP.
    #[error(
        "the inherited socket {0} is not on a loopback address, and the port speaks plain HTTP; \
         server.insecure_http = true allows it"
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
    #[error("cannot listen on {}: there is a file that is no socket", path.display())]
    NotASocket {
        /// Its path.
        path: PathBuf,
    },
    /// Another process answers on the socket.
    #[error("cannot listen on {}: another process answers there", path.display())]
    AddressInUse {
        /// Its path.
        path: PathBuf,
    },
}
