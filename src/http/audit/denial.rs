//! The denials of access among the request errors, for the audit log and the metrics.

use crate::http::error::ApiError;
use crate::management::UrlError;

/// The denial of access behind an error. It is an extension of the response, so that the middleware
/// finds it both for its own errors and for those of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct AccessDenial {
    /// The rule that denied access.
    pub(in crate::http) rule: &'static str,
    /// The field of the request that broke the rule, if the caller itself was admitted.
    pub(in crate::http) field: Option<&'static str>,
}

/// The role of a caller was insufficient. It is an extension of the response. The audit log has the
/// line of the request itself, and the caller is known, so that it is no [`AccessDenial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct RoleDenial;

impl RoleDenial {
    /// The word for it in the metrics.
    pub(in crate::http) const RULE: &str = "insufficient role";
}

impl ApiError {
    /// Returns the denial for the audit log, or `None` if the error does not deny access.
    pub(in crate::http) fn access_denial(&self) -> Option<AccessDenial> {
        let (rule, field) = match self {
            Self::MissingToken => ("no session", None),
            Self::UnknownSession => ("unknown session", None),
            Self::SignatureRefused(refusal) => (refusal.rule(), None),
            Self::TooManyAuthFailures { .. } => {
                ("too many unknown sessions or wrong signatures", None)
            }
            Self::SessionUnchecked(_) => ("unchecked session", None),
            Self::OwnQuestion => ("own question about a session", None),
            Self::UnknownJob => ("unknown job", None),
            Self::TooManyJobGuesses { .. } => ("too many unknown jobs", None),
            Self::LoginFailed => ("wrong account name or password", None),
            Self::TooManyLogins { .. } => ("too many logins", None),
            Self::NetworkNotAllowed(_) => ("not in server.agent_allow", None),
            Self::UrlNotAllowed { name, .. } => {
                ("a URL that is not in server.agent_allow", Some(*name))
            }
            Self::HookNotAllowed(UrlError::NotAllowed(_)) => {
                ("a URL that is not in server.agent_allow", Some("X-Web-Hook"))
            }
            Self::InvalidHost | Self::HostNotAllowed => ("invalid or unknown Host", None),
            Self::CrossSiteRequest => ("request of another site", None),
            _ => return None,
        };
        Some(AccessDenial { rule, field })
    }

    /// Returns the denial of a caller that is known, or `None`.
    pub(in crate::http) fn role_denial(&self) -> Option<RoleDenial> {
        matches!(self, Self::InsufficientRole { .. } | Self::FingerprintNeedsAdmin { .. })
            .then_some(RoleDenial)
    }
}
