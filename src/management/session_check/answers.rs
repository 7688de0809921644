//! The answers of the management node about sessions, and how long each one counts.
//!
//! # Guarantees
//! - A session counts as valid only if the newest answer about it said so, within its time.
//! - The number of sessions is bounded, and refused sessions displace no valid ones.
//!
//! # Never
//! - It never keeps a session, only its SHA-256.
//! - It never reads a clock: callers pass the time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ring::digest::SHA256_OUTPUT_LEN;
use tokio::time::Instant;

/// Maximum number of sessions of each kind, valid and refused. A cloud has some hundreds of open
/// sessions. A session takes about 150 bytes.
const MAX_SESSIONS: usize = 1024;
/// Time for which a session is remembered after its newest valid answer. A session that is used
/// more seldom is checked like a new one.
const MEMORY: Duration = Duration::from_secs(600);

/// The SHA-256 of a session.
pub(super) type SessionDigest = [u8; SHA256_OUTPUT_LEN];

/// The knowledge about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKnowledge {
    /// The session is valid: the answer is new enough.
    Valid,
    /// The session is not valid: the answer is new enough.
    Refused,
    /// The session was valid by its newest answer, which is too old to count.
    Outdated,
    /// Nothing is known about the session yet, and a question about it is running.
    Asked,
    /// Nothing is known about the session.
    Unknown,
}

/// The answers about all sessions.
#[derive(Debug)]
pub(super) struct SessionAnswers {
    valid: AnswerTimes,
    refused: AnswerTimes,
    /// Time for which a valid answer counts.
    valid_for: Duration,
}

impl SessionAnswers {
    /// Creates an empty table. An answer counts for these times.
    pub(super) fn new(valid_for: Duration, refused_for: Duration) -> Self {
        Self {
            valid: AnswerTimes::new(MEMORY.max(valid_for)),
            refused: AnswerTimes::new(refused_for),
            valid_for,
        }
    }

    /// Returns the knowledge about a session.
    pub(super) fn find(&self, session: &SessionDigest, now: Instant) -> SessionKnowledge {
        if let Some(age) = self.valid.age(session, now) {
            let is_new = age < self.valid_for;
            return if is_new { SessionKnowledge::Valid } else { SessionKnowledge::Outdated };
        }
        match self.refused.age(session, now) {
            Some(_) => SessionKnowledge::Refused,
            None => SessionKnowledge::Unknown,
        }
    }

    /// Records the answer to a question that was asked at `asked`. The management node has decided
    /// after that time, so that the answer never counts for longer than it should.
    pub(super) fn record(&mut self, session: SessionDigest, is_valid: bool, asked: Instant) {
        let (list, other) = if is_valid {
            (&mut self.valid, &mut self.refused)
        } else {
            (&mut self.refused, &mut self.valid)
        };
        other.times.remove(&session);
        list.insert(session, asked);
    }
}

/// Sessions and the time of their newest answer of one kind.
#[derive(Debug)]
struct AnswerTimes {
    times: HashMap<SessionDigest, Instant>,
    /// The insertions in order. One that a newer insertion or a removal has superseded has another
    /// time in `times`, or none.
    order: VecDeque<(Instant, SessionDigest)>,
    /// Time for which an entry is kept.
    kept_for: Duration,
}

impl AnswerTimes {
    fn new(kept_for: Duration) -> Self {
        Self { times: HashMap::new(), order: VecDeque::new(), kept_for }
    }

    /// Returns the age of an entry, or `None` if there is none or if its time is over.
    fn age(&self, session: &SessionDigest, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(*self.times.get(session)?);
        (age < self.kept_for).then_some(age)
    }

    /// Inserts or replaces an entry. Removes the entries whose time is over and, beyond
    /// [`MAX_SESSIONS`], the oldest ones.
    fn insert(&mut self, session: SessionDigest, at: Instant) {
        self.times.insert(session, at);
        self.order.push_back((at, session));
        while let Some((oldest, session)) = self.order.front()
            && (self.times.len() > MAX_SESSIONS
                || at.saturating_duration_since(*oldest) >= self.kept_for)
        {
            if self.times.get(session) == Some(oldest) {
                self.times.remove(session);
            }
            self.order.pop_front();
        }
        // Each insertion adds one, so that the cost of this is constant for each of them.
        if self.order.len() > 2 * MAX_SESSIONS {
            self.order.retain(|(at, session)| self.times.get(session) == Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID_FOR: Duration = Duration::from_secs(30);
    const REFUSED_FOR: Duration = Duration::from_secs(5);

    fn session(n: u16) -> SessionDigest {
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest[..2].copy_from_slice(&n.to_be_bytes());
        digest
    }

    #[test]
    fn each_answer_counts_for_its_time_from_the_question_on() {
        use SessionKnowledge::{Outdated, Refused, Unknown, Valid};
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut answers = SessionAnswers::new(VALID_FOR, REFUSED_FOR);
        assert_eq!(answers.find(&session(1), start), Unknown);
        answers.record(session(1), true, start);
        answers.record(session(2), false, start);
        for (at, first, second) in [
            (0, Valid, Refused),
            (4_999, Valid, Refused),
            (5_000, Valid, Unknown),
            (29_999, Valid, Unknown),
            (30_000, Outdated, Unknown),
            (599_999, Outdated, Unknown),
            (600_000, Unknown, Unknown),
        ] {
            assert_eq!(answers.find(&session(1), ms(at)), first, "{at}");
            assert_eq!(answers.find(&session(2), ms(at)), second, "{at}");
        }
        answers.record(session(1), false, ms(1));
        assert_eq!(answers.find(&session(1), ms(2)), Refused, "a revoked session");
        answers.record(session(1), true, ms(3));
        assert_eq!(answers.find(&session(1), ms(4)), Valid);
    }

    #[test]
    fn refused_sessions_displace_no_valid_ones() {
        let mut answers = SessionAnswers::new(VALID_FOR, REFUSED_FOR);
        let start = Instant::now();
        answers.record(session(0), true, start);
        (1..5000).for_each(|n| answers.record(session(n), false, start));
        assert_eq!(answers.find(&session(0), start), SessionKnowledge::Valid);
        assert_eq!(answers.find(&session(4999), start), SessionKnowledge::Refused);
        assert_eq!(answers.refused.times.len(), MAX_SESSIONS);
        (1..5000).for_each(|n| answers.record(session(n), true, start));
        assert_eq!(answers.find(&session(0), start), SessionKnowledge::Unknown, "the oldest");
        assert_eq!((answers.valid.times.len(), answers.refused.times.len()), (MAX_SESSIONS, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// While there is room, the knowledge follows from the newest answer and its age alone.
        #[test]
        fn the_newest_answer_decides(
            steps in prop::collection::vec((0_u16..40, any::<bool>(), 0_u64..20_000), 0..400),
        ) {
            let mut answers = SessionAnswers::new(VALID_FOR, REFUSED_FOR);
            let mut newest = HashMap::new();
            let mut now = Instant::now();
            for (n, is_valid, pause) in steps {
                answers.record(session(n), is_valid, now);
                newest.insert(n, (is_valid, now));
                now += Duration::from_millis(pause);
                for n in 0..40 {
                    let expected = match newest.get(&n) {
                        Some((true, at)) if now - *at < VALID_FOR => SessionKnowledge::Valid,
                        Some((true, at)) if now - *at < MEMORY => SessionKnowledge::Outdated,
                        Some((false, at)) if now - *at < REFUSED_FOR => SessionKnowledge::Refused,
                        _ => SessionKnowledge::Unknown,
                    };
                    prop_assert_eq!(answers.find(&session(n), now), expected);
                }
            }
        }

        /// Neither a flood nor many repetitions make the table grow, and a session is never valid
        /// by an answer that is too old.
        #[test]
        fn the_table_stays_bounded(
            steps in prop::collection::vec((0_u16..6000, any::<bool>(), 0_u64..100), 0..9000),
        ) {
            let mut answers = SessionAnswers::new(VALID_FOR, REFUSED_FOR);
            let mut newest = HashMap::new();
            let mut now = Instant::now();
            for (n, is_valid, pause) in steps {
                answers.record(session(n), is_valid, now);
                newest.insert(n, (is_valid, now));
                now += Duration::from_millis(pause);
                let other = session(n / 2);
                if answers.find(&other, now) == SessionKnowledge::Valid {
                    let (is_valid, at) = newest[&(n / 2)];
                    prop_assert!(is_valid && now - at < VALID_FOR);
                }
                for list in [&answers.valid, &answers.refused] {
                    prop_assert!(list.times.len() <= MAX_SESSIONS);
                    prop_assert!(list.order.len() <= 2 * MAX_SESSIONS);
                }
            }
        }
    }
}
