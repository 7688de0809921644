//! Where a notice stands in the order of a store's notices.

use std::fmt;

/// A run of a store's notices: grows with each start of the daemon and each add, never reused.
/// At least the Unix time in ms at which it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of a notice within its epoch: 1 is the first, 0 says none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// A notice's place: later notices of a store compare greater, whatever crashes in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The run of notices.
    pub epoch: Epoch,
    /// The number within the run.
    pub seq: Seq,
}

impl Position {
    /// The place before the first notice of an epoch.
    pub fn start_of(epoch: Epoch) -> Self {
        Self { epoch, seq: Seq(0) }
    }

    /// The next place in the same epoch.
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
