//! The status of delivery, and the log lines about the callback as a whole.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::common::Timestamp;
use crate::delivery::{DeliveryOutcome, LastFailure, ReceiverReply};
use crate::model::StoreUuid;

/// The status of delivery.
#[derive(Clone, Debug, Default)]
pub struct NotifierStatus {
    /// Number of tries to deliver a notice that have ended since the start.
    pub tries: u64,
    /// Number of notices delivered since the start.
    pub delivered: u64,
    /// Every receiver answered with 410. Nothing is sent until an operator acts.
    pub gone: bool,
    /// The last reply if it said that the receiver has no handler. The notice counts as delivered.
    pub unhandled: Option<ReceiverReply>,
    /// The status of each store whose delivery task is running.
    pub deliveries: BTreeMap<StoreUuid, DeliveryStatus>,
    /// Number of entries of `deliveries` that [wait for a usable reply](DeliveryStatus::is_behind).
    /// It is counted here, because each reply needs it and there may be thousands of deliveries.
    behind: usize,
}

/// The delivery status of one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Number of pending notices.
    pub pending: u64,
    /// The time of the oldest pending notice, if it was read. One that was coalesced counts.
    pub oldest: Option<Timestamp>,
    /// The failure that delays the first pending notice, or `None` if it was not tried yet.
    pub last_failure: Option<LastFailure>,
    /// The time of the next request. It is `None` while a request runs, and if only an operator can
    /// help.
    pub next_try: Option<Timestamp>,
}

impl DeliveryStatus {
    /// Returns true if the store waits for a receiver that gives no usable reply.
    fn is_behind(&self) -> bool {
        let outcome = self.last_failure.as_ref().map(|failure| failure.outcome);
        matches!(outcome, Some(DeliveryOutcome::Retry(_)))
    }
}

impl NotifierStatus {
    /// Replaces the status of a store, or removes it.
    fn set_delivery(&mut self, store: StoreUuid, delivery: Option<DeliveryStatus>) {
        let is_behind = |delivery: &DeliveryStatus| usize::from(delivery.is_behind());
        let after = delivery.as_ref().map_or(0, is_behind);
        let replaced = match delivery {
            Some(delivery) => self.deliveries.insert(store, delivery),
            None => self.deliveries.remove(&store),
        };
        let before = replaced.as_ref().map_or(0, is_behind);
        self.behind = (self.behind + after).saturating_sub(before);
    }
}

/// Publishes the status on behalf of the store deliveries. A receiver that is down is one failure,
/// however many stores wait for it. It is logged when it begins and when it ends.
#[derive(Debug)]
pub(super) struct StatusPublisher(watch::Sender<NotifierStatus>);

impl StatusPublisher {
    pub(super) fn new(status: watch::Sender<NotifierStatus>) -> Self {
        Self(status)
    }

    /// Publishes the status of a store.
    pub(super) fn publish(&self, store: StoreUuid, delivery: DeliveryStatus) {
        self.0.send_modify(|status| {
            status.set_delivery(store, Some(delivery));
        });
    }

    /// Records if every receiver is gone.
    pub(super) fn mark_gone(&self, gone: bool) {
        self.0.send_if_modified(|status| std::mem::replace(&mut status.gone, gone) != gone);
    }

    /// Removes the status of a store, because its delivery task ends.
    pub(super) fn clear_store(&self, store: StoreUuid) {
        self.0.send_modify(|status| {
            status.set_delivery(store, None);
        });
    }

    /// Records the reply to a notice of a store, and logs it. `last_outcome` is that of the
    /// previous reply, or `None` if that was a plain success.
    pub(super) fn record_response(
        &self,
        store: StoreUuid,
        last_outcome: Option<DeliveryOutcome>,
        reply: &ReceiverReply,
        outcome: DeliveryOutcome,
    ) {
        let (before, after) = self.count_reply(store, reply, outcome);
        match outcome {
            DeliveryOutcome::Delivered => debug!(%store, "notice delivered"),
            DeliveryOutcome::NoHandler if before.unhandled => {
                debug!(%store, %reply, "callback still has no handler, notice counts as delivered")
            }
            DeliveryOutcome::NoHandler => {
                warn!(%store, %reply, "callback has no handler, notice counts as delivered");
            }
            DeliveryOutcome::Retry(_) if before.behind => {
                debug!(%store, %reply, "notice not delivered")
            }
            DeliveryOutcome::Retry(_) => {
                warn!(%store, %reply, "callback delivery failing")
            }
            DeliveryOutcome::Rejected if last_outcome == Some(DeliveryOutcome::Rejected) => {
                debug!(%store, %reply, "notice rejected again");
            }
            DeliveryOutcome::Rejected => warn!(%store, %reply, "notice rejected by callback"),
            DeliveryOutcome::Gone if before.gone => debug!(%store, "callback still gone"),
            DeliveryOutcome::Gone => {
                error!(%store, %reply, "callback gone, delivery stopped until reload or restart");
            }
        }
        if before.behind && !after.behind {
            info!(%store, "callback delivery recovered");
        }
    }

    fn count_reply(
        &self,
        store: StoreUuid,
        reply: &ReceiverReply,
        outcome: DeliveryOutcome,
    ) -> (StatusFlags, StatusFlags) {
        let mut flags = (StatusFlags::default(), StatusFlags::default());
        self.0.send_modify(|status| {
            flags.0 = StatusFlags::from_status(status);
            status.tries += 1;
            status.delivered += u64::from(outcome.is_delivery());
            status.gone |= outcome == DeliveryOutcome::Gone;
            match outcome {
                DeliveryOutcome::Delivered => status.unhandled = None,
                DeliveryOutcome::NoHandler => status.unhandled = Some(reply.clone()),
                DeliveryOutcome::Retry(_) | DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {}
            }
            let last_failure = LastFailure { reply: reply.clone(), outcome };
            let mut delivery = status.deliveries.get(&store).cloned().unwrap_or_default();
            delivery.last_failure = (!outcome.is_delivery()).then_some(last_failure);
            status.set_delivery(store, Some(delivery));
            flags.1 = StatusFlags::from_status(status);
        });
        flags
    }
}

/// The parts of a status that decide the level of a log line.
#[derive(Default)]
struct StatusFlags {
    behind: bool,
    unhandled: bool,
    gone: bool,
}

impl StatusFlags {
    fn from_status(status: &NotifierStatus) -> Self {
        Self { behind: status.behind > 0, unhandled: status.unhandled.is_some(), gone: status.gone }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn failed_with(outcome: DeliveryOutcome) -> DeliveryStatus {
        let reply = ReceiverReply::NoResponse("refused".to_owned());
        DeliveryStatus { last_failure: Some(LastFailure { reply, outcome }), ..Default::default() }
    }

    proptest! {
        #[test]
        fn the_number_of_stores_behind_is_that_of_the_deliveries(
            changes: Vec<(u8, Option<Option<bool>>)>,
        ) {
            let mut status = NotifierStatus::default();
            for (store, change) in changes {
                let delivery = change.map(|failed| match failed {
                    None => DeliveryStatus::default(),
                    Some(true) => failed_with(DeliveryOutcome::Retry(Duration::ZERO)),
                    Some(false) => failed_with(DeliveryOutcome::Rejected),
                });
                status.set_delivery(StoreUuid::from_u128(u128::from(store % 4)), delivery);
                let counted = status.deliveries.values().filter(|delivery| delivery.is_behind());
                prop_assert_eq!(status.behind, counted.count());
            }
        }
    }
}
