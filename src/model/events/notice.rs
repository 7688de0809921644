//! Notices: messages to the management node about the status of a store, and their positions.

use std::fmt;

use crate::common::{Timestamp, string_enum};
use crate::model::{AttemptFailure, AttemptId, Inventory, Status, StoreUuid, Tags};

string_enum! {
    /// The kind of a notice.
    pub NoticeKind {
        /// One transition, or several that were coalesced into one.
        Changed = "changed",
        /// The current state without a new position. It is sent if a receiver requested it, or if
        /// coalesced transitions ended in the status in which they began.
        Resync = "resync",
    }
}

/// A statement about the status of one store, delivered at least once and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The store.
    pub store: StoreUuid,
    /// The kind of the notice.
    pub kind: NoticeKind,
    /// The position in the order of the store's notices.
    pub position: Position,
    /// The status before the transition. A coalesced notice has that of its first transition.
    pub old_status: Status,
    /// The status after the transition.
    pub new_status: Status,
    /// The time of the transition.
    pub at: Timestamp,
    /// The attempt that it belongs to: the running one, or the newest before it.
    pub attempt: AttemptId,
    /// The failure, if the new status is Disconnected.
    pub failure: Option<AttemptFailure>,
    /// The store as it was after the transition.
    pub inventory: Inventory,
    /// The tags of the request that started the attempt.
    pub tags: Tags,
    /// The number of transitions that this notice represents; 1 unless coalesced.
    pub transition_count: u32,
}

impl Notice {
    /// Returns the notice that replaces this one and a later one of the same store.
    #[must_use]
    pub fn coalesce(self, later: Notice) -> Notice {
        let kind = if self.old_status == later.new_status {
            NoticeKind::Resync
        } else {
            NoticeKind::Changed
        };
        let transition_count = self.transition_count.saturating_add(later.transition_count);
        Notice { old_status: self.old_status, kind, transition_count, ..later }
    }
}

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
