//! The delivery state of one store: which notice is sent next, and when.

use std::time::Duration;

use super::{DeliveryOutcome, ReceiverReply};
use crate::common::Backoff;
use crate::model::Position;

/// Backoff between retries if the receiver cannot be reached or asks for a delay. The limit of the
/// random delay grows from 200 ms to 60 s.
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
/// Delay between retries of a notice that the receiver rejects. Only news or an operator helps, so
/// that 5 min are frequent enough.
const REJECTED_RETRY_DELAY: Duration = Duration::from_secs(5 * 60);

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
    refused_at: Option<Position>,
    stopped: bool,
    trouble: Option<LastFailure>,
}

impl DeliveryState {
    /// Creates a state whose first request is due at this uptime.
    pub fn starting_at(not_before: Duration) -> Self {
        Self { not_before, ..Self::default() }
    }

    /// Returns the next action. `waiting` notices are pending, and the newest of them is `newest`.
    ///
    /// The notices are coalesced if more than `max_pending` are pending. They are also coalesced
    /// behind a rejected notice, because the older states do not help a receiver that rejects one.
    pub fn next_action(
        &self,
        waiting: u64,
        newest: Option<Position>,
        max_pending: u64,
        uptime: Duration,
    ) -> NextAction {
        let Some(newest) = newest.filter(|_| waiting > 0) else { return NextAction::Idle };
        if waiting > 1 && (waiting > max_pending || self.refused_at.is_some()) {
            return NextAction::Coalesce;
        }
        if self.stopped {
            return NextAction::Stopped;
        }
        let news = self.refused_at.is_some_and(|refused| newest > refused);
        if uptime >= self.not_before || news {
            NextAction::Send
        } else {
            NextAction::WaitUntil(self.not_before)
        }
    }

    /// Records the reply to a notice. `roll` is a random number.
    pub fn on_reply(
        &mut self,
        position: Position,
        reply: ReceiverReply,
        outcome: DeliveryOutcome,
        uptime: Duration,
        roll: u64,
    ) {
        self.refused_at = None;
        match outcome {
            DeliveryOutcome::Delivered | DeliveryOutcome::NoHandler => {
                self.failures = 0;
                self.not_before = Duration::ZERO;
            }
            DeliveryOutcome::Retry(at_least) => {
                self.failures = self.failures.saturating_add(1);
                let wait = RETRY_BACKOFF.delay(self.failures, roll).max(at_least);
                self.not_before = uptime.saturating_add(wait);
            }
            DeliveryOutcome::Rejected => {
                self.failures = 0;
                self.refused_at = Some(position);
                self.not_before = uptime.saturating_add(REJECTED_RETRY_DELAY);
            }
            DeliveryOutcome::Gone => self.stopped = true,
        }
        self.trouble =
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
        if self.refused_at.is_none() {
            self.not_before = Duration::ZERO;
        }
    }

    /// Returns the last failure, or `None` if the last reply was a plain success.
    pub fn last_failure(&self) -> Option<&LastFailure> {
        self.trouble.as_ref()
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

    fn excerpt(status: u16) -> ReceiverReply {
        ReceiverReply::Response { status, retry_after: None, excerpt: String::new() }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_undisturbed_lane_sends_whatever_waits() {
        let lane = DeliveryState::starting_at(secs(2));
        assert_eq!(lane.next_action(0, None, MAX, secs(9)), NextAction::Idle);
        assert_eq!(lane.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::WaitUntil(secs(2)));
        assert_eq!(lane.next_action(3, Some(at(3)), MAX, secs(2)), NextAction::Send);
        assert_eq!(lane.next_action(11, Some(at(11)), MAX, secs(2)), NextAction::Coalesce);
    }

    #[test]
    fn an_outage_waits_and_a_yes_ends_it() {
        let mut lane = DeliveryState::default();
        lane.on_reply(at(1), excerpt(500), DeliveryOutcome::Retry(secs(30)), secs(10), 0);
        assert_eq!(
            lane.next_action(1, Some(at(1)), MAX, secs(39)),
            NextAction::WaitUntil(secs(40))
        );
        assert_eq!(
            lane.next_action(2, Some(at(2)), MAX, secs(39)),
            NextAction::WaitUntil(secs(40))
        );
        assert_eq!(lane.next_action(2, Some(at(2)), MAX, secs(40)), NextAction::Send);
        lane.on_reply(at(1), excerpt(200), DeliveryOutcome::Delivered, secs(40), 0);
        assert_eq!(lane.next_action(1, Some(at(2)), MAX, secs(40)), NextAction::Send);
        assert_eq!(lane.last_failure(), None);
    }

    #[test]
    fn after_a_long_outage_thousands_of_lanes_return_over_a_minute_and_not_in_one_second() {
        let rolls = (1..=5_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut by_second = [0; 61];
        for roll in rolls {
            let mut lane = DeliveryState::default();
            for _ in 0..20 {
                lane.on_reply(
                    at(1),
                    excerpt(500),
                    DeliveryOutcome::Retry(Duration::ZERO),
                    secs(0),
                    roll,
                );
            }
            let NextAction::WaitUntil(due) = lane.next_action(1, Some(at(1)), MAX, secs(0)) else {
                continue;
            };
            by_second[usize::try_from(due.as_secs()).unwrap()] += 1;
        }
        let most = by_second.iter().max().unwrap();
        // An even spread has 83 in each.
        assert!((83..130).contains(most), "{by_second:?}");
    }

    #[test]
    fn what_waits_can_be_made_due_but_not_what_is_refused_or_gone() {
        let mut lane = DeliveryState::starting_at(secs(2));
        lane.make_due();
        assert_eq!(lane.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::Send);
        lane.on_reply(at(1), excerpt(500), DeliveryOutcome::Retry(secs(30)), secs(1), 0);
        lane.make_due();
        assert_eq!(lane.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::Send);
        lane.on_reply(at(1), excerpt(400), DeliveryOutcome::Rejected, secs(1), 0);
        lane.make_due();
        assert_eq!(
            lane.next_action(1, Some(at(1)), MAX, secs(1)),
            NextAction::WaitUntil(secs(301))
        );
        lane.on_reply(at(1), excerpt(410), DeliveryOutcome::Gone, secs(1), 0);
        lane.make_due();
        assert_eq!(lane.next_action(1, Some(at(1)), MAX, secs(1)), NextAction::Stopped);
    }

    #[test]
    fn a_refusal_folds_what_waits_and_is_tried_again_on_news_and_every_five_minutes() {
        let mut lane = DeliveryState::default();
        lane.on_reply(at(1), excerpt(400), DeliveryOutcome::Rejected, secs(0), 0);
        assert_eq!(
            lane.next_action(1, Some(at(1)), MAX, secs(299)),
            NextAction::WaitUntil(secs(300))
        );
        assert_eq!(lane.next_action(1, Some(at(1)), MAX, secs(300)), NextAction::Send);
        assert_eq!(lane.next_action(2, Some(at(2)), MAX, secs(1)), NextAction::Coalesce);
        // After the fold one waits, and it is news.
        assert_eq!(lane.next_action(1, Some(at(2)), MAX, secs(1)), NextAction::Send);
        lane.on_reply(at(2), excerpt(400), DeliveryOutcome::Rejected, secs(1), 0);
        assert_eq!(
            lane.next_action(1, Some(at(2)), MAX, secs(2)),
            NextAction::WaitUntil(secs(301))
        );
        assert_eq!(lane.last_failure().unwrap().reply, excerpt(400));
    }

    #[test]
    fn a_receiver_that_is_gone_is_left_alone_but_its_lane_stays_bounded() {
        let mut lane = DeliveryState::default();
        lane.on_reply(at(1), excerpt(410), DeliveryOutcome::Gone, secs(0), 0);
        let mut other = DeliveryState::default();
        other.set_stopped(true);
        for mut lane in [lane, other] {
            assert_eq!(lane.next_action(5, Some(at(5)), MAX, secs(9999)), NextAction::Stopped);
            assert_eq!(lane.next_action(11, Some(at(11)), MAX, secs(9999)), NextAction::Coalesce);
            lane.set_stopped(false);
            assert_eq!(lane.next_action(5, Some(at(5)), MAX, secs(0)), NextAction::Send);
        }
    }

    #[test]
    fn a_notice_nobody_handles_is_shown_and_the_next_one_goes() {
        let mut lane = DeliveryState::default();
        lane.on_reply(at(1), excerpt(404), DeliveryOutcome::NoHandler, secs(0), 0);
        assert_eq!(lane.next_action(2, Some(at(3)), MAX, secs(0)), NextAction::Send);
        assert_eq!(lane.last_failure().unwrap().outcome, DeliveryOutcome::NoHandler);
    }

    proptest! {
        #[test]
        fn a_lane_never_waits_longer_than_its_rules_say(
            rolls in proptest::collection::vec(any::<u64>(), 1..40), asked in 0_u64..1000,
        ) {
            let mut lane = DeliveryState::default();
            for roll in rolls {
                let asked = Duration::from_secs(asked.min(300));
                lane.on_reply(at(1), excerpt(503), DeliveryOutcome::Retry(asked), secs(5), roll);
                match lane.next_action(1, Some(at(1)), MAX, secs(5)) {
                    NextAction::WaitUntil(until) => {
                        prop_assert!(until <= secs(5) + asked.max(secs(60)));
                        prop_assert!(until >= secs(5) + asked);
                    }
                    NextAction::Send => prop_assert!(asked.is_zero()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
