//! The delivery state of one store: which notice is sent next, and when.

use std::time::Duration;

use super::{DeliveryOutcome, ReceiverReply};
use crate::common::Backoff;
use crate::model::Position;

/// Backoff between retries if the receiver cannot be reached or asks for a delay. The limit of the
/// random delay grows from 200 ms to 60 s.
pub(super) const RETRY_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
/// Delay between retries of a notice, or of the result of a job, that the receiver rejects. Only a
/// newer notice or an operator helps, so that 5 min are frequent enough.
pub(super) const REJECTED_RETRY_DELAY: Duration = Duration::from_secs(5 * 60);

/// The last reply that was not a plain success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// The last reply.
    pub reply: ReceiverReply,
    /// The meaning of that reply.
    pub outcome: DeliveryOutcome,
}

/// The next action for the notices of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// There is nothing to do, because no notice is pending.
    Idle,
    /// The first pending notice is to be sent.
    Send,
    /// All pending notices are to be coalesced into one. Then the next action is computed again.
    Coalesce,
    /// There is nothing to do before this uptime.
    WaitUntil(Duration),
    /// Delivery is stopped until an operator acts.
    Stopped,
}

/// The delivery state of one store. A plain value without locks or timers.
#[derive(Clone, Debug, Default)]
pub struct DeliveryState {
    failures: u32,
    not_before: Duration,
    /// The position of the notice that the receiver rejected. A newer notice is sent without delay.
    rejected_at: Option<Position>,
    stopped: bool,
    last_failure: Option<LastFailure>,
}

impl DeliveryState {
    /// Creates a state whose first request is due at this uptime.
    pub fn starting_at(not_before: Duration) -> Self {
        Self { not_before, ..Self::default() }
    }

    /// Returns the next action. `pending` notices are pending, and the newest of them is `newest`.
    ///
    /// The notices are coalesced if more than `max_pending` are pending. They are also coalesced
    /// behind a rejected notice, because the older states do not help a receiver that rejects one.
    pub fn next_action(
        &self,
        pending: u64,
        newest: Option<Position>,
        max_pending: u64,
        uptime: Duration,
    ) -> NextAction {
        let Some(newest) = newest.filter(|_| pending > 0) else { return NextAction::Idle };
        if pending > 1 && (pending > max_pending || self.rejected_at.is_some()) {
            return NextAction::Coalesce;
        }
        if self.stopped {
            return NextAction::Stopped;
        }
        let is_newer = self.rejected_at.is_some_and(|rejected| newest > rejected);
        if uptime >= self.not_before || is_newer {
            NextAction::Send
        } else {
            NextAction::WaitUntil(self.not_before)
        }
    }

    /// Records the reply to a notice. `random` is a random number.
    pub fn on_reply(
        &mut self,
        position: Position,
        reply: ReceiverReply,
        outcome: DeliveryOutcome,
        uptime: Duration,
        random: u64,
    ) {
        self.rejected_at = None;
        match outcome {
            DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => {
                self.failures = 0;
                self.not_before = Duration::ZERO;
            }
            DeliveryOutcome::Retry(at_least) => {
                self.failures = self.failures.saturating_add(1);
                let wait = RETRY_BACKOFF.delay(self.failures, random).max(at_least);
                self.not_before = uptime.saturating_add(wait);
            }
            DeliveryOutcome::Rejected => {
                self.failures = 0;
                self.rejected_at = Some(position);
                self.not_before = uptime.saturating_add(REJECTED_RETRY_DELAY);
            }
            DeliveryOutcome::Gone => self.stopped = true,
        }
        self.last_failure =
            (outcome != DeliveryOutcome::Delivered).then_some(LastFailure { reply, outcome });
    }

    /// Stops or resumes delivery. It is stopped while every receiver is gone. The next notice is
    /// due at once when delivery resumes.
    pub fn set_stopped(&mut self, stopped: bool) {
        if self.stopped && !stopped {
            self.not_before = Duration::ZERO;
        }
        self.stopped = stopped;
    }

    /// Makes a delayed retry due now. A rejected notice stays delayed: only a newer notice or an
    /// operator changes the outcome.
    pub fn make_due(&mut self) {
        if self.rejected_at.is_none() {
            self.not_before = Duration::ZERO;
        }
    }

    /// Returns the last failure, or `None` if the last reply was a plain success.
    pub fn last_failure(&self) -> Option<&LastFailure> {
        self.last_failure.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Epoch, Seq};

    const MAX: u64 = 10;

    fn at(seq: u64) -> Position {
        Position { epoch: Epoch(1), seq: Seq(seq) }
    }

    fn response(status: u16) -> ReceiverReply {
        ReceiverReply::Response { status, retry_after: None, excerpt: String::new() }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_delivery_without_failures_sends_what_is_pending() {
        let delivery = DeliveryState::starting_at(secs(2));
        assert_eq!(delivery.next_action(0, None, MAX, secs(9)), NextAction::Idle);
        assert_eq!(
            delivery.next_action(1, Some(at(1)), MAX, secs(1)),
            NextAction::WaitUntil(secs(2))
        );
        assert_eq!(delivery.next_action(3, Some(at(3)), MAX, secs(2)), NextAction::Send);
        assert_eq!(delivery.next_action(11, Some(at(11)), MAX, secs(2)), NextAction::Coalesce);
    }

    #[test]
    fn an_outage_delays_retries_and_a_success_ends_the_delay() {
        let mut delivery = DeliveryState::default();
        delivery.on_reply(at(1), response(500), DeliveryOutcome::Retry(secs(30)), secs(10), 0);
        assert_eq!(
            delivery.next_action(1, Some(at(1)), MAX, secs(39)),
            NextAction::WaitUntil(secs(40))
        );
        assert_eq!(
            delivery.next_action(2, Some(at(2)), MAX, secs(39)),
            NextAction::WaitUntil(secs(40))
        );
        assert_eq!(delivery.next_action(2, Some(at(2)), MAX, secs(40)), NextAction::Send);
        delivery.on_reply(at(1), response(200), DeliveryOutcome::Delivered, secs(40), 0);
        assert_eq!(delivery.next_action(1, Some(at(2)), MAX, secs(40)), NextAction::Send);
        assert_eq!(delivery.last_failure(), None);
    }

    #[test]
    fn after_a_long_outage_the_deliveries_of_thousands_of_stores_spread_over_a_minute() {
        let rolls = (1..=5_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut due_by_second = [0; 61];
        for random in rolls {
            let mut delivery = DeliveryState::default();
            for _ in 0..20 {
                delivery.on_reply(
                    at(1),
                    response(500),
                    DeliveryOutcome::Retry(Duration::ZERO),
                    secs(0),
                    random,
                );
            }
            let NextAction::WaitUntil(due) = delivery.next_action(1, Some(at(1)), MAX, secs(0))
            else {
                continue;
            };
            due_by_second[usize::try_from(due.as_secs()).unwrap()] += 1;
        }
        let most = due_by_second.iter().max().unwrap();
        // An even spread has 83 in each.
        assert!((83..130).contains(most), "{due_by_second:?}");
    }

    #[test]
    fn a_delayed_retry_can_be_made_due_but_not_a_rejected_or_stopped_delivery() {
        let mut delivery = DeliveryState::starting_at(secs(2));
        delivery.make_due();
        assert_eq!(delivery.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::Send);
        delivery.on_reply(at(1), response(500), DeliveryOutcome::Retry(secs(30)), secs(1), 0);
        delivery.make_due();
        assert_eq!(delivery.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::Send);
        delivery.on_reply(at(1), response(400), DeliveryOutcome::Rejected, secs(1), 0);
        delivery.make_due();
        assert_eq!(
            delivery.next_action(1, Some(at(1)), MAX, secs(1)),
            NextAction::WaitUntil(secs(301))
        );
        delivery.on_reply(at(1), response(410), DeliveryOutcome::Gone, secs(1), 0);
        delivery.make_due();
        assert_eq!(delivery.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::Stopped);
    }

    #[test]
    fn a_rejection_coalesces_and_is_retried_for_a_newer_notice_and_every_five_minutes() {
        let mut delivery = DeliveryState::default();
        delivery.on_reply(at(1), response(400), DeliveryOutcome::Rejected, secs(0), 0);
        assert_eq!(
            delivery.next_action(1, Some(at(1)), MAX, secs(299)),
            NextAction::WaitUntil(secs(300))
        );
        assert_eq!(delivery.next_action(1, Some(at(1)), MAX, secs(300)), NextAction::Send);
        assert_eq!(delivery.next_action(2, Some(at(2)), MAX, secs(1)), NextAction::Coalesce);
        // After the coalescing one notice is pending, and it is newer than the rejected one.
        assert_eq!(delivery.next_action(1, Some(at(2)), MAX, secs(1)), NextAction::Send);
        delivery.on_reply(at(2), response(400), DeliveryOutcome::Rejected, secs(1), 0);
        assert_eq!(
            delivery.next_action(1, Some(at(2)), MAX, secs(2)),
            NextAction::WaitUntil(secs(301))
        );
        assert_eq!(delivery.last_failure().unwrap().reply, response(400));
    }

    #[test]
    fn nothing_is_sent_to_a_gone_receiver_but_the_outbox_stays_bounded() {
        let mut delivery = DeliveryState::default();
        delivery.on_reply(at(1), response(410), DeliveryOutcome::Gone, secs(0), 0);
        let mut other = DeliveryState::default();
        other.set_stopped(true);
        for mut delivery in [delivery, other] {
            assert_eq!(delivery.next_action(5, Some(at(5)), MAX, secs(9999)), NextAction::Stopped);
            assert_eq!(
                delivery.next_action(11, Some(at(11)), MAX, secs(9999)),
                NextAction::Coalesce
            );
            delivery.set_stopped(false);
            assert_eq!(delivery.next_action(5, Some(at(5)), MAX, secs(0)), NextAction::Send);
        }
    }

    #[test]
    fn an_unhandled_notice_is_reported_and_the_next_one_is_sent() {
        let mut delivery = DeliveryState::default();
        delivery.on_reply(at(1), response(404), DeliveryOutcome::NoHandler, secs(0), 0);
        assert_eq!(delivery.next_action(2, Some(at(3)), MAX, secs(0)), NextAction::Send);
        assert_eq!(delivery.last_failure().unwrap().outcome, DeliveryOutcome::NoHandler);
    }

    proptest! {
        #[test]
        fn a_delivery_never_waits_longer_than_its_rules_say(
            rolls in proptest::collection::vec(any::<u64>(), 1..40), retry_after in 0_u64..1000,
        ) {
            let mut delivery = DeliveryState::default();
            for random in rolls {
                let retry_after = Duration::from_secs(retry_after.min(300));
                delivery.on_reply(at(1), response(503), DeliveryOutcome::Retry(retry_after), secs(5), random);
                match delivery.next_action(1, Some(at(1)), MAX, secs(5)) {
                    NextAction::WaitUntil(until) => {
                        prop_assert!(until <= secs(5) + retry_after.max(secs(60)));
                        prop_assert!(until >= secs(5) + retry_after);
                    }
                    NextAction::Send => prop_assert!(retry_after.is_zero()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
