//! Handle to the notifier: wakes it, and reads the status of delivery.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::endpoints::CallbackEndpoints;
use super::{DeliveryStatus, NotifierStatus};
use crate::agent::{ActiveCondition, DeliveryMonitor};
use crate::delivery::{DeliveryOutcome, ReceiverReply};
use crate::model::{Condition, StoreUuid};

/// The stores whose outbox changed since the task last looked. Each store has at most one entry.
pub(super) type ChangedStores = BTreeSet<StoreUuid>;

/// Handle to the notifier. Cheap to clone.
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

    /// Returns the receivers.
    pub(super) fn callback_endpoints(&self) -> &CallbackEndpoints {
        &self.destinations
    }

    /// Returns the host and port of the active receiver, or `None` if none is up.
    pub fn active_endpoint(&self) -> Option<String> {
        self.destinations.active_endpoint()
    }

    /// Makes the receivers that are gone available again, and wakes the stores with pending
    /// notices. Called when an operator acts.
    pub fn reset_gone(&self) {
        self.destinations.reset_gone();
        let stopped: Vec<StoreUuid> = self.status.borrow().lanes.keys().copied().collect();
        stopped.into_iter().for_each(|store| self.notify_changed(store));
    }

    /// Signals that a notice of this store was committed to the outbox. Call it after each such
    /// commit. It never waits.
    pub fn notify_changed(&self, store: StoreUuid) {
        self.moved.send_modify(|moved| {
            moved.insert(store);
        });
    }

    /// Returns the status of delivery.
    pub fn notifier_status(&self) -> NotifierStatus {
        self.status.borrow().clone()
    }

    /// Returns the delivery status of a store, or `None` if the store has no pending notice.
    pub fn delivery_status(&self, store: StoreUuid) -> Option<DeliveryStatus> {
        self.status.borrow().lanes.get(&store).cloned()
    }

    /// Returns the last reply if it said that the receiver has no handler. The notice counts as
    /// delivered. Returns `None` otherwise.
    pub fn last_unhandled(&self) -> Option<ReceiverReply> {
        self.status.borrow().unhandled.clone()
    }

    /// Returns a receiver of status changes.
    pub fn watch_status(&self) -> watch::Receiver<NotifierStatus> {
        self.status.clone()
    }
}

impl DeliveryMonitor for NotifierHandle {
    fn delivery_condition(&self, store: StoreUuid) -> Option<ActiveCondition> {
        let trouble = self.delivery_status(store).and_then(|lane| lane.trouble);
        let (condition, message) = match (trouble, self.last_unhandled()) {
            (Some(trouble), _) => match trouble.outcome {
                DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {
                    (Condition::DeliveryRefused, trouble.reply.to_string())
                }
                DeliveryOutcome::Retry(_) => (Condition::DeliveryBehind, trouble.reply.to_string()),
                DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => return None,
            },
            (None, Some(reply)) => {
                let message =
                    format!("notices count as delivered, but the callback has no handler: {reply}");
                (Condition::DeliveryRefused, message)
            }
            (None, None) => return None,
        };
        Some(ActiveCondition::new(condition, message))
    }
}
