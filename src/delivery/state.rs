//! One store's way to one receiver: which notice is next, and when.

use std::time::Duration;

use super::{Reply, Verdict};
use crate::common::Backoff;
use crate::model::Position;

/// Between tries while the receiver cannot be reached or asks for time.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
/// Between tries of what the receiver refuses.
const REFUSED: Duration = Duration::from_secs(5 * 60);

/// Why a lane does not flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What the last reply was.
    pub reply: Reply,
    /// What it meant.
    pub verdict: Verdict,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing waits.
    Idle,
    /// Send the first notice that waits.
    Send,
    /// Put one notice in the place of all that wait, and ask again.
    Fold,
    /// Ask again at this uptime.
    WaitUntil(Duration),
    /// Nothing, until a person acts.
    Stopped,
}

/// The state of one lane; a value without locks or timers.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    failures: u32,
    not_before: Duration,
    /// The newest position when the receiver refused; a newer one is worth a try at once.
    refused_at: Option<Position>,
    stopped: bool,
    trouble: Option<Trouble>,
}

impl Lane {
    /// A lane whose first try is at this uptime.
    pub fn starting_at(not_before: Duration) -> Self {
        Self { not_before, ..Self::default() }
    }

    /// What to do, when `waiting` notices wait and the newest of them is `newest`. More than
    /// `max_pending` of them fold; so does everything behind a refused one, because what a receiver
    /// refuses is not helped by its history.
    pub fn step(
        &self,
        waiting: u64,
        newest: Option<Position>,
        max_pending: u64,
        uptime: Duration,
    ) -> Step {
        let Some(newest) = newest.filter(|_| waiting > 0) else { return Step::Idle };
        if waiting > 1 && (waiting > max_pending || self.refused_at.is_some()) {
            return Step::Fold;
        }
        if self.stopped {
            return Step::Stopped;
        }
        let news = self.refused_at.is_some_and(|refused| newest > refused);
        if uptime >= self.not_before || news {
            Step::Send
        } else {
            Step::WaitUntil(self.not_before)
        }
    }

    /// Takes note of a reply to a notice; `roll` is random.
    pub fn replied(
        &mut self,
        position: Position,
        reply: Reply,
        verdict: Verdict,
        uptime: Duration,
        roll: u64,
    ) {
        self.refused_at = None;
        match verdict {
            Verdict::Delivered | Verdict::Unhandled => {
                self.failures = 0;
                self.not_before = Duration::ZERO;
            }
            Verdict::Again(at_least) => {
                self.failures = self.failures.saturating_add(1);
                let wait = BACKOFF.wait(self.failures, roll).max(at_least);
                self.not_before = uptime.saturating_add(wait);
            }
            Verdict::Refused => {
                self.failures = 0;
                self.refused_at = Some(position);
                self.not_before = uptime.saturating_add(REFUSED);
            }
            Verdict::Gone => self.stopped = true,
        }
        self.trouble = (verdict != Verdict::Delivered).then_some(Trouble { reply, verdict });
    }

    /// Whether anything is sent at all: not while every receiver has said that it is gone.
    pub fn set_stopped(&mut self, stopped: bool) {
        if self.stopped && !stopped {
            self.not_before = Duration::ZERO;
        }
        self.stopped = stopped;
    }

    /// What waits for its time does so no longer, but for what the receiver refuses: that only waits
    /// for news or for a person.
    pub fn make_due(&mut self) {
        if self.refused_at.is_none() {
            self.not_before = Duration::ZERO;
        }
    }

    /// What the last reply was, if it was no plain yes.
    pub fn trouble(&self) -> Option<&Trouble> {
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

    fn told(status: u16) -> Reply {
        Reply::Answered { status, retry_after: None, told: String::new() }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_undisturbed_lane_sends_whatever_waits() {
        let lane = Lane::starting_at(secs(2));
        assert_eq!(lane.step(0, None, MAX, secs(9)), Step::Idle);
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(1)), Step::WaitUntil(secs(2)));
        assert_eq!(lane.step(3, Some(at(3)), MAX, secs(2)), Step::Send);
        assert_eq!(lane.step(11, Some(at(11)), MAX, secs(2)), Step::Fold);
    }

    #[test]
    fn an_outage_waits_and_a_yes_ends_it() {
        let mut lane = Lane::default();
        lane.replied(at(1), told(500), Verdict::Again(secs(30)), secs(10), 0);
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(39)), Step::WaitUntil(secs(40)));
        assert_eq!(lane.step(2, Some(at(2)), MAX, secs(39)), Step::WaitUntil(secs(40)));
        assert_eq!(lane.step(2, Some(at(2)), MAX, secs(40)), Step::Send);
        lane.replied(at(1), told(200), Verdict::Delivered, secs(40), 0);
        assert_eq!(lane.step(1, Some(at(2)), MAX, secs(40)), Step::Send);
        assert_eq!(lane.trouble(), None);
    }

    #[test]
    fn after_a_long_outage_thousands_of_lanes_return_over_a_minute_and_not_in_one_second() {
        let rolls = (1..=5_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut by_second = [0; 61];
        for roll in rolls {
            let mut lane = Lane::default();
            for _ in 0..20 {
                lane.replied(at(1), told(500), Verdict::Again(Duration::ZERO), secs(0), roll);
            }
            let Step::WaitUntil(due) = lane.step(1, Some(at(1)), MAX, secs(0)) else { continue };
            by_second[usize::try_from(due.as_secs()).unwrap()] += 1;
        }
        let most = by_second.iter().max().unwrap();
        // An even spread has 83 in each.
        assert!((83..130).contains(most), "{by_second:?}");
    }

    #[test]
    fn what_waits_can_be_made_due_but_not_what_is_refused_or_gone() {
        let mut lane = Lane::starting_at(secs(2));
        lane.make_due();
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(1)), Step::Send);
        lane.replied(at(1), told(500), Verdict::Again(secs(30)), secs(1), 0);
        lane.make_due();
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(1)), Step::Send);
        lane.replied(at(1), told(400), Verdict::Refused, secs(1), 0);
        lane.make_due();
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(1)), Step::WaitUntil(secs(301)));
        lane.replied(at(1), told(410), Verdict::Gone, secs(1), 0);
        lane.make_due();
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(1)), Step::Stopped);
    }

    #[test]
    fn a_refusal_folds_what_waits_and_is_tried_again_on_news_and_every_five_minutes() {
        let mut lane = Lane::default();
        lane.replied(at(1), told(400), Verdict::Refused, secs(0), 0);
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(299)), Step::WaitUntil(secs(300)));
        assert_eq!(lane.step(1, Some(at(1)), MAX, secs(300)), Step::Send);
        assert_eq!(lane.step(2, Some(at(2)), MAX, secs(1)), Step::Fold);
        // After the fold one waits, and it is news.
        assert_eq!(lane.step(1, Some(at(2)), MAX, secs(1)), Step::Send);
        lane.replied(at(2), told(400), Verdict::Refused, secs(1), 0);
        assert_eq!(lane.step(1, Some(at(2)), MAX, secs(2)), Step::WaitUntil(secs(301)));
        assert_eq!(lane.trouble().unwrap().reply, told(400));
    }

    #[test]
    fn a_receiver_that_is_gone_is_left_alone_but_its_lane_stays_bounded() {
        let mut lane = Lane::default();
        lane.replied(at(1), told(410), Verdict::Gone, secs(0), 0);
        let mut other = Lane::default();
        other.set_stopped(true);
        for mut lane in [lane, other] {
            assert_eq!(lane.step(5, Some(at(5)), MAX, secs(9999)), Step::Stopped);
            assert_eq!(lane.step(11, Some(at(11)), MAX, secs(9999)), Step::Fold);
            lane.set_stopped(false);
            assert_eq!(lane.step(5, Some(at(5)), MAX, secs(0)), Step::Send);
        }
    }

    #[test]
    fn a_notice_nobody_handles_is_shown_and_the_next_one_goes() {
        let mut lane = Lane::default();
        lane.replied(at(1), told(404), Verdict::Unhandled, secs(0), 0);
        assert_eq!(lane.step(2, Some(at(3)), MAX, secs(0)), Step::Send);
        assert_eq!(lane.trouble().unwrap().verdict, Verdict::Unhandled);
    }

    proptest! {
        #[test]
        fn a_lane_never_waits_longer_than_its_rules_say(
            rolls in proptest::collection::vec(any::<u64>(), 1..40), asked in 0_u64..1000,
        ) {
            let mut lane = Lane::default();
            for roll in rolls {
                let asked = Duration::from_secs(asked.min(300));
                lane.replied(at(1), told(503), Verdict::Again(asked), secs(5), roll);
                match lane.step(1, Some(at(1)), MAX, secs(5)) {
                    Step::WaitUntil(until) => {
                        prop_assert!(until <= secs(5) + asked.max(secs(60)));
                        prop_assert!(until >= secs(5) + asked);
                    }
                    Step::Send => prop_assert!(asked.is_zero()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
