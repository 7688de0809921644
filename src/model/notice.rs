//! Notices: messages to the management node about the status of a store.

use super::{AttemptFailure, AttemptId, Inventory, Position, Status, StoreUuid, Tags};
use crate::common::{Timestamp, string_enum};

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
    pub folded: u32,
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
        let folded = self.folded.saturating_add(later.folded);
        Notice { old_status: self.old_status, kind, folded, ..later }
    }
}
