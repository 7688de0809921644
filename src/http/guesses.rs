//! Sessions that nobody has, counted by who sends them: after too many in a minute the answer is to wait.
//!
//! A session has too many bits to be guessed; what the limit saves is the log, and the time of whoever
//! reads in it. So a good session is served all the while, also from an address that others share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Unknown sessions of one source within [`WINDOW`] that are answered 401.
const MOST: u32 = 20;
/// How long they count, from the first of them.
const WINDOW: Duration = Duration::from_secs(60);
/// Most sources that are remembered; beyond, those that come anew are not limited.
const SOURCES: usize = 1024;

/// What one source has sent.
#[derive(Debug)]
struct Sent {
    since: Instant,
    unknown: u32,
}

/// What all have sent. Pure: told the time, it asks nobody.
#[derive(Debug, Default)]
pub(super) struct Guesses(HashMap<IpAddr, Sent>);

/// What is to be done about an unknown session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To be told so.
    Unknown,
    /// To be told to wait so long; whether it is the first time within the window.
    Wait(Duration, bool),
}

impl Guesses {
    /// Takes note of an unknown session.
    pub(super) fn unknown(&mut self, from: IpAddr, now: Instant) -> Answer {
        let over = |sent: &Sent| now.saturating_duration_since(sent.since) >= WINDOW;
        let source = network(from);
        if self.0.len() >= SOURCES {
            self.0.retain(|_, sent| !over(sent));
        }
        if self.0.len() >= SOURCES && !self.0.contains_key(&source) {
            return Answer::Unknown;
        }
        let sent = self.0.entry(source).or_insert(Sent { since: now, unknown: 0 });
        if over(sent) {
            *sent = Sent { since: now, unknown: 0 };
        }
        sent.unknown = sent.unknown.saturating_add(1);
        if sent.unknown <= MOST {
            return Answer::Unknown;
        }
        let left = (sent.since + WINDOW).saturating_duration_since(now);
        Answer::Wait(left, sent.unknown == MOST + 1)
    }
}

/// One host may have all of an IPv6 network of 64 bits.
fn network(ip: IpAddr) -> IpAddr {
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
    fn the_twenty_first_within_a_minute_waits_for_the_rest_of_it() {
        let (mut guesses, begun) = (Guesses::default(), Instant::now());
        let second = |n| begun + Duration::from_secs(n);
        for n in 0..20 {
            assert_eq!(guesses.unknown(ip("192.0.2.1"), second(n)), Answer::Unknown);
        }
        let wait = |seconds, first| Answer::Wait(Duration::from_secs(seconds), first);
        assert_eq!(guesses.unknown(ip("192.0.2.1"), second(20)), wait(40, true));
        assert_eq!(guesses.unknown(ip("::ffff:192.0.2.1"), second(59)), wait(1, false));
        assert_eq!(guesses.unknown(ip("192.0.2.2"), second(59)), Answer::Unknown);
        assert_eq!(guesses.unknown(ip("192.0.2.1"), second(60)), Answer::Unknown);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let sent = (0..30).map(|n| guesses.unknown(ip(&format!("2001:db8::{n:x}")), now));
        assert_eq!(sent.filter(|answer| *answer == Answer::Unknown).count(), 20);
        assert_eq!(guesses.unknown(ip("2001:db8:0:1::1"), now), Answer::Unknown);
    }

    #[test]
    fn a_crowd_of_sources_is_bounded_and_passes() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..3000_u32 {
            let from = IpAddr::V4(n.into());
            assert_eq!(guesses.unknown(from, now), Answer::Unknown);
        }
        assert_eq!(guesses.0.len(), SOURCES);
        guesses.unknown(ip("203.0.113.1"), now + WINDOW);
        assert_eq!(guesses.0.len(), 1);
    }
}
