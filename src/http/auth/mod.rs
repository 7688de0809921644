//! Authentication and authorization: the peer of a connection, the caller of a request, and the
//! role of that caller.

pub(super) mod agent_allowlist;
pub(super) mod authenticator;
mod authorization;
pub(super) mod host_allowlist;
pub(super) mod open_paths;
pub(super) mod rate_limit;
pub(super) mod request_origin;
pub(super) mod tokens;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::ApiError;
use super::tls::ClientCertificate;
use crate::common::string_enum;

string_enum! {
    /// The permissions of a caller. Each role includes those before it. The text is the word in the
    /// tokens file.
    pub(crate) Role {
        /// View the stores and their health.
        Read = "read",
        /// Add, reconnect, update and remove stores.
        Operate = "operate",
        /// Accept host keys and take stores over.
        Admin = "admin",
    }
}

/// An authenticated caller, with its name and role.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    name: Arc<str>,
    role: Role,
    network: Option<IpAddr>,
}

impl Principal {
    pub(crate) fn new(name: &str, role: Role) -> Self {
        Self { name: name.into(), role, network: None }
    }

    /// Sets the network that the caller counts for where callers share a bounded resource.
    #[must_use]
    pub(crate) fn with_network(self, network: Option<IpAddr>) -> Self {
        Self { network, ..self }
    }

    /// Returns the name of the caller: from the tokens file, from the clients file, its address, or
    /// its user id on the Unix socket.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Returns the network of a caller of the agent protocol, or `None` for all other callers.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        self.network
    }

    /// Checks that the caller's role includes `role`.
    ///
    /// # Errors
    /// [`ApiError::InsufficientRole`] names both roles.
    pub(crate) fn require_role(&self, role: Role) -> Result<(), ApiError> {
        if self.role >= role {
            return Ok(());
        }
        Err(ApiError::InsufficientRole { has: self.role, needs: role })
    }
}

/// Extracts the principal that the middleware has added to the request. A route that needs a
/// principal rejects a request without one.
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or(ApiError::MissingToken)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_includes_those_before_it() {
        let roles = ["read", "operate", "admin"].map(|word| word.parse::<Role>().unwrap());
        for (has, name) in roles.iter().zip(0..) {
            for (needs, least) in roles.iter().zip(0..) {
                let caller = Principal::new("c", *has);
                assert_eq!(caller.require_role(*needs).is_ok(), name >= least, "{has} for {needs}");
            }
        }
        assert!("root".parse::<Role>().is_err());
    }
}
