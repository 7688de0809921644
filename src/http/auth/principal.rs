//! The authenticated caller of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::role::Role;
use crate::http::error::ApiError;

/// An authenticated caller, with its name and role.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    name: Arc<str>,
    role: Role,
}

impl Principal {
    pub(crate) fn new(name: &str, role: Role) -> Self {
        Self { name: name.into(), role }
    }

    /// Returns the name of the caller: from the tokens file, from the clients file, its address, or
    /// its user id on the Unix socket.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
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
                let caller = Principal::new("c", *has);
                assert_eq!(caller.require_role(*needs).is_ok(), name >= least, "{has} for {needs}");
            }
        }
        assert!("root".parse::<Role>().is_err());
    }
}
