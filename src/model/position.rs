//! Positions of notices in the order of a store's notices.

use std::fmt;

/// An epoch of a store's notices. It grows with each start of the daemon and each add, and is never
/// reused. It is at least the Unix time in ms at which it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of a notice within its epoch. The first notice has number 1, and 0 means that there
/// is none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// The position of a notice. Later notices of a store compare greater, even after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The number within the epoch.
    pub seq: Seq,
}

impl Position {
    /// Returns the position before the first notice of an epoch.
    pub fn start_of(epoch: Epoch) -> Self {
        Self { epoch, seq: Seq(0) }
    }

    /// Returns the next position in the same epoch.
    #[must_use]
    pub fn next_position(self) -> Self {
        Self { epoch: self.epoch, seq: Seq(self.seq.0.saturating_add(1)) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.seq.0)
    }
}
