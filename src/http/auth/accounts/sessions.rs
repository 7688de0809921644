//! The sessions that accounts have opened. They are in memory only, so a restart ends all of them.
//!
//! # Guarantees
//!
//! - Their number is bounded, in all and for each account. A new session replaces the oldest one of
//!   its own account, or of the account with the most sessions.
//!
//! # Never
//!
//! - It never keeps a session itself, only its SHA-256.

use std::collections::HashMap;
use std::sync::Arc;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tokio::time::Instant;

/// Maximum number of sessions. They take about 1 MiB, and a client opens one in two hours.
const MAX_SESSIONS: usize = 10_000;
/// Maximum number of sessions of one account, so that ten accounts do not displace each other.
const MAX_ACCOUNT_SESSIONS: usize = 1_000;

/// The SHA-256 of a session. A client cannot choose the digest of its guess, so the time of a
/// lookup by digest tells nothing about the sessions.
pub(super) type AccountSessionDigest = [u8; SHA256_OUTPUT_LEN];

/// Returns the digest under which a session is kept.
pub(super) fn session_digest(session: &str) -> AccountSessionDigest {
    let mut bytes = AccountSessionDigest::default();
    bytes.copy_from_slice(digest(&SHA256, session.as_bytes()).as_ref());
    bytes
}

struct AccountSession {
    account: Arc<str>,
    expires: Instant,
    /// Grows with each session, so that the lowest number is the oldest session.
    number: u64,
}

/// The open sessions. It does not read a clock: callers pass the time.
#[derive(Default)]
pub(super) struct SessionTable {
    sessions: HashMap<AccountSessionDigest, AccountSession>,
    next_number: u64,
}

impl SessionTable {
    /// Adds a session of an account.
    pub(super) fn add(
        &mut self,
        session: AccountSessionDigest,
        account: &Arc<str>,
        expires: Instant,
        now: Instant,
    ) {
        self.sessions.retain(|_, session| now < session.expires);
        let counts = self.count_sessions();
        if counts.get(account).is_some_and(|count| *count >= MAX_ACCOUNT_SESSIONS) {
            self.remove_oldest(account);
        } else if self.sessions.len() >= MAX_SESSIONS
            && let Some((largest, _)) = counts.into_iter().max_by_key(|(_, count)| *count)
        {
            let largest = Arc::clone(largest);
            self.remove_oldest(&largest);
        }
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        self.sessions
            .insert(session, AccountSession { account: Arc::clone(account), expires, number });
    }

    /// Returns the account of a session, or `None` if the session is unknown or has expired.
    pub(super) fn find(&self, session: &AccountSessionDigest, now: Instant) -> Option<&str> {
        self.sessions
            .get(session)
            .filter(|session| now < session.expires)
            .map(|session| &*session.account)
    }

    /// Ends a session, if it is open.
    pub(super) fn remove(&mut self, session: &AccountSessionDigest) {
        self.sessions.remove(session);
    }

    /// Ends the sessions of all accounts for which `is_kept` returns false.
    pub(super) fn retain_accounts(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.sessions.retain(|_, session| is_kept(&session.account));
    }

    fn count_sessions(&self) -> HashMap<&Arc<str>, usize> {
        let mut counts = HashMap::new();
        for session in self.sessions.values() {
            let count: &mut usize = counts.entry(&session.account).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    fn remove_oldest(&mut self, account: &str) {
        let own = self.sessions.iter().filter(|(_, session)| &*session.account == account);
        if let Some((&oldest, _)) = own.min_by_key(|(_, session)| session.number) {
            self.sessions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn digest_of(number: usize) -> AccountSessionDigest {
        session_digest(&number.to_string())
    }

    fn add(table: &mut SessionTable, number: usize, account: &str, now: Instant) {
        let expires = now + Duration::from_secs(100);
        table.add(digest_of(number), &account.into(), expires, now);
    }

    #[test]
    fn a_session_ends_at_its_time_or_when_it_is_removed_or_with_its_account() {
        let (mut table, now) = (SessionTable::default(), Instant::now());
        (0..3).for_each(|number| add(&mut table, number, "alice", now));
        add(&mut table, 3, "bob", now);
        assert_eq!(table.find(&digest_of(0), now), Some("alice"));
        let (last, end) = (now + Duration::from_secs(99), now + Duration::from_secs(100));
        assert!(
            table.find(&digest_of(0), last).is_some() && table.find(&digest_of(4), now).is_none()
        );
        assert!(table.find(&digest_of(0), end).is_none(), "a use does not extend it");
        table.remove(&digest_of(1));
        assert!(table.find(&digest_of(1), now).is_none());
        table.retain_accounts(|name| name == "bob");
        assert!(
            table.find(&digest_of(0), now).is_none() && table.find(&digest_of(3), now).is_some()
        );
        // A session that has expired takes no room.
        add(&mut table, 5, "bob", end);
        assert_eq!(table.sessions.len(), 1);
    }

    #[test]
    fn an_account_replaces_its_own_oldest_session_beyond_its_share() {
        let (mut table, now) = (SessionTable::default(), Instant::now());
        add(&mut table, 0, "bob", now);
        (1..=MAX_ACCOUNT_SESSIONS + 2).for_each(|number| add(&mut table, number, "alice", now));
        assert_eq!(table.sessions.len(), MAX_ACCOUNT_SESSIONS + 1);
        for (number, is_open) in [(0, true), (1, false), (2, false), (3, true)] {
            assert_eq!(table.find(&digest_of(number), now).is_some(), is_open, "{number}");
        }
    }

    #[test]
    fn a_full_table_takes_from_the_account_with_the_most_sessions() {
        let (mut table, now) = (SessionTable::default(), Instant::now());
        let accounts: Vec<Arc<str>> = (0..20).map(|at| format!("account-{at}").into()).collect();
        // Sessions are inserted directly, because each add scans the table.
        for number in 0..MAX_SESSIONS {
            let account = match number {
                0..900 => &accounts[0],
                _ => &accounts[1 + number % 19],
            };
            let expires = now + Duration::from_secs(100);
            let session =
                AccountSession { account: Arc::clone(account), expires, number: number as u64 };
            table.sessions.insert(digest_of(number), session);
        }
        table.next_number = MAX_SESSIONS as u64;
        add(&mut table, MAX_SESSIONS, "new", now);
        assert_eq!(table.sessions.len(), MAX_SESSIONS);
        assert!(table.find(&digest_of(0), now).is_none(), "the oldest of the largest account");
        assert!((1..=MAX_SESSIONS).all(|number| table.find(&digest_of(number), now).is_some()));
    }
}
