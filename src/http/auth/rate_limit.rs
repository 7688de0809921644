//! Fixed-window counters per source address. Too many unknown tokens are answered with 429, and too
//! many denials are no longer logged one by one at INFO.
//!
//! A token has too many bits to be guessed. The limit protects the log and its readers. A valid
//! token is therefore always accepted, also from an address that several clients share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::admission::source::source_network;

/// Maximum count of one source within [`RATE_WINDOW`]. Further events are limited.
pub(crate) const MAX_EVENTS_PER_WINDOW: u32 = 20;
/// Length of the window. It begins with the first event of a source.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of sources that are remembered. Events of further sources are not counted.
const MAX_SOURCES: usize = 1024;

/// The window of one source: its start and its count.
#[derive(Debug)]
struct SourceWindow {
    start: Instant,
    count: u32,
}

/// The windows of all sources. It does not read a clock: callers pass the time.
#[derive(Debug, Default)]
pub(crate) struct SourceCounter(HashMap<IpAddr, SourceWindow>);

/// The count of a source within its window, and the remaining time of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowCount {
    pub(crate) count: u32,
    pub(crate) resets_in: Duration,
}

impl SourceCounter {
    /// Counts one event of a source and returns the state of its window.
    pub(crate) fn count_source(&mut self, from: IpAddr, now: Instant) -> WindowCount {
        let is_over =
            |window: &SourceWindow| now.saturating_duration_since(window.start) >= RATE_WINDOW;
        let source = source_network(from);
        if self.0.len() >= MAX_SOURCES {
            self.0.retain(|_, window| !is_over(window));
        }
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&source) {
            return WindowCount { count: 1, resets_in: RATE_WINDOW };
        }
        let window = self.0.entry(source).or_insert(SourceWindow { start: now, count: 0 });
        if is_over(window) {
            *window = SourceWindow { start: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        let resets_in = (window.start + RATE_WINDOW).saturating_duration_since(now);
        WindowCount { count: window.count, resets_in }
    }
}

#[cfg(test)]
mod tests {
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
    fn the_number_of_sources_is_bounded_and_they_expire() {
        let (mut counter, now) = (SourceCounter::default(), Instant::now());
        for n in 0..3000_u32 {
            assert_eq!(counter.count_source(IpAddr::V4(n.into()), now).count, 1);
        }
        assert_eq!(counter.0.len(), MAX_SOURCES);
        counter.count_source(ip("203.0.113.1"), now + RATE_WINDOW);
        assert_eq!(counter.0.len(), 1);
    }
}
