//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

use super::principal::Principal;
use super::role::Role;
use crate::http::tls::ClientCertificate;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum PeerAddress {
    /// A TCP client, and the certificate that it has shown.
    Tcp(SocketAddr, Option<ClientCertificate>),
    /// A process of this machine; its user, unless the kernel did not tell.
    Unix(Option<u32>),
}

impl PeerAddress {
    /// Who the Unix socket let in: access to it is its file mode, so that whoever reaches it may do
    /// everything.
    pub(crate) fn local_principal(&self) -> Option<Principal> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_) => Some(Principal::new(&self.to_string(), Role::Admin)),
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
