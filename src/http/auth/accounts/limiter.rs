//! The limit of logins: of one source, and of one name from one source.
//!
//! # Never
//!
//! - It never limits a name alone, because any client could then lock an account out.

use std::net::IpAddr;
use std::time::Duration;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tokio::time::Instant;

use crate::http::admission::source::source_network;
use crate::http::auth::rate_limit::{
    MAX_EVENTS_PER_WINDOW, SourceCounter, WindowCount, WindowTable,
};

/// Maximum number of wrong logins for one name from one source within a minute. A person who
/// mistypes the password needs fewer, and a stolen list of names and passwords has few for a name.
pub(in crate::http) const MAX_WRONG_LOGINS: u32 = 5;

type NameDigest = [u8; SHA256_OUTPUT_LEN];

/// The counts of logins. It does not read a clock: callers pass the time.
#[derive(Debug, Default)]
pub(super) struct AccountLoginLimiter {
    sources: SourceCounter,
    /// The wrong logins of a name from a source. Names are kept as digests, because a client
    /// chooses their length, and may mistake the password for the name.
    names: WindowTable<(IpAddr, NameDigest)>,
}

impl AccountLoginLimiter {
    /// Counts a login before its password is checked, as a wrong one.
    ///
    /// # Errors
    /// The time after which the source may log in again.
    pub(super) fn count_login(
        &mut self,
        source: IpAddr,
        name: &str,
        now: Instant,
    ) -> Result<(), Duration> {
        let within = |window: WindowCount, limit| match window.count > limit {
            true => Err(window.resets_in),
            false => Ok(()),
        };
        within(self.sources.count_source(source, now), MAX_EVENTS_PER_WINDOW)?;
        // A name beyond the table has the limit of the source alone.
        match self.names.count_key(name_key(source, name), now) {
            Some(window) => within(window, MAX_WRONG_LOGINS),
            None => Ok(()),
        }
    }

    /// Forgets the wrong logins of a name from a source, after a login with the right password.
    pub(super) fn forget_wrong_logins(&mut self, source: IpAddr, name: &str) {
        self.names.forget_key(&name_key(source, name));
    }
}

fn name_key(source: IpAddr, name: &str) -> (IpAddr, NameDigest) {
    let mut bytes = NameDigest::default();
    bytes.copy_from_slice(digest(&SHA256, name.as_bytes()).as_ref());
    (source_network(source), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_limited_for_one_source_and_for_no_other() {
        let (mut limiter, now) = (AccountLoginLimiter::default(), Instant::now());
        let mut count = |source: &str, name: &str, seconds| {
            limiter.count_login(ip(source), name, now + Duration::from_secs(seconds))
        };
        assert!((0..5).all(|_| count("192.0.2.1", "admin", 0) == Ok(())));
        assert_eq!(count("192.0.2.1", "admin", 20), Err(Duration::from_secs(40)));
        assert_eq!(count("192.0.2.1", "tf", 20), Ok(()));
        assert_eq!(count("192.0.2.2", "admin", 20), Ok(()));
        assert_eq!(count("192.0.2.1", "admin", 60), Ok(()));
    }

    #[test]
    fn a_right_password_makes_room_for_the_name_and_not_for_the_source() {
        let (mut limiter, now) = (AccountLoginLimiter::default(), Instant::now());
        let source = ip("192.0.2.1");
        let counts: Vec<_> = (0..25)
            .map(|_| {
                let count = limiter.count_login(source, "admin", now);
                limiter.forget_wrong_logins(source, "admin");
                count.is_ok()
            })
            .collect();
        assert_eq!(counts.iter().filter(|is_ok| **is_ok).count(), 20);
        assert!(limiter.count_login(ip("2001:db8::1"), "admin", now).is_ok());
        // The /64 network is one source.
        (0..4).for_each(|_| assert!(limiter.count_login(ip("2001:db8::2"), "admin", now).is_ok()));
        assert!(limiter.count_login(ip("2001:db8::3"), "admin", now).is_err());
    }
}
