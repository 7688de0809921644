//! The paths that need no session.

/// The path of the liveness check.
pub(in crate::http) const LIVENESS_PATH: &str = "/healthz";
/// The path of the readiness check.
pub(in crate::http) const READINESS_PATH: &str = "/readyz";

/// Returns true if a request for `path` needs no session.
pub(super) fn is_open_path(path: &str) -> bool {
    matches!(path, LIVENESS_PATH | READINESS_PATH)
}
