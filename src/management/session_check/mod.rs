//! Sessions of the management node: the daemon asks whether they are valid, and remembers the
//! answers for a short time.
//!
//! # Guarantees
//! - The management node has at most [`MAX_QUESTIONS`] questions at once, and one about a session.
//! - Sessions that nothing is known about leave two of these places free, and one source of them
//!   has at most two.
//! - A check ends within the time for a place and for a question.
//!
//! # Never
//! - It never keeps or shows a session. It is known by its SHA-256.
//! - It never takes a session for valid without an answer that says so.

mod answers;
mod client;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hyper::header::HeaderValue;
use ring::digest::{SHA256, digest};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::caller_share::CallerShares;
use super::http_client::RequestTimeouts;
use crate::common::{Random, lock_unpoisoned};
use crate::model::{Fault, Reason};
use answers::{SessionAnswers, SessionDigest};
use client::QuestionFailure;

pub use answers::SessionKnowledge;
pub use client::SessionCheckClient;

/// Maximum number of concurrent questions. A management node answers one within milliseconds.
const MAX_QUESTIONS: usize = 8;
/// Maximum number of them about sessions that were not valid before. The other places stay free for
/// sessions that are in use.
const MAX_UNKNOWN_QUESTIONS: usize = 6;
/// Maximum number of these for one source, so that a flood from one source leaves places to others.
const MAX_SOURCE_QUESTIONS: usize = 2;
/// Length of a session of ZStack: a UUID without dashes.
const SESSION_LENGTH: usize = 32;
/// Number of bytes of the SHA-256 in the name of a caller.
const NAME_BYTES: usize = 4;
/// Minimum interval between two log lines about failures.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Status with which the daemon answers its own question.
const MISDIRECTED_STATUS: u16 = 421;

/// The times of the checks. The daemon uses the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCheckTimes {
    /// Time for which a valid answer counts. A revoked session is refused after it at the latest.
    pub valid_for: Duration,
    /// Time for which a refusal counts.
    pub refused_for: Duration,
    /// Maximum wait for a place.
    pub place_wait: Duration,
    /// Maximum duration of the TCP connect of a question.
    pub connect: Duration,
    /// Maximum duration of a question.
    pub question: Duration,
}

impl Default for SessionCheckTimes {
    /// A check takes at most 4 s. ZStack's Java SDK waits for a response for 10 s.
    fn default() -> Self {
        Self {
            valid_for: Duration::from_secs(30),
            refused_for: Duration::from_secs(5),
            place_wait: Duration::from_secs(1),
            connect: Duration::from_secs(2),
            question: Duration::from_secs(3),
        }
    }
}

impl SessionCheckTimes {
    /// Returns the timeouts of the client.
    pub fn request_timeouts(&self) -> RequestTimeouts {
        RequestTimeouts { connect: self.connect, total: self.question }
    }
}

/// A text that may be a session of the management node.
#[derive(Clone, Copy)]
pub struct CandidateSession<'a> {
    text: &'a str,
    digest: SessionDigest,
}

impl<'a> CandidateSession<'a> {
    /// Returns the session, or `None` if the text is not 32 lower-case hexadecimal digits.
    pub fn parse(text: &'a str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_session = text.len() == SESSION_LENGTH && text.bytes().all(is_digit);
        let digest = digest(&SHA256, text.as_bytes()).as_ref().try_into().ok()?;
        is_session.then_some(Self { text, digest })
    }

    /// Returns a name that tells sessions apart and does not reveal them.
    pub fn name(&self) -> String {
        let short = self.digest.get(..NAME_BYTES).unwrap_or_default();
        format!("management session {}", HEXLOWER.encode(short))
    }
}

impl fmt::Debug for CandidateSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CandidateSession({})", self.name())
    }
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub enum SessionAnswer {
    /// The session is valid.
    Valid,
    /// The session is not valid.
    Refused,
    /// There is no answer, for this reason.
    Unanswered(Fault),
}

/// Checks sessions of the management node.
pub struct SessionChecker {
    client: SessionCheckClient,
    times: SessionCheckTimes,
    /// A random number that identifies the daemon in its questions.
    daemon: HeaderValue,
    /// True once a question has come back to the daemon.
    leads_back: AtomicBool,
    places: QuestionPlaces,
    state: Mutex<CheckerState>,
}

struct CheckerState {
    answers: SessionAnswers,
    /// The running questions. Each of their callers holds one reference.
    questions: HashMap<SessionDigest, Weak<OnceCell<SessionAnswer>>>,
    failures: FailureLog,
}

impl SessionChecker {
    /// Creates the checker of a client.
    pub fn new(client: SessionCheckClient, random: &dyn Random, times: SessionCheckTimes) -> Self {
        let number = HEXLOWER.encode(&random.bytes16());
        let daemon = HeaderValue::try_from(number);
        Self {
            client,
            times,
            daemon: daemon.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            leads_back: AtomicBool::new(false),
            places: QuestionPlaces::new(),
            state: Mutex::new(CheckerState {
                answers: SessionAnswers::new(times.valid_for, times.refused_for),
                questions: HashMap::new(),
                failures: FailureLog::default(),
            }),
        }
    }

    /// Returns true if a request with this value of [`crate::wire::headers::SESSION_QUESTION`] is a
    /// question of this daemon, and remembers that the URL leads back.
    pub fn is_own_question(&self, value: &HeaderValue) -> bool {
        let is_own = *value == self.daemon;
        if is_own {
            self.leads_back.store(true, Ordering::Relaxed);
        }
        is_own
    }

    /// Returns the knowledge about a session without a question.
    pub fn find_answer(&self, session: &CandidateSession<'_>) -> SessionKnowledge {
        let state = lock_unpoisoned(&self.state);
        match state.answers.find(&session.digest, Instant::now()) {
            SessionKnowledge::Unknown if state.questions.contains_key(&session.digest) => {
                SessionKnowledge::Asked
            }
            knowledge => knowledge,
        }
    }

    /// Asks whether a session is valid, or waits for the answer to a question that is running.
    /// `source` is the network of the caller.
    ///
    /// # Cancel safety
    /// Cancel safe. Another caller that waits for the answer asks again.
    pub async fn ask(
        &self,
        session: &CandidateSession<'_>,
        source: Option<IpAddr>,
    ) -> SessionAnswer {
        let question = match self.join_question(session.digest) {
            Ok(question) => question,
            Err(answer) => return answer,
        };
        question.cell.get_or_init(|| self.ask_once(session, source)).await.clone()
    }

    /// Returns the running question about a session or a new one, or the answer if a question has
    /// ended in the meantime.
    fn join_question(&self, session: SessionDigest) -> Result<JoinedQuestion<'_>, SessionAnswer> {
        let mut state = lock_unpoisoned(&self.state);
        match state.answers.find(&session, Instant::now()) {
            SessionKnowledge::Valid => return Err(SessionAnswer::Valid),
            SessionKnowledge::Refused => return Err(SessionAnswer::Refused),
            SessionKnowledge::Outdated | SessionKnowledge::Asked | SessionKnowledge::Unknown => {}
        }
        let running = state.questions.get(&session).and_then(Weak::upgrade);
        let cell = running.unwrap_or_else(|| {
            let cell = Arc::new(OnceCell::new());
            state.questions.insert(session, Arc::downgrade(&cell));
            cell
        });
        Ok(JoinedQuestion { checker: self, session, cell })
    }

    async fn ask_once(
        &self,
        session: &CandidateSession<'_>,
        source: Option<IpAddr>,
    ) -> SessionAnswer {
        let is_outdated = self.find_answer(session) == SessionKnowledge::Outdated;
        let places = self.places.acquire(is_outdated, source);
        let Ok(_places) = timeout(self.times.place_wait, places).await else {
            let details = "too many sessions wait for an answer of the management node";
            return SessionAnswer::Unanswered(Fault::new(Reason::AgentBusy, details));
        };
        let asked = Instant::now();
        let answer = self.client.ask_validity(session.text, &self.daemon).await;
        self.record_answer(session.digest, answer, asked)
    }

    fn record_answer(
        &self,
        session: SessionDigest,
        answer: Result<bool, QuestionFailure>,
        asked: Instant,
    ) -> SessionAnswer {
        let mut state = lock_unpoisoned(&self.state);
        match answer {
            Ok(is_valid) => {
                state.answers.record(session, is_valid, asked);
                if state.failures.has_recovered() {
                    info!(host = self.client.host(), "session check recovered");
                }
                if is_valid { SessionAnswer::Valid } else { SessionAnswer::Refused }
            }
            Err(failure) => {
                let failure = self.explain(failure);
                if state.failures.is_reported(Instant::now()) {
                    let cause = failure.to_string();
                    warn!(host = self.client.host(), cause, "session check failed");
                }
                SessionAnswer::Unanswered(failure.to_fault(asked.elapsed()))
            }
        }
    }

    /// Replaces the failure of a question that this daemon itself has rejected.
    fn explain(&self, failure: QuestionFailure) -> QuestionFailure {
        let is_misdirected = failure == QuestionFailure::Status(MISDIRECTED_STATUS);
        if is_misdirected && self.leads_back.load(Ordering::Relaxed) {
            return QuestionFailure::OwnAddress;
        }
        failure
    }
}

/// Decides which failures are logged: the first one, and at most one a minute.
#[derive(Debug, Default)]
struct FailureLog {
    /// True if the newest question failed and this was logged.
    is_failing: bool,
    last_report: Option<Instant>,
}

impl FailureLog {
    /// Returns true if this failure is to be logged.
    fn is_reported(&mut self, now: Instant) -> bool {
        let is_recent = self.last_report.is_some_and(|last| now - last < FAILURE_LOG_INTERVAL);
        if self.is_failing || is_recent {
            return false;
        }
        (self.is_failing, self.last_report) = (true, Some(now));
        true
    }

    /// Returns true if this success ends a failure that was logged.
    fn has_recovered(&mut self) -> bool {
        std::mem::take(&mut self.is_failing)
    }
}

/// The reference of one caller to a running question. The last one removes the question.
struct JoinedQuestion<'a> {
    checker: &'a SessionChecker,
    session: SessionDigest,
    cell: Arc<OnceCell<SessionAnswer>>,
}

impl Drop for JoinedQuestion<'_> {
    fn drop(&mut self) {
        let mut state = lock_unpoisoned(&self.checker.state);
        // A new caller takes its reference under the same lock.
        if Arc::strong_count(&self.cell) == 1 {
            state.questions.remove(&self.session);
        }
    }
}

/// The places of the questions.
struct QuestionPlaces {
    all: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
    sources: CallerShares,
}

/// The permits of one question.
struct QuestionPermits {
    _all: OwnedSemaphorePermit,
    _unknown: Option<OwnedSemaphorePermit>,
    _source: Option<OwnedSemaphorePermit>,
}

impl QuestionPlaces {
    fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            unknown: Arc::new(Semaphore::new(MAX_UNKNOWN_QUESTIONS)),
            sources: CallerShares::new(MAX_SOURCE_QUESTIONS),
        }
    }

    /// Waits for a place. A session that was valid before needs only one of all places. Another one
    /// takes that of its source first, so that a source never waits with a place that others need.
    async fn acquire(&self, was_valid: bool, source: Option<IpAddr>) -> Option<QuestionPermits> {
        let (mut own, mut unknown) = (None, None);
        if !was_valid {
            own = Some(self.sources.semaphore(source).acquire_owned().await.ok()?);
            unknown = Some(Arc::clone(&self.unknown).acquire_owned().await.ok()?);
        }
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(QuestionPermits { _all: all, _unknown: unknown, _source: own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_32_hexadecimal_digits_and_its_name_does_not_show_it() {
        let text = "0123456789abcdef0123456789abcdef";
        let session = CandidateSession::parse(text).unwrap();
        // printf %s 0123456789abcdef0123456789abcdef | sha256sum | cut -c1-8
        assert_eq!(session.name(), "management session 3eb1bd43");
        assert!(!format!("{session:?}").contains("0123"));
        for other in [
            "",
            "null",
            &text[1..],
            &format!("{text}0"),
            &text.replace('0', "g"),
            &text.to_uppercase(),
        ] {
            assert!(CandidateSession::parse(other).is_none(), "{other}");
        }
        assert!(CandidateSession::parse("0123456789abcdef0123456789abcde\u{e9}").is_none());
    }

    #[tokio::test]
    async fn a_flood_of_one_source_and_of_all_leaves_places() {
        let places = QuestionPlaces::new();
        let source = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
        let now = Duration::ZERO;
        let mut held = Vec::new();
        for n in [1, 1, 2, 2, 3, 3] {
            held.push(timeout(now, places.acquire(false, source(n))).await.unwrap());
        }
        for n in [1, 4] {
            let waits = timeout(now, places.acquire(false, source(n))).await;
            assert!(waits.is_err(), "{n}");
        }
        for _ in 0..2 {
            held.push(timeout(now, places.acquire(true, source(1))).await.unwrap());
        }
        assert!(timeout(now, places.acquire(true, source(1))).await.is_err());
        held.clear();
        assert!(timeout(now, places.acquire(false, source(4))).await.is_ok());
        assert_eq!(places.all.available_permits(), MAX_QUESTIONS);
    }
}
