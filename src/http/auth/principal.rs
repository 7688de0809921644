//! The caller of a request: the credential by which it is known, its name and its role.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::common::string_enum;
use crate::http::error::ApiError;
use crate::model::Role;

string_enum! {
    /// The credential by which a caller is known. The names of two kinds of callers may be equal.
    /// The text is the word in the audit log.
    pub(crate) CallerKind {
        /// A token of `auth.tokens_file`.
        Token = "token",
        /// A client certificate with a name of `server.tls.clients_file`.
        Certificate = "certificate",
        /// An address in `server.agent_allow`.
        Network = "network",
        /// A process that has opened the Unix socket.
        Local = "local",
        /// A signature by an access key.
        AccessKey = "access_key",
        /// A session of an account that has logged in here.
        Account = "account",
        /// A session that the management node has confirmed.
        ManagementSession = "management_session",
    }
}

/// An authenticated caller, with its kind, name and role.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    kind: CallerKind,
    name: Arc<str>,
    role: Role,
    network: Option<IpAddr>,
}

impl Principal {
    pub(crate) fn new(kind: CallerKind, name: &str, role: Role) -> Self {
        Self { kind, name: name.into(), role, network: None }
    }

    /// Sets the network that the caller counts for where callers share a bounded resource.
    #[must_use]
    pub(crate) fn with_network(self, network: Option<IpAddr>) -> Self {
        Self { network, ..self }
    }

    /// Returns the credential by which the caller is known.
    pub(crate) fn kind(&self) -> CallerKind {
        self.kind
    }

    /// Returns the name of the caller: from the file with its credential, its address, or its user
    /// id on the Unix socket.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_includes_those_before_it() {
        let roles = ["read", "operate", "admin"].map(|word| word.parse::<Role>().unwrap());
        for (has, name) in roles.iter().zip(0..) {
            for (needs, least) in roles.iter().zip(0..) {
                let caller = Principal::new(CallerKind::Token, "c", *has);
                assert_eq!(caller.require_role(*needs).is_ok(), name >= least, "{has} for {needs}");
            }
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn every_kind_of_caller_is_described_with_the_audit_log() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http-api.md");
        let text = std::fs::read_to_string(file).unwrap();
        let audit_log = text.split("\n## ").find(|part| part.starts_with("The audit log")).unwrap();
        for kind in CallerKind::ALL.iter().map(|kind| kind.as_str()) {
            assert!(audit_log.contains(&format!("`{kind}`")), "{kind}");
        }
    }
}
