//! What delivery shows of itself, and the log lines about the receiver as a whole.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::common::Timestamp;
use crate::delivery::{DeliveryOutcome, LastFailure, ReceiverReply};
use crate::model::StoreUuid;

/// How delivery stands.
#[derive(Clone, Debug, Default)]
pub struct NotifierStatus {
    /// Requests whose outcome is known, since the start.
    pub tries: u64,
    /// Notices delivered since the start.
    pub delivered: u64,
    /// Every receiver said 410: nothing is sent until a person acts.
    pub gone: bool,
    /// The last reply, when it said that the receiver has no handler for what was taken as delivered.
    pub unhandled: Option<ReceiverReply>,
    /// The stores that have something waiting.
    pub lanes: BTreeMap<StoreUuid, DeliveryStatus>,
}

/// How delivery of one store's notices stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Notices that wait.
    pub waiting: u64,
    /// Why the first of them still waits, when it has been tried.
    pub trouble: Option<LastFailure>,
    /// When it is tried next; none while it is being sent, or when only a person can help.
    pub next_try: Option<Timestamp>,
}

impl NotifierStatus {
    /// Whether a lane waits for a receiver that gives no usable answer.
    fn is_behind(&self) -> bool {
        let trouble = |lane: &DeliveryStatus| lane.trouble.as_ref().map(|trouble| trouble.verdict);
        self.lanes.values().any(|lane| matches!(trouble(lane), Some(DeliveryOutcome::Retry(_))))
    }
}

/// The lanes' side of the status. A receiver that is down is one fault, however many stores wait for
/// it: it is logged when it begins and when it ends.
#[derive(Debug)]
pub(super) struct StatusPublisher(watch::Sender<NotifierStatus>);

impl StatusPublisher {
    pub(super) fn new(status: watch::Sender<NotifierStatus>) -> Self {
        Self(status)
    }

    /// Shows a lane as it is now.
    pub(super) fn publish(&self, store: StoreUuid, lane: DeliveryStatus) {
        self.0.send_modify(|status| {
            status.lanes.insert(store, lane);
        });
    }

    /// Whether every receiver has said that it is gone.
    pub(super) fn mark_gone(&self, gone: bool) {
        self.0.send_if_modified(|status| std::mem::replace(&mut status.gone, gone) != gone);
    }

    /// A lane has nothing left.
    pub(super) fn clear_store(&self, store: StoreUuid) {
        self.0.send_modify(|status| {
            status.lanes.remove(&store);
        });
    }

    /// Takes note of a reply to a store's notice. `before` is what the lane's reply before it meant, if
    /// that was no plain yes.
    pub(super) fn record_response(
        &self,
        store: StoreUuid,
        before: Option<DeliveryOutcome>,
        reply: &ReceiverReply,
        verdict: DeliveryOutcome,
    ) {
        let (was, now) = self.count_event(store, reply, verdict);
        match verdict {
            DeliveryOutcome::Delivered => debug!(%store, "delivered"),
            DeliveryOutcome::NoHandler if was.unhandled => {
                debug!(%store, %reply, "taken as delivered")
            }
            DeliveryOutcome::NoHandler => {
                warn!(%store, %reply, "the callback has no handler: taken as delivered");
            }
            DeliveryOutcome::Retry(_) if was.behind => debug!(%store, %reply, "not delivered yet"),
            DeliveryOutcome::Retry(_) => {
                warn!(%store, %reply, "the callback does not take notices")
            }
            DeliveryOutcome::Rejected if before == Some(DeliveryOutcome::Rejected) => {
                debug!(%store, %reply, "refused again");
            }
            DeliveryOutcome::Rejected => warn!(%store, %reply, "the callback refuses a notice"),
            DeliveryOutcome::Gone if was.gone => debug!(%store, "gone"),
            DeliveryOutcome::Gone => {
                error!(%store, %reply, "the callback is gone: nothing is sent until a reload or a restart");
            }
        }
        if was.behind && !now.behind {
            info!(%store, "the callback takes notices again");
        }
    }

    fn count_event(
        &self,
        store: StoreUuid,
        reply: &ReceiverReply,
        verdict: DeliveryOutcome,
    ) -> (StatusFlags, StatusFlags) {
        let mut seen = (StatusFlags::default(), StatusFlags::default());
        self.0.send_modify(|status| {
            seen.0 = StatusFlags::from_status(status);
            status.tries += 1;
            status.delivered += u64::from(verdict.is_delivery());
            status.gone |= verdict == DeliveryOutcome::Gone;
            match verdict {
                DeliveryOutcome::Delivered => status.unhandled = None,
                DeliveryOutcome::NoHandler => status.unhandled = Some(reply.clone()),
                DeliveryOutcome::Retry(_) | DeliveryOutcome::Rejected | DeliveryOutcome::Gone => {}
            }
            let trouble = LastFailure { reply: reply.clone(), verdict };
            let lane = status.lanes.entry(store).or_default();
            lane.trouble = (!verdict.is_delivery()).then_some(trouble);
            seen.1 = StatusFlags::from_status(status);
        });
        seen
    }
}

/// What of a status decides whether a line is worth a person's time.
#[derive(Default)]
struct StatusFlags {
    behind: bool,
    unhandled: bool,
    gone: bool,
}

impl StatusFlags {
    fn from_status(status: &NotifierStatus) -> Self {
        Self {
            behind: status.is_behind(),
            unhandled: status.unhandled.is_some(),
            gone: status.gone,
        }
    }
}
