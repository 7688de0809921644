//! Fixed-window counters per source address. Too many unknown tokens are answered with 429, and too
//! many denials are no longer logged one by one at INFO.
//!
//! A token has too many bits to be guessed. The limit protects the log and its readers. A valid
//! token is therefore always accepted, also from an address that several clients share.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::time::Instant;

use crate::common::lock_unpoisoned;
use crate::http::admission::source::source_network;
use crate::http::error::ApiError;

/// Maximum count of one source within [`RATE_WINDOW`]. Further events are limited.
pub(crate) const MAX_EVENTS_PER_WINDOW: u32 = 20;
/// Length of the window. It begins with the first event of a source.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of sources, or other keys, that are remembered. Further sources are counted as
/// one.
const MAX_SOURCES: usize = 1024;

/// The window of one key: its start and its count.
#[derive(Debug)]
struct EventWindow {
    start: Instant,
    count: u32,
}

impl EventWindow {
    fn new(start: Instant) -> Self {
        Self { start, count: 0 }
    }

    fn end(&self) -> Instant {
        self.start + RATE_WINDOW
    }

    /// Counts one event. A window that has ended begins again.
    fn count_event(&mut self, now: Instant) -> WindowCount {
        if now >= self.end() {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        WindowCount { count: self.count, resets_in: self.end().saturating_duration_since(now) }
    }
}

/// The count of a key within its window, and the remaining time of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowCount {
    pub(crate) count: u32,
    pub(crate) resets_in: Duration,
}

/// The windows of at most [`MAX_SOURCES`] keys. It does not read a clock: callers pass the time.
#[derive(Debug)]
pub(crate) struct WindowTable<K> {
    windows: HashMap<K, EventWindow>,
    /// The time before which no window ends. `None` until the table is full.
    next_end: Option<Instant>,
}

impl<K> Default for WindowTable<K> {
    fn default() -> Self {
        Self { windows: HashMap::new(), next_end: None }
    }
}

impl<K: Eq + Hash> WindowTable<K> {
    /// Counts one event of a key and returns the state of its window. Returns `None` if the table
    /// has no room for the key.
    pub(crate) fn count_key(&mut self, key: K, now: Instant) -> Option<WindowCount> {
        if !self.windows.contains_key(&key) && !self.make_room(now) {
            return None;
        }
        let window = self.windows.entry(key).or_insert_with(|| EventWindow::new(now));
        Some(window.count_event(now))
    }

    /// Removes the window of a key.
    pub(crate) fn forget_key(&mut self, key: &K) {
        self.windows.remove(key);
    }

    /// Removes the windows that have ended, if the table is full. Returns true if there is room for
    /// another key. Until the next window ends, a flood of keys costs no search.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.windows.len() >= MAX_SOURCES && self.next_end.is_none_or(|end| now >= end) {
            self.windows.retain(|_, window| now < window.end());
            self.next_end = self.windows.values().map(EventWindow::end).min();
        }
        self.windows.len() < MAX_SOURCES
    }
}

/// The windows of all sources. It does not read a clock: callers pass the time.
#[derive(Debug, Default)]
pub(crate) struct SourceCounter {
    table: WindowTable<IpAddr>,
    /// The window of all sources that have no window of their own.
    others: Option<EventWindow>,
}

impl SourceCounter {
    /// Counts one event of a source and returns the state of its window. A source beyond the table
    /// shares its window with all others of this kind.
    pub(crate) fn count_source(&mut self, from: IpAddr, now: Instant) -> WindowCount {
        let own = self.table.count_key(source_network(from), now);
        own.unwrap_or_else(|| {
            self.others.get_or_insert_with(|| EventWindow::new(now)).count_event(now)
        })
    }

    /// Takes back one event of a source that was counted a moment ago. If a new window has begun
    /// since then, its count is one too low.
    pub(crate) fn forget_source(&mut self, from: IpAddr) {
        let window = self.table.windows.get_mut(&source_network(from)).or(self.others.as_mut());
        if let Some(window) = window {
            window.count = window.count.saturating_sub(1);
        }
    }
}

/// The source of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestSource {
    /// The client that a trusted proxy has named.
    pub(crate) client: Option<IpAddr>,
    /// The address that the limits count: that of the client or else of the peer. `None` for the
    /// Unix socket, which has no address.
    pub(crate) limited: Option<IpAddr>,
}

impl RequestSource {
    /// Returns the network that the limits count, or `None` if the source has no address.
    pub(crate) fn network(self) -> Option<IpAddr> {
        self.limited.map(source_network)
    }

    /// Counts one event of the source. Returns `None` if it has no address.
    pub(crate) fn count_event(self, counter: &Mutex<SourceCounter>) -> Option<WindowCount> {
        Some(lock_unpoisoned(counter).count_source(self.limited?, Instant::now()))
    }

    /// Counts one event of the source. Returns the remaining time of the window if there were too
    /// many.
    pub(crate) fn count_excess(self, counter: &Mutex<SourceCounter>) -> Option<Duration> {
        let window = self.count_event(counter)?;
        (window.count > MAX_EVENTS_PER_WINDOW).then_some(window.resets_in)
    }

    /// Takes back one event of the source that was counted a moment ago.
    pub(crate) fn forget_event(self, counter: &Mutex<SourceCounter>) {
        if let Some(from) = self.limited {
            lock_unpoisoned(counter).forget_source(from);
        }
    }

    /// Counts an unknown session or token, and returns the error.
    pub(crate) fn record_unknown_session(self, counter: &Mutex<SourceCounter>) -> ApiError {
        self.record_guess(counter, ApiError::UnknownSession)
    }

    /// Counts a credential that may be a guess. Returns `error`, or the error of too many guesses.
    pub(crate) fn record_guess(self, counter: &Mutex<SourceCounter>, error: ApiError) -> ApiError {
        match self.count_excess(counter) {
            Some(resets_in) => ApiError::TooManyAuthFailures { resets_in },
            None => error,
        }
    }

    /// Counts an unknown session that the request only names.
    ///
    /// # Errors
    /// [`ApiError::TooManyAuthFailures`] beyond the limit.
    pub(crate) fn count_named_session(
        self,
        counter: &Mutex<SourceCounter>,
    ) -> Result<(), ApiError> {
        match self.record_unknown_session(counter) {
            ApiError::UnknownSession => Ok(()),
            limited => Err(limited),
        }
    }
}

/// Takes the source that the middleware has added to a request without a session.
impl<S: Sync> FromRequestParts<S> for RequestSource {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn events_of_one_address_are_counted_for_a_minute_from_the_first() {
        let (mut counter, start) = (SourceCounter::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        for n in 0..20 {
            let window = counter.count_source(ip("192.0.2.1"), second(n));
            assert_eq!(window.resets_in, Duration::from_secs(60 - n));
            assert_eq!(u64::from(window.count), n + 1);
        }
        let last = WindowCount { count: 21, resets_in: Duration::from_secs(1) };
        assert_eq!(counter.count_source(ip("::ffff:192.0.2.1"), second(59)), last);
        assert_eq!(counter.count_source(ip("192.0.2.2"), second(59)).count, 1);
        assert_eq!(counter.count_source(ip("192.0.2.1"), second(60)).count, 1);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        let (mut counter, now) = (SourceCounter::default(), Instant::now());
        let last =
            (0..30).map(|n| counter.count_source(ip(&format!("2001:db8::{n:x}")), now)).last();
        assert_eq!(last.unwrap().count, 30);
        assert_eq!(counter.count_source(ip("2001:db8:0:1::1"), now).count, 1);
    }

    #[test]
    fn sources_beyond_the_table_count_as_one_until_there_is_room() {
        let (mut counter, start) = (SourceCounter::default(), Instant::now());
        let source = |n: u32| IpAddr::V4(n.into());
        for n in 0..1024 {
            assert_eq!(counter.count_source(source(n), start).count, 1);
        }
        let later = start + Duration::from_secs(30);
        for n in 1024..3000 {
            let window = counter.count_source(source(n), later);
            assert_eq!((window.count, window.resets_in), (n - 1023, RATE_WINDOW));
        }
        assert_eq!(counter.table.windows.len(), MAX_SOURCES);
        assert_eq!(counter.count_source(source(7), later).count, 2, "it has its own window");
        // The first windows have ended, and the one of the others has not.
        let next = start + RATE_WINDOW;
        assert_eq!(counter.count_source(source(3000), next).count, 1);
        assert_eq!(counter.table.windows.len(), 1);
    }

    #[test]
    fn an_event_that_is_taken_back_does_not_count() {
        let (mut counter, now) = (SourceCounter::default(), Instant::now());
        counter.forget_source(ip("192.0.2.1"));
        for n in 0..1024_u32 {
            counter.count_source(IpAddr::V4(n.into()), now);
        }
        for source in [IpAddr::V4(7.into()), ip("192.0.2.1")] {
            assert!(counter.count_source(source, now).count <= 2);
            let before = counter.count_source(source, now).count;
            counter.forget_source(source);
            assert_eq!(counter.count_source(source, now).count, before, "{source}");
        }
    }

    #[test]
    fn the_window_of_the_others_ends_as_well() {
        let (mut counter, start) = (SourceCounter::default(), Instant::now());
        let source = |n: u32| IpAddr::V4(n.into());
        (0..1124).for_each(|n| {
            counter.count_source(source(n), start);
        });
        let mut now = start + RATE_WINDOW;
        // Fills the table again.
        (0..1024).for_each(|n| {
            counter.count_source(source(n), now);
        });
        assert_eq!(counter.count_source(source(5000), now).count, 1);
        now += Duration::from_secs(59);
        assert_eq!(counter.count_source(source(5001), now).count, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// An attacker gains nothing by more sources: beyond the table, each window of a minute has
        /// one place for all of them.
        #[test]
        fn the_events_below_the_limit_are_bounded_for_any_number_of_sources(
            events in prop::collection::vec((0_u32..4000, 0_u64..120), 0..6000),
        ) {
            let (mut counter, start) = (SourceCounter::default(), Instant::now());
            let mut events = events;
            events.sort_by_key(|(_, at)| *at);
            let below = events.iter().filter(|(n, at)| {
                let from = IpAddr::V4((*n).into());
                let window = counter.count_source(from, start + Duration::from_secs(*at));
                window.count <= MAX_EVENTS_PER_WINDOW
            });
            let below = below.count();
            // Two minutes have at most two full tables and three windows of the others.
            let most = (2 * MAX_SOURCES + 3) * 20;
            prop_assert!(below <= most && counter.table.windows.len() <= MAX_SOURCES, "{below}");
        }
    }
}
