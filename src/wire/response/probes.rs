//! The bodies of `/healthz` and `/readyz`.

use serde::Serialize;

/// The body of `/healthz`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LivenessResponse {
    /// Always true. A daemon that is not alive does not respond.
    pub alive: bool,
}

/// The body of `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub struct ReadinessResponse {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl ReadinessResponse {
    /// Creates the body from the reasons why the daemon is not ready. The daemon is ready if there
    /// are none.
    pub fn new(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }

    /// Returns true if the daemon is ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}
