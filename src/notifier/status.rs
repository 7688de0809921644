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
    /// The status of each store with a pending notice or a running delivery task.
    pub deliveries: BTreeMap<StoreUuid, DeliveryStatus>,
    /// The notices from before the start are known: each store with some has an entry.
    backlog_known: bool,
    /// Number of failures since the start.
    failures: u64,
    /// Number of entries of `deliveries` that [wait for a usable reply](DeliveryStatus::is_behind).
    /// It is counted here, because each reply needs it and there may be thousands of deliveries.
    behind: usize,
}

/// The delivery status of one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Number of pending notices. A notice that is counted while it is committed may count twice
    /// until the outbox is read again.
    pub pending: u64,
    /// Number of notices of `pending` that were committed since the last read of the outbox began.
    uncounted: u64,
    /// The time of the oldest pending notice, if it was read. One that was coalesced counts.
    pub oldest: Option<Timestamp>,
    /// The failure that delays the first pending notice, or `None` if it was not tried yet.
    pub last_failure: Option<LastFailure>,
    /// The place of that failure among those of all stores.
    failure_number: u64,
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
    /// Returns the status of a store, or `None` if it has no pending notice and no delivery task.
    /// Until the notices from before the start are known, one is assumed.
    pub(super) fn delivery(&self, store: StoreUuid) -> Option<DeliveryStatus> {
        let assumed = || DeliveryStatus { pending: 1, ..DeliveryStatus::default() };
        let known = self.deliveries.get(&store).cloned();
        known.or_else(|| (!self.backlog_known).then(assumed))
    }

    /// Returns the number of pending notices of all stores.
    pub(super) fn pending(&self) -> u64 {
        let counted: u64 = self.deliveries.values().map(|delivery| delivery.pending).sum();
        counted.max(u64::from(!self.backlog_known))
    }

    /// Returns the newest failure that delays a notice.
    pub(super) fn newest_failure(&self) -> Option<&LastFailure> {
        let failed = self.deliveries.values().filter(|delivery| delivery.last_failure.is_some());
        failed.max_by_key(|delivery| delivery.failure_number)?.last_failure.as_ref()
    }

    /// Returns the number of a failure that happens now.
    fn count_failure(&mut self) -> u64 {
        self.failures += 1;
        self.failures
    }

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
#[derive(Clone, Debug, Default)]
pub(super) struct StatusPublisher(watch::Sender<NotifierStatus>);

/// The status of a store as its delivery task knows it.
pub(super) struct DeliveryUpdate {
    /// Number of pending notices by the last read of the outbox, or `None` if the earlier number
    /// remains, because it cannot be read.
    pub(super) counted: Option<u64>,
    pub(super) oldest: Option<Timestamp>,
    pub(super) last_failure: Option<LastFailure>,
    pub(super) next_try: Option<Timestamp>,
}

impl StatusPublisher {
    /// Returns a receiver of status changes.
    pub(super) fn watch_status(&self) -> watch::Receiver<NotifierStatus> {
        self.0.subscribe()
    }

    /// Counts a committed notice as pending.
    pub(super) fn mark_pending(&self, store: StoreUuid) {
        self.0.send_modify(|status| {
            let delivery = status.deliveries.entry(store).or_default();
            delivery.pending = delivery.pending.saturating_add(1);
            delivery.uncounted = delivery.uncounted.saturating_add(1);
        });
    }

    /// Records the stores with notices from before the start. They are not counted yet, so one of
    /// each store is pending.
    pub(super) fn set_backlog(&self, stores: &[StoreUuid]) {
        self.0.send_modify(|status| {
            for store in stores {
                let delivery = status.deliveries.entry(*store).or_default();
                delivery.pending = delivery.pending.max(1);
            }
            status.backlog_known = true;
        });
    }

    /// Begins a read of the outbox, which finds each notice that was committed before. They remain
    /// pending until the number that was read is published.
    pub(super) fn begin_count(&self, store: StoreUuid) {
        self.0.send_if_modified(|status| {
            if let Some(delivery) = status.deliveries.get_mut(&store) {
                delivery.uncounted = 0;
            }
            false
        });
    }

    /// Publishes the status of a store. The notices that were committed since the last read of the
    /// outbox began are pending too.
    pub(super) fn publish(&self, store: StoreUuid, update: DeliveryUpdate) {
        let DeliveryUpdate { counted, oldest, last_failure, next_try } = update;
        self.0.send_modify(|status| {
            let earlier = status.deliveries.get(&store).cloned().unwrap_or_default();
            let uncounted = earlier.uncounted;
            let pending =
                counted.map_or(earlier.pending, |counted| counted.saturating_add(uncounted));
            // The wait for the next try makes no failure newer.
            let failure_number =
                match last_failure.is_some() && last_failure != earlier.last_failure {
                    true => status.count_failure(),
                    false => earlier.failure_number,
                };
            let delivery = DeliveryStatus {
                pending,
                uncounted,
                oldest,
                last_failure,
                failure_number,
                next_try,
            };
            status.set_delivery(store, Some(delivery));
        });
    }

    /// Records if every receiver is gone.
    pub(super) fn mark_gone(&self, gone: bool) {
        self.0.send_if_modified(|status| std::mem::replace(&mut status.gone, gone) != gone);
    }

    /// Removes the status of a store whose delivery task ends, unless a notice is pending. A notice
    /// that was committed since the last read starts the next task.
    pub(super) fn clear_delivered(&self, store: StoreUuid) {
        self.0.send_modify(|status| {
            if status.deliveries.get(&store).is_some_and(|delivery| delivery.pending == 0) {
                status.set_delivery(store, None);
            }
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
            if delivery.last_failure.is_some() {
                delivery.failure_number = status.count_failure();
            }
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

    #[test]
    fn the_newest_failure_is_that_of_the_last_reply() {
        let publisher = StatusPublisher::default();
        let status = publisher.watch_status();
        let store = StoreUuid::from_u128;
        let newest = || {
            let status = status.borrow();
            status.newest_failure().map(|failure| failure.reply.to_string())
        };
        let fail = |number: u128, why: &str| {
            let reply = ReceiverReply::NoResponse(why.to_owned());
            let outcome = DeliveryOutcome::Retry(Duration::ZERO);
            publisher.record_response(store(number), None, &reply, outcome);
            reply.to_string()
        };
        let publish_again = |number: u128| {
            let last_failure = status.borrow().deliveries[&store(number)].last_failure.clone();
            let update =
                DeliveryUpdate { counted: None, oldest: None, last_failure, next_try: None };
            publisher.publish(store(number), update);
        };
        assert_eq!(newest(), None);
        let of_first = fail(1, "first");
        let of_second = fail(2, "second");
        publish_again(1);
        assert_eq!(newest().as_ref(), Some(&of_second));
        // The same reply again is a newer failure.
        assert_eq!((fail(1, "first"), newest()), (of_first.clone(), Some(of_first)));
        publish_again(2);
        assert_ne!(newest(), Some(of_second));
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
