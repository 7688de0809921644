//! Handle to the notifier: wakes it, and reads the status of delivery.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::endpoints::Destinations;
use super::{LaneStatus, NotifierStatus};
use crate::agent::{ActiveCondition, DeliveryMonitor};
use crate::delivery::{DeliveryOutcome, ReceiverReply};
use crate::model::{Condition, StoreUuid};

/// Stores whose outbox moved and has not been looked at since; at most one entry a store, however
/// often it moves.
pub(super) type Moved = BTreeSet<StoreUuid>;

/// The notifier, as others hold it. Cheap to clone.
#[derive(Clone)]
pub struct NotifierHandle {
    moved: watch::Sender<Moved>,
    status: watch::Receiver<NotifierStatus>,
    destinations: Arc<Destinations>,
}

impl NotifierHandle {
    pub(super) fn new(
        moved: watch::Sender<Moved>,
        status: watch::Receiver<NotifierStatus>,
        destinations: Arc<Destinations>,
    ) -> Self {
        Self { moved, status, destinations }
    }

    /// Where requests go.
    pub(super) fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// The receiver that is sent to now: host and port. None while none is up.
    pub fn destination(&self) -> Option<String> {
        self.destinations.active()
    }

    /// A person acts: receivers that have said that they are gone are sent to again.
    pub fn revive(&self) {
        self.destinations.revive();
        let stopped: Vec<StoreUuid> = self.status.borrow().lanes.keys().copied().collect();
        stopped.into_iter().for_each(|store| self.moved(store));
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
    pub fn unhandled(&self) -> Option<ReceiverReply> {
        self.status.borrow().unhandled.clone()
    }

    /// To be told when the status changes.
    pub fn watch(&self) -> watch::Receiver<NotifierStatus> {
        self.status.clone()
    }
}

impl DeliveryMonitor for NotifierHandle {
    fn delivery_condition(&self, store: StoreUuid) -> Option<ActiveCondition> {
        let trouble = self.lane(store).and_then(|lane| lane.trouble);
        let (condition, message) = match (trouble, self.unhandled()) {
            (Some(trouble), _) => match trouble.verdict {
                DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {
                    (Condition::DeliveryRefused, trouble.reply.to_string())
                }
                DeliveryOutcome::Retry(_) => (Condition::DeliveryBehind, trouble.reply.to_string()),
                DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => return None,
            },
            (None, Some(reply)) => {
                let message = format!("taken as delivered, though nobody handles it: {reply}");
                (Condition::DeliveryRefused, message)
            }
            (None, None) => return None,
        };
        Some(ActiveCondition::new(condition, message))
    }
}
