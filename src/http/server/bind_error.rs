//! Why the daemon cannot listen.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The daemon cannot listen where it was told to.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A TCP address.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// An inherited socket.
    #[error("an inherited socket cannot be used")]
    Inherited(#[source] io::Error),
    /// An inherited socket is reachable from other machines, and the port speaks plain HTTP.
    #[error(
        "the inherited socket {0} is not on a loopback address, and the port speaks plain HTTP; \
         server.insecure_http = true allows it"
    )]
    NotLoopback(SocketAddr),
    /// The Unix socket.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there is no socket, and is left alone.
    #[error("cannot listen on {}: there is a file that is no socket", path.display())]
    NotASocket {
        /// Its path.
        path: PathBuf,
    },
    /// Another process answers there.
    #[error("cannot listen on {}: another process answers there", path.display())]
    AddressInUse {
        /// Its path.
        path: PathBuf,
    },
}
