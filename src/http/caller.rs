//! Who is calling.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::refusal::Refusal;
use super::role::Role;
use super::tls::Shown;

/// A caller that has been let in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    name: Arc<str>,
    role: Role,
}

impl Caller {
    pub(super) fn new(name: &str, role: Role) -> Self {
        Self { name: name.into(), role }
    }

    /// The name in the tokens file, or the user id at the other end of the Unix socket.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Whether the caller's role covers this one.
    pub(super) fn needs(&self, role: Role) -> Result<(), Refusal> {
        if self.role >= role {
            return Ok(());
        }
        Err(Refusal::RoleTooSmall { has: self.role, needs: role })
    }
}

/// Put there by the front; a route that asks for a caller where none was let in is refused.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get().cloned().ok_or(Refusal::NoSession)
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A TCP client, and the certificate that it has shown.
    Tcp(SocketAddr, Option<Shown>),
    /// A process of this machine; its user, unless the kernel did not tell.
    Unix(Option<u32>),
}

impl Peer {
    /// Who the Unix socket let in: access to it is its file mode, so that whoever reaches it may do
    /// everything.
    pub(super) fn local_caller(&self) -> Option<Caller> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_) => Some(Caller::new(&self.to_string(), Role::Admin)),
        }
    }
}

impl fmt::Display for Peer {
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
                let caller = Caller::new("c", *has);
                assert_eq!(caller.needs(*needs).is_ok(), name >= least, "{has} for {needs}");
            }
        }
        assert!("root".parse::<Role>().is_err());
    }
}
