//! How often one address does the same within a minute: after too many unknown sessions the answer is to
//! wait, and of too many refusals not each is written down.
//!
//! A session has too many bits to be guessed; what the limit saves is the log, and the time of whoever
//! reads in it. So a good session is served all the while, also from an address that others share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// What is too many within [`RATE_WINDOW`].
pub(crate) const MAX_PER_WINDOW: u32 = 20;
/// How long they count, from the first of them.
const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered; beyond, those that come anew are not counted.
const MAX_SOURCES: usize = 1024;

/// Since when, and how often.
#[derive(Debug)]
struct SourceWindow {
    since: Instant,
    times: u32,
}

/// What is counted, by address. Pure: told the time, it asks nobody.
#[derive(Debug, Default)]
pub(crate) struct SourceCounter(HashMap<IpAddr, SourceWindow>);

/// Which time it is within the minute, and how much of that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowCount {
    pub(crate) count: u32,
    pub(crate) resets_in: Duration,
}

impl SourceCounter {
    /// Counts one more.
    pub(crate) fn count_source(&mut self, from: IpAddr, now: Instant) -> WindowCount {
        let over = |seen: &SourceWindow| now.saturating_duration_since(seen.since) >= RATE_WINDOW;
        let source = source_network(from);
        if self.0.len() >= MAX_SOURCES {
            self.0.retain(|_, seen| !over(seen));
        }
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&source) {
            return WindowCount { count: 1, resets_in: RATE_WINDOW };
        }
        let seen = self.0.entry(source).or_insert(SourceWindow { since: now, times: 0 });
        if over(seen) {
            *seen = SourceWindow { since: now, times: 0 };
        }
        seen.times = seen.times.saturating_add(1);
        let left = (seen.since + RATE_WINDOW).saturating_duration_since(now);
        WindowCount { count: seen.times, resets_in: left }
    }
}

/// One host may have all of an IPv6 network of 64 bits.
fn source_network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_one_address_does_is_counted_for_a_minute_from_the_first() {
        let (mut repeats, begun) = (SourceCounter::default(), Instant::now());
        let second = |n| begun + Duration::from_secs(n);
        for n in 0..20 {
            let counted = repeats.count_source(ip("192.0.2.1"), second(n));
            assert_eq!(counted.resets_in, Duration::from_secs(60 - n));
            assert_eq!(u64::from(counted.count), n + 1);
        }
        let last = WindowCount { count: 21, resets_in: Duration::from_secs(1) };
        assert_eq!(repeats.count_source(ip("::ffff:192.0.2.1"), second(59)), last);
        assert_eq!(repeats.count_source(ip("192.0.2.2"), second(59)).count, 1);
        assert_eq!(repeats.count_source(ip("192.0.2.1"), second(60)).count, 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (mut repeats, now) = (SourceCounter::default(), Instant::now());
        let last =
            (0..30).map(|n| repeats.count_source(ip(&format!("2001:db8::{n:x}")), now)).last();
        assert_eq!(last.unwrap().count, 30);
        assert_eq!(repeats.count_source(ip("2001:db8:0:1::1"), now).count, 1);
    }

    #[test]
    fn a_crowd_is_bounded_and_passes() {
        let (mut repeats, now) = (SourceCounter::default(), Instant::now());
        for n in 0..3000_u32 {
            assert_eq!(repeats.count_source(IpAddr::V4(n.into()), now).count, 1);
        }
        assert_eq!(repeats.0.len(), MAX_SOURCES);
        repeats.count_source(ip("203.0.113.1"), now + RATE_WINDOW);
        assert_eq!(repeats.0.len(), 1);
    }
}
