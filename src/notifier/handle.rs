//! Handle to the notifier: wakes it, and reads the status of delivery.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::endpoints::CallbackEndpoints;
use super::{DeliveryStatus, NotifierStatus};
use crate::agent::{ActiveCondition, DeliveryMonitor};
use crate::delivery::{DeliveryOutcome, ReceiverReply};
use crate::model::{Condition, StoreUuid};

/// Stores whose outbox moved and has not been looked at since; at most one entry a store, however
/// often it moves.
pub(super) type ChangedStores = BTreeSet<StoreUuid>;

/// The notifier, as others hold it. Cheap to clone.
#[derive(Clone)]
pub struct NotifierHandle {
    moved: watch::Sender<ChangedStores>,
    status: watch::Receiver<NotifierStatus>,
    destinations: Arc<CallbackEndpoints>,
}

impl NotifierHandle {
    pub(super) fn new(
        moved: watch::Sender<ChangedStores>,
        status: watch::Receiver<NotifierStatus>,
        destinations: Arc<CallbackEndpoints>,
    ) -> Self {
        Self { moved, status, destinations }
    }

    /// Where requests go.
    pub(super) fn endpoint_count(&self) -> &CallbackEndpoints {
        &self.destinations
    }

    /// The receiver that is sent to now: host and port. None while none is up.
    pub fn active_endpoint(&self) -> Option<String> {
        self.destinations.active_endpoint()
    }

    /// A person acts: receivers that have said that they are gone are sent to again.
    pub fn reset_gone(&self) {
        self.destinations.reset_gone();
        let stopped: Vec<StoreUuid> = self.status.borrow().lanes.keys().copied().collect();
        stopped.into_iter().for_each(|store| self.notify_changed(store));
    }

    /// To be told after each commit that put a notice of this store into the outbox. Never waits.
    pub fn notify_changed(&self, store: StoreUuid) {
        self.moved.send_modify(|moved| {
            moved.insert(store);
        });
    }

    /// How delivery stands.
    pub fn notifier_status(&self) -> NotifierStatus {
        self.status.borrow().clone()
    }

    /// How delivery of one store's notices stands; none when nothing waits.
    pub fn delivery_status(&self, store: StoreUuid) -> Option<DeliveryStatus> {
        self.status.borrow().lanes.get(&store).cloned()
    }

    /// The last reply, when it said that nobody handles what was taken as delivered.
    pub fn last_unhandled(&self) -> Option<ReceiverReply> {
        self.status.borrow().unhandled.clone()
    }

    /// To be told when the status changes.
    pub fn watch_status(&self) -> watch::Receiver<NotifierStatus> {
        self.status.clone()
    }
}

impl DeliveryMonitor for NotifierHandle {
    fn delivery_condition(&self, store: StoreUuid) -> Option<ActiveCondition> {
        let trouble = self.delivery_status(store).and_then(|lane| lane.trouble);
        let (condition, message) = match (trouble, self.last_unhandled()) {
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
