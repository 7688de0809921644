//! A login that holds all that it needs of the daemon. What remains is the server's part.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;

use crate::model::Fault;

use super::limit::ServerPermit;
use super::verifier::LoginRequest;

/// A login that [`Verifier::prepare_login`](super::Verifier::prepare_login) prepared, or the fault
/// of its definition. Dropping it releases its permit.
#[derive(Debug)]
pub struct PreparedLogin {
    pub(super) login: LoginRequest,
    pub(super) ready: Result<ReadyLogin, Fault>,
}

impl PreparedLogin {
    /// Returns the server of the login, or `None` if a fault prevents the login.
    pub fn server(&self) -> Option<LoginServer> {
        self.ready.as_ref().ok().map(|ready| ready.server)
    }
}

/// The server of a login. All names and addresses of this host are one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginServer {
    /// The first address of another host, or `None` for this host.
    pub other_host: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// The needs of a login, acquired.
#[derive(Debug)]
pub(super) struct ReadyLogin {
    pub(super) key: Option<Arc<PrivateKey>>,
    pub(super) server: LoginServer,
    /// The allowed addresses of the server, at least one.
    pub(super) addresses: Vec<SocketAddr>,
    /// Time that the name lookup took.
    pub(super) resolve: Duration,
    /// Time that opening the private key took. The name lookup may have run at the same time.
    pub(super) key_opening: Duration,
    pub(super) permit: ServerPermit,
}
