//! The warning that connections were closed for newer ones.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// Minimum interval between two warnings that connections were closed for newer ones.
const EVICTION_WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Reports connections that were closed for newer ones, at most once a minute.
#[derive(Default)]
pub(super) struct EvictionLog {
    evicted: u64,
    last_warning: Option<Instant>,
}

impl EvictionLog {
    /// Counts a connection that was closed, and warns unless there was a warning lately.
    pub(super) fn count_eviction(&mut self, now: Instant) {
        self.evicted = self.evicted.saturating_add(1);
        if self.last_warning.is_none_or(|last| now - last >= EVICTION_WARN_INTERVAL) {
            self.last_warning = Some(now);
            let connections = std::mem::take(&mut self.evicted);
            warn!(connections, "connections without a session closed: too many open");
        }
    }
}
