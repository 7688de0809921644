//! Limits the number of open Unix socket connections, and decides whether a connection is kept
//! alive after a response.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::common::lock_unpoisoned;

/// The permits for the connections of the Unix socket.
pub(crate) struct LocalLimiter {
    permits: Arc<Semaphore>,
    /// Connections are closed after a response while fewer permits than this are free.
    reserve: usize,
}

impl LocalLimiter {
    /// Creates `max_connections` permits, of which `max_kept_alive` may belong to connections that
    /// wait for another request.
    pub(crate) fn new(max_connections: usize, max_kept_alive: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            reserve: max_connections.saturating_sub(max_kept_alive),
        }
    }

    /// Returns a permit, or `None` if all permits are in use.
    pub(crate) fn try_acquire(&self) -> Option<LocalPermit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(LocalPermit {
            limit: Arc::clone(&self.permits),
            permit: Mutex::new(Some(permit)),
            reserve: self.reserve,
        })
    }
}

/// A permit for one connection. Dropping it releases the permit.
pub(crate) struct LocalPermit {
    limit: Arc<Semaphore>,
    /// `None` once the connection has a stream of events, which has a limit of its own.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    reserve: usize,
}

impl LocalPermit {
    /// Returns true if too few permits are free to keep this connection after its response.
    pub(super) fn should_close_after_response(&self) -> bool {
        self.limit.available_permits() < self.reserve
    }

    /// Records that the response of the connection is a stream of events, which is its last one.
    pub(super) fn record_stream(&self) {
        drop(lock_unpoisoned(&self.permit).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_closes_while_more_are_open_than_are_kept_alive() {
        let limiter = LocalLimiter::new(3, 1);
        let one = limiter.try_acquire().unwrap();
        assert!(!one.should_close_after_response());
        let two = limiter.try_acquire().unwrap();
        assert!(one.should_close_after_response() && two.should_close_after_response());
        let three = limiter.try_acquire().unwrap();
        assert!(three.should_close_after_response() && limiter.try_acquire().is_none());
        drop((two, three));
        assert!(!one.should_close_after_response() && limiter.try_acquire().is_some());
    }

    #[test]
    fn a_stream_gives_its_permit_back() {
        let limiter = LocalLimiter::new(1, 1);
        let stream = limiter.try_acquire().unwrap();
        assert!(limiter.try_acquire().is_none());
        stream.record_stream();
        stream.record_stream();
        let other = limiter.try_acquire().unwrap();
        drop(stream);
        assert!(limiter.try_acquire().is_none());
        drop(other);
        assert!(limiter.try_acquire().is_some());
    }

    #[test]
    fn with_no_keep_alive_every_connection_closes_and_with_enough_none_does() {
        assert!(LocalLimiter::new(2, 0).try_acquire().unwrap().should_close_after_response());
        let limiter = LocalLimiter::new(2, 64);
        let (one, two) = (limiter.try_acquire().unwrap(), limiter.try_acquire().unwrap());
        assert!(!one.should_close_after_response() && !two.should_close_after_response());
    }
}
