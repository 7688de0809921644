//! Limits the number of open connections, and decides whether a connection is kept alive after a
//! response.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits for one kind of connection.
pub(super) struct ConnectionLimiter {
    free: Arc<Semaphore>,
    /// Connections are closed after a response while fewer permits than this are free.
    reserve: usize,
}

impl ConnectionLimiter {
    /// Creates `count` permits, of which `kept` may belong to connections that wait for another
    /// request.
    pub(super) fn new(count: usize, kept: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), reserve: count.saturating_sub(kept) }
    }

    /// Returns a permit, or `None` if all permits are in use.
    pub(super) fn try_acquire(&self) -> Option<ConnectionPermit> {
        let taken = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(ConnectionPermit { taken, reserve: self.reserve })
    }
}

/// A permit for one connection. Dropping it releases the permit.
pub(super) struct ConnectionPermit {
    taken: OwnedSemaphorePermit,
    reserve: usize,
}

impl ConnectionPermit {
    /// Returns true if too few permits are free to keep this connection after its response.
    pub(super) fn should_close_after_response(&self) -> bool {
        self.taken.semaphore().available_permits() < self.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_wanted_while_more_sit_than_are_kept() {
        let seats = ConnectionLimiter::new(3, 1);
        let one = seats.try_acquire().unwrap();
        assert!(!one.should_close_after_response());
        let two = seats.try_acquire().unwrap();
        assert!(one.should_close_after_response() && two.should_close_after_response());
        let three = seats.try_acquire().unwrap();
        assert!(three.should_close_after_response() && seats.try_acquire().is_none());
        drop((two, three));
        assert!(!one.should_close_after_response() && seats.try_acquire().is_some());
    }

    #[test]
    fn where_none_is_kept_every_seat_is_wanted_and_where_all_are_none_is() {
        assert!(ConnectionLimiter::new(2, 0).try_acquire().unwrap().should_close_after_response());
        let seats = ConnectionLimiter::new(2, 64);
        let (one, two) = (seats.try_acquire().unwrap(), seats.try_acquire().unwrap());
        assert!(!one.should_close_after_response() && !two.should_close_after_response());
    }
}
