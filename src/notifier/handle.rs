//! How others speak to the notifier.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::{LaneStatus, NotifierStatus};
use crate::delivery::Reply;
use crate::model::StoreUuid;

/// Stores whose outbox moved and has not been looked at since; at most one entry a store, however
/// often it moves.
pub(super) type Moved = BTreeSet<StoreUuid>;

/// The notifier, as others hold it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NotifierHandle {
    moved: watch::Sender<Moved>,
    status: watch::Receiver<NotifierStatus>,
}

impl NotifierHandle {
    pub(super) fn new(
        moved: watch::Sender<Moved>,
        status: watch::Receiver<NotifierStatus>,
    ) -> Self {
        Self { moved, status }
    }

    /// To be told after each commit that put a notice of this store into the outbox. Never waits.
    pub fn moved(&self, store: StoreUuid) {
        self.moved.send_modify(|moved| {
            moved.insert(store);
        });
    }

    /// How delivery stands.
    pub fn status(&self) -> NotifierStatus {
        self.status.borrow().clone()
    }

    /// How delivery of one store's notices stands; none when nothing waits.
    pub fn lane(&self, store: StoreUuid) -> Option<LaneStatus> {
        self.status.borrow().lanes.get(&store).cloned()
    }

    /// The last reply, when it said that nobody handles what was taken as delivered.
    pub fn unhandled(&self) -> Option<Reply> {
        self.status.borrow().unhandled.clone()
    }

    /// Whether the receiver has said that it wants nothing any more.
    pub fn is_gone(&self) -> bool {
        self.status.borrow().gone
    }

    /// To be told when the status changes.
    pub fn watch(&self) -> watch::Receiver<NotifierStatus> {
        self.status.clone()
    }
}
