//! The account of the pending replies: which reply is accepted, and which one is posted next. It is
//! pure: it knows neither sockets nor a clock. The caller of a reply is the network that asked for
//! it. The shares of callers and destinations hold for the pending replies, and for those that are
//! being posted.
//!
//! # Guarantees
//!
//! - A reply never stays longer than its deadline, unless it is being posted.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use super::shares::{PostRoute, PostShare, ShareCounts, ShareLimits};

/// The number of a reply. It grows with each reply, so the oldest one has the smallest.
pub(super) type ReplyId = u64;

/// The network of the caller of a reply, or `None` if it has no address, and the destination.
pub(super) type ReplyRoute = PostRoute<Option<IpAddr>, SocketAddr>;

/// The result of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyAdmission {
    Accepted,
    /// A reply with this identity is pending already.
    Duplicate,
    Refused(PostShare),
}

/// A reply that is to be posted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StartedReply<R> {
    pub(super) id: ReplyId,
    pub(super) reply: R,
    /// Number of its posts that failed.
    pub(super) failures: u32,
    pub(super) deadline: Instant,
}

/// All pending replies. `K` identifies a reply.
#[derive(Debug)]
pub(super) struct ReplyTable<K, R> {
    next_id: ReplyId,
    entries: BTreeMap<ReplyId, ReplyEntry<K, R>>,
    keys: HashSet<K>,
    pending: ShareCounts<Option<IpAddr>, SocketAddr>,
    posting: ShareCounts<Option<IpAddr>, SocketAddr>,
}

#[derive(Debug)]
struct ReplyEntry<K, R> {
    key: K,
    reply: R,
    route: ReplyRoute,
    failures: u32,
    deadline: Instant,
    /// The time of its next post, or `None` while it is being posted.
    due: Option<Instant>,
}

impl<K: Clone + Eq + Hash, R: Clone> ReplyTable<K, R> {
    /// Creates an empty table with the limits of all pending replies, and of those that are being
    /// posted.
    pub(super) fn new(pending: ShareLimits, posting: ShareLimits) -> Self {
        Self {
            next_id: 0,
            entries: BTreeMap::new(),
            keys: HashSet::new(),
            pending: ShareCounts::new(pending),
            posting: ShareCounts::new(posting),
        }
    }

    /// Accepts a reply whose first post is due now, if its route has a place.
    pub(super) fn offer(
        &mut self,
        route: ReplyRoute,
        key: K,
        reply: R,
        now: Instant,
        deadline: Instant,
    ) -> ReplyAdmission {
        if self.keys.contains(&key) {
            return ReplyAdmission::Duplicate;
        }
        if let Some(share) = self.pending.exhausted_share(&route) {
            return ReplyAdmission::Refused(share);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.keys.insert(key.clone());
        self.pending.take(&route);
        let entry = ReplyEntry { key, reply, route, failures: 0, deadline, due: Some(now) };
        self.entries.insert(id, entry);
        ReplyAdmission::Accepted
    }

    /// Returns the reply to post next, and counts it as being posted. Returns `None` if no reply is
    /// due, or none that is due has a place.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<StartedReply<R>> {
        let is_due = |entry: &ReplyEntry<K, R>| {
            entry.due.is_some_and(|due| due <= now) && entry.deadline > now
        };
        let due = self.entries.iter().filter(|(_, entry)| is_due(entry));
        let id = self.posting.choose_next(due.map(|(id, entry)| (&entry.route, *id)))?;
        let entry = self.entries.get_mut(&id)?;
        entry.due = None;
        self.posting.take(&entry.route);
        let ReplyEntry { ref reply, failures, deadline, .. } = *entry;
        Some(StartedReply { id, reply: reply.clone(), failures, deadline })
    }

    /// Records that the post of a reply failed, and that the next one is due at `due`.
    pub(super) fn retry_at(&mut self, id: ReplyId, due: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.due.replace(due).is_none() {
            entry.failures = entry.failures.saturating_add(1);
            self.posting.give_back(&entry.route);
        }
    }

    /// Removes a reply, because it was posted or rejected.
    pub(super) fn remove(&mut self, id: ReplyId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.keys.remove(&entry.key);
        self.pending.give_back(&entry.route);
        if entry.due.is_none() {
            self.posting.give_back(&entry.route);
        }
    }

    /// Removes and returns the replies that wait and whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<R> {
        let is_expired = |entry: &ReplyEntry<K, R>| entry.due.is_some() && entry.deadline <= now;
        let expired = self.entries.iter().filter(|(_, entry)| is_expired(entry));
        let expired: Vec<(ReplyId, R)> =
            expired.map(|(id, entry)| (*id, entry.reply.clone())).collect();
        expired
            .into_iter()
            .map(|(id, reply)| {
                self.remove(id);
                reply
            })
            .collect()
    }

    /// Returns the next time at which a waiting reply becomes due or expires, or `None` if none
    /// waits.
    pub(super) fn next_event(&self, now: Instant) -> Option<Instant> {
        let waiting = self.entries.values().filter_map(|entry| Some((entry.due?, entry.deadline)));
        // A reply that is due already waits for a place, and needs no timer for it.
        let events =
            waiting.map(|(due, deadline)| if due > now { due.min(deadline) } else { deadline });
        events.min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PENDING: ShareLimits = ShareLimits { all: 64, per_caller: 16, per_destination: 16 };
    const POSTING: ShareLimits = ShareLimits { all: 16, per_caller: 8, per_destination: 4 };
    const TTL: Duration = Duration::from_secs(60);

    type Table = ReplyTable<u32, u32>;

    fn table() -> Table {
        ReplyTable::new(PENDING, POSTING)
    }

    fn route(caller: u8, destination: u16) -> ReplyRoute {
        let caller = Some(IpAddr::from([192, 0, 2, caller]));
        ReplyRoute { caller, destination: SocketAddr::from(([198, 51, 100, 1], destination)) }
    }

    fn offer(table: &mut Table, at: ReplyRoute, key: u32, now: Instant) -> ReplyAdmission {
        table.offer(at, key, key, now, now + TTL)
    }

    /// Offers replies until one is refused. Returns their number and the refusal.
    fn fill(table: &mut Table, at: ReplyRoute, first: u32, now: Instant) -> (u32, PostShare) {
        for n in 0.. {
            if let ReplyAdmission::Refused(share) = offer(table, at, first + n, now) {
                return (n, share);
            }
        }
        unreachable!()
    }

    fn start_all(table: &mut Table, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| table.start_next(now)).map(|started| started.reply).collect()
    }

    #[test]
    fn a_silent_destination_holds_its_share_and_another_one_of_the_caller_goes_on() {
        let (mut table, now) = (table(), Instant::now());
        assert_eq!(fill(&mut table, route(1, 1), 0, now), (8, PostShare::Destination));
        assert_eq!(start_all(&mut table, now), [0, 1]);
        assert_eq!(offer(&mut table, route(1, 2), 100, now), ReplyAdmission::Accepted);
        assert_eq!(start_all(&mut table, now), [100]);
    }

    #[test]
    fn a_caller_cannot_hold_the_places_of_a_destination_that_another_caller_uses() {
        let (mut table, now) = (table(), Instant::now());
        fill(&mut table, route(1, 1), 0, now);
        start_all(&mut table, now);
        assert_eq!(offer(&mut table, route(2, 1), 100, now), ReplyAdmission::Accepted);
        assert_eq!(start_all(&mut table, now), [100]);
    }

    #[test]
    fn a_caller_with_many_silent_destinations_holds_its_share_and_others_go_on() {
        let (mut table, now) = (table(), Instant::now());
        for destination in 0..100 {
            fill(&mut table, route(1, destination), u32::from(destination) * 100, now);
        }
        assert_eq!(
            offer(&mut table, route(1, 200), 90_000, now),
            ReplyAdmission::Refused(PostShare::Caller)
        );
        assert_eq!(table.pending.caller(&route(1, 0)), PENDING.per_caller);
        start_all(&mut table, now);
        assert!(table.posting.caller(&route(1, 0)) <= POSTING.per_caller);
        assert_eq!(offer(&mut table, route(2, 0), 100_000, now), ReplyAdmission::Accepted);
        assert_eq!(start_all(&mut table, now), [100_000]);
    }

    #[test]
    fn callers_that_come_later_find_places_too() {
        let (mut table, now) = (table(), Instant::now());
        for caller in 0..5 {
            for destination in 0..40 {
                let first = u32::from(caller) * 10_000 + u32::from(destination) * 100;
                fill(&mut table, route(caller, destination), first, now);
            }
        }
        assert_eq!(offer(&mut table, route(9, 99), 99_999, now), ReplyAdmission::Accepted);
        // It has the fewest posts, so it is posted before those that wait longer.
        let first: Vec<u32> = start_all(&mut table, now);
        assert!(first.contains(&99_999), "{first:?}");
    }

    #[test]
    fn a_reply_is_identified_by_its_key_until_it_is_removed() {
        let (mut table, now) = (table(), Instant::now());
        assert_eq!(offer(&mut table, route(1, 1), 7, now), ReplyAdmission::Accepted);
        assert_eq!(offer(&mut table, route(2, 2), 7, now), ReplyAdmission::Duplicate);
        let started = table.start_next(now).unwrap();
        assert_eq!(offer(&mut table, route(1, 1), 7, now), ReplyAdmission::Duplicate);
        table.remove(started.id);
        assert_eq!(offer(&mut table, route(1, 1), 7, now), ReplyAdmission::Accepted);
    }

    #[test]
    fn a_reply_waits_for_its_retry_without_a_place_and_expires_at_its_deadline() {
        let (mut table, now) = (table(), Instant::now());
        let second = |n| now + Duration::from_secs(n);
        offer(&mut table, route(1, 1), 7, now);
        assert_eq!(table.next_event(now), Some(second(60)), "it is due, and only expires");
        let started = table.start_next(now).unwrap();
        assert_eq!((started.failures, started.deadline), (0, second(60)));
        assert_eq!((table.next_event(now), table.expire(second(61))), (None, vec![]));
        table.retry_at(started.id, second(5));
        assert_eq!((table.posting.all(), table.next_event(now)), (0, Some(second(5))));
        assert_eq!(table.start_next(second(4)), None);
        let again = table.start_next(second(5)).unwrap();
        assert_eq!((again.id, again.failures), (started.id, 1));
        table.retry_at(again.id, second(90));
        assert_eq!(table.next_event(second(6)), Some(second(60)));
        assert_eq!((table.start_next(second(60)), table.expire(second(60))), (None, vec![7]));
        let left = (table.entries.len(), table.keys.len(), table.pending.all());
        assert_eq!(left, (0, 0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// The counts equal the entries, no limit is exceeded, and a caller that holds nothing gets
        /// a place as long as fewer callers hold places than a fresh share has.
        #[test]
        fn the_shares_hold_for_any_sequence(
            steps in prop::collection::vec((0_u8..6, 0_u8..5, 0_u16..6, 0_u64..20), 1..400),
        ) {
            let (mut table, start) = (table(), Instant::now());
            let (mut now, mut posts) = (start, Vec::new());
            for (key, (step, caller, destination, wait)) in (0..).zip(steps) {
                match step {
                    0..=2 => {
                        let at = route(caller, destination);
                        let is_new = !table.entries.values().any(|entry| entry.route.caller == at.caller);
                        let others: HashSet<_> = table.entries.values().map(|entry| entry.route.caller).collect();
                        let admitted = offer(&mut table, at, key, now);
                        if is_new && others.len() < 4 {
                            let refused = ReplyAdmission::Refused(PostShare::Destination);
                            let full = table.pending.destination(&at) >= PENDING.per_destination;
                            prop_assert!(admitted == ReplyAdmission::Accepted || (full && admitted == refused));
                        }
                    }
                    3 => posts.extend(table.start_next(now).map(|started| started.id)),
                    4 if !posts.is_empty() => {
                        let id = posts.swap_remove(usize::from(destination) % posts.len());
                        if wait % 2 == 0 { table.remove(id) } else { table.retry_at(id, now + Duration::from_secs(wait)) }
                    }
                    _ => {
                        now += Duration::from_secs(wait);
                        table.expire(now);
                        prop_assert!(table.entries.values().all(|entry| entry.due.is_none() || entry.deadline > now));
                    }
                }
                for (counts, limits, is_posting) in [(&table.pending, PENDING, false), (&table.posting, POSTING, true)] {
                    let counted = || table.entries.values().filter(|entry| !is_posting || entry.due.is_none());
                    prop_assert_eq!(counts.all(), counted().count());
                    prop_assert!(counts.all() <= limits.all);
                    for entry in counted() {
                        let of_caller = counted().filter(|other| other.route.caller == entry.route.caller).count();
                        prop_assert_eq!(of_caller, counts.caller(&entry.route));
                        prop_assert!(of_caller <= limits.per_caller);
                        let to = counted().filter(|other| other.route.destination == entry.route.destination).count();
                        prop_assert_eq!(to, counts.destination(&entry.route));
                        prop_assert!(to <= limits.per_destination);
                    }
                }
            }
        }
    }
}
