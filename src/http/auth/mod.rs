//! Authentication and authorization: the peer of a connection, the caller of a request, and the
//! role of that caller.

pub(super) mod access_key;
pub(super) mod accounts;
pub(super) mod agent_allowlist;
pub(super) mod agent_refusals;
pub(super) mod authenticator;
mod authorization;
pub(super) mod host_allowlist;
pub(super) mod management_session;
pub(super) mod open_paths;
mod principal;
pub(super) mod rate_limit;
pub(super) mod request_origin;
pub(super) mod tokens;

use std::fmt;
use std::net::SocketAddr;

use super::tls::ClientCertificate;
pub(crate) use crate::model::Role;
pub(crate) use principal::{CallerKind, Principal};

/// The peer of a connection: a TCP client or a local process.
#[derive(Clone, Debug)]
pub(crate) enum PeerAddress {
    /// A TCP client, and its certificate if it has presented one.
    Tcp(SocketAddr, Option<ClientCertificate>),
    /// A process on this machine, with its user id if the kernel reports it.
    Unix(Option<u32>),
}

impl PeerAddress {
    /// Returns the principal of a Unix socket peer, or `None` for TCP. The file mode controls
    /// access to the socket, so every process that can open it has the role `admin`.
    pub(crate) fn local_principal(&self) -> Option<Principal> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_) => {
                Some(Principal::new(CallerKind::Local, &self.to_string(), Role::Admin))
            }
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, _) => write!(f, "{address}"),
            Self::Unix(Some(uid)) => write!(f, "uid {uid}"),
            Self::Unix(None) => f.write_str("unknown uid"),
        }
    }
}
