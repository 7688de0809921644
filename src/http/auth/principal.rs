//! Who has been let in.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::role::Role;
use crate::http::error::ApiError;

/// A caller that has been let in.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    name: Arc<str>,
    role: Role,
}

impl Principal {
    pub(crate) fn new(name: &str, role: Role) -> Self {
        Self { name: name.into(), role }
    }

    /// The name in the tokens file, or the user id at the other end of the Unix socket.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Whether the caller's role covers this one.
    pub(crate) fn require_role(&self, role: Role) -> Result<(), ApiError> {
        if self.role >= role {
            return Ok(());
        }
        Err(ApiError::InsufficientRole { has: self.role, needs: role })
    }
}

/// Put there by the front; a route that asks for a caller where none was let in is refused.
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
