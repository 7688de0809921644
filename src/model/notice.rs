//! What the management node is told of a transition.

use super::{AttemptFailure, AttemptId, Inventory, Position, Status, StoreUuid, Tags};
use crate::common::{Timestamp, string_enum};

string_enum! {
    /// The kind of a notice.
    pub NoticeKind {
        /// One transition, or several folded into one.
        Changed = "changed",
        /// The current state, sent because a receiver asked or a fold ended where it began; takes no
        /// new position.
        Resync = "resync",
    }
}

/// A statement about one store's status, delivered at least once and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The store.
    pub store: StoreUuid,
    /// What it is.
    pub kind: NoticeKind,
    /// Its place in the store's order.
    pub position: Position,
    /// The status before; a fold has that of its first transition.
    pub old_status: Status,
    /// The status after.
    pub new_status: Status,
    /// When it happened.
    pub at: Timestamp,
    /// The attempt it belongs to: the running one, or the newest before it.
    pub attempt: AttemptId,
    /// Why, when the new status is Disconnected.
    pub failure: Option<AttemptFailure>,
    /// The store as it was after the transition.
    pub inventory: Inventory,
    /// The tags of the caller whose request began the attempt.
    pub tags: Tags,
    /// How many transitions this stands for; 1 unless folded.
    pub folded: u32,
}

impl Notice {
    /// The notice that stands for this one and a later one of the same store.
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
