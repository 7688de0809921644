//! Room for connections: how many are served at once, and whether there is enough to keep one that has
//! its answer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Seats of one kind.
pub(super) struct ConnectionLimiter {
    free: Arc<Semaphore>,
    /// With fewer than these free, connections are not kept.
    reserve: usize,
}

impl ConnectionLimiter {
    /// `count` seats, of which `kept` may be held by connections that wait for another request.
    pub(super) fn new(count: usize, kept: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), reserve: count.saturating_sub(kept) }
    }

    /// A seat, if there is one.
    pub(super) fn try_acquire(&self) -> Option<ConnectionPermit> {
        let taken = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(ConnectionPermit { taken, reserve: self.reserve })
    }
}

/// A seat, which is free again when this is dropped.
pub(super) struct ConnectionPermit {
    taken: OwnedSemaphorePermit,
    reserve: usize,
}

impl ConnectionPermit {
    /// Whether too many sit for this one to be kept after its answer.
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
