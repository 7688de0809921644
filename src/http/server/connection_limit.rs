//! Room for connections: how many are served at once, and whether there is enough to keep one that has
//! its answer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Seats of one kind.
pub(super) struct Seats {
    free: Arc<Semaphore>,
    /// With fewer than these free, connections are not kept.
    reserve: usize,
}

impl Seats {
    /// `count` seats, of which `kept` may be held by connections that wait for another request.
    pub(super) fn new(count: usize, kept: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), reserve: count.saturating_sub(kept) }
    }

    /// A seat, if there is one.
    pub(super) fn take(&self) -> Option<Seat> {
        let taken = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Seat { taken, reserve: self.reserve })
    }
}

/// A seat, which is free again when this is dropped.
pub(super) struct Seat {
    taken: OwnedSemaphorePermit,
    reserve: usize,
}

impl Seat {
    /// Whether too many sit for this one to be kept after its answer.
    pub(super) fn is_wanted(&self) -> bool {
        self.taken.semaphore().available_permits() < self.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_wanted_while_more_sit_than_are_kept() {
        let seats = Seats::new(3, 1);
        let one = seats.take().unwrap();
        assert!(!one.is_wanted());
        let two = seats.take().unwrap();
        assert!(one.is_wanted() && two.is_wanted());
        let three = seats.take().unwrap();
        assert!(three.is_wanted() && seats.take().is_none());
        drop((two, three));
        assert!(!one.is_wanted() && seats.take().is_some());
    }

    #[test]
    fn where_none_is_kept_every_seat_is_wanted_and_where_all_are_none_is() {
        assert!(Seats::new(2, 0).take().unwrap().is_wanted());
        let seats = Seats::new(2, 64);
        let (one, two) = (seats.take().unwrap(), seats.take().unwrap());
        assert!(!one.is_wanted() && !two.is_wanted());
    }
}
