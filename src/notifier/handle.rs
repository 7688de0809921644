//! Handle to the notifier: wakes it, and reads the status of delivery.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::endpoints::CallbackEndpoints;
use super::status::StatusPublisher;
use super::{DeliveryStats, DeliveryStatus, NotifierStatus};
use crate::agent::{ActiveCondition, DeliveryMonitor, OutboxSignal};
use crate::delivery::{DeliveryOutcome, ReceiverReply};
use crate::diagnosis::{CertificateFact, DeliveryFact, ReceiverFact};
use crate::model::{Condition, StoreUuid};

/// The stores whose outbox changed since the task last looked. Each store has at most one entry.
pub(super) type ChangedStores = BTreeSet<StoreUuid>;

/// Handle to the notifier. Cheap to clone.
#[derive(Clone)]
pub struct NotifierHandle {
    changed: watch::Sender<ChangedStores>,
    status: watch::Receiver<NotifierStatus>,
    publisher: StatusPublisher,
    stats: Arc<DeliveryStats>,
    endpoints: Arc<CallbackEndpoints>,
}

impl NotifierHandle {
    pub(super) fn new(
        changed: watch::Sender<ChangedStores>,
        publisher: StatusPublisher,
        stats: Arc<DeliveryStats>,
        endpoints: Arc<CallbackEndpoints>,
    ) -> Self {
        let status = publisher.watch_status();
        Self { changed, status, publisher, stats, endpoints }
    }

    /// Returns the receivers.
    pub(super) fn callback_endpoints(&self) -> &CallbackEndpoints {
        &self.endpoints
    }

    /// Returns the host and port of the active receiver, or `None` if none is up.
    pub fn active_endpoint(&self) -> Option<String> {
        self.endpoints.active_endpoint()
    }

    /// Makes the receivers that are gone available again, and wakes the stores with pending
    /// notices. Called when an operator acts.
    pub fn reset_gone(&self) {
        self.endpoints.reset_gone();
        let stores: Vec<StoreUuid> = self.status.borrow().deliveries.keys().copied().collect();
        stores.into_iter().for_each(|store| self.notify_changed(store));
    }

    /// Returns the status of delivery.
    pub fn notifier_status(&self) -> NotifierStatus {
        self.status.borrow().clone()
    }

    /// Returns the counts of deliveries since the start of the daemon.
    pub fn delivery_stats(&self) -> &DeliveryStats {
        &self.stats
    }

    /// Returns the delivery status of a store, or `None` if it has no pending notice and no
    /// delivery task. Until the outbox was read after the start, a notice counts as pending.
    pub fn delivery_status(&self, store: StoreUuid) -> Option<DeliveryStatus> {
        self.status.borrow().delivery(store)
    }

    /// Returns the notices of all stores.
    pub fn waiting_notices(&self) -> DeliveryFact {
        let status = self.status.borrow();
        let deliveries = || status.deliveries.values();
        DeliveryFact {
            destination: self.active_endpoint(),
            pending: status.pending(),
            stores_behind: deliveries().filter(|it| it.last_failure.is_some()).count(),
            oldest: deliveries().filter_map(|delivery| delivery.oldest).min(),
            last_failure: status.newest_failure().map(|failure| failure.reply.to_string()),
        }
    }

    /// Returns the receivers with their last replies.
    pub fn receivers(&self) -> Vec<ReceiverFact> {
        self.endpoints.receivers()
    }

    /// Returns the certificate that is sent to the receivers, or `None` without one.
    pub fn client_certificate(&self) -> Option<CertificateFact> {
        self.endpoints.client_certificate().cloned()
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

impl OutboxSignal for NotifierHandle {
    fn mark_pending(&self, store: StoreUuid) {
        self.publisher.mark_pending(store);
    }

    fn notify_changed(&self, store: StoreUuid) {
        self.changed.send_modify(|changed| {
            changed.insert(store);
        });
    }
}

impl DeliveryMonitor for NotifierHandle {
    fn delivery_condition(&self, store: StoreUuid) -> Option<ActiveCondition> {
        let last_failure = self.delivery_status(store).and_then(|status| status.last_failure);
        let (condition, message) = match (last_failure, self.last_unhandled()) {
            (Some(failure), _) => {
                let condition = match failure.outcome {
                    DeliveryOutcome::Rejected | DeliveryOutcome::Gone => Condition::DeliveryRefused,
                    DeliveryOutcome::Retry(_) => Condition::DeliveryBehind,
                    DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => return None,
                };
                (condition, format!("a notice was not delivered: {}", failure.reply))
            }
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
