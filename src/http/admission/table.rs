//! The account of the TCP connections: which connection is admitted, and which one is closed for
//! it. It is pure: it knows neither sockets nor a clock.
//!
//! A connection is in one of these classes:
//!
//! - Silent: it has sent no complete request. Under pressure, these are closed first.
//! - Served: it has sent a request without a credential. These are closed if none is silent. The
//!   bounds of the two classes, for all and per source, are common to both.
//! - Reserve: its source has its share already, and none of that share is silent. These are closed
//!   only for another one of the reserve.
//! - Trusted: it has shown a credential. These are never closed for another connection.
//! - Stream: its response is a stream of events. These have a limit of their own, and are never
//!   closed for another connection either.
//!
//! Within a class, the oldest connection is closed first. Sources that hold no more than an equal
//! part of all connections are spared as long as another source holds more. Otherwise sources that
//! connect fast enough would have every other connection closed before its request arrives.
//!
//! # Guarantees
//!
//! - Every connection is admitted. At most one other connection is closed for it.
//! - A source with fewer connections than its share is admitted outside the reserve.
//! - A connection that has shown a credential is never closed for another one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The number of a connection. It grows with each connection, so the oldest one has the smallest.
pub(super) type ConnectionId = u64;

/// The bounds of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionLimits {
    /// Maximum number of connections without a credential.
    pub(crate) open: usize,
    /// Maximum number of them from one source.
    pub(crate) open_per_source: usize,
    /// Maximum number of connections beyond the share of their source.
    pub(crate) reserve: usize,
    /// Maximum number of them from one source.
    pub(crate) reserve_per_source: usize,
    /// Maximum number of connections with a credential.
    pub(crate) trusted: usize,
    /// Maximum number of them from one source whose credential is its network.
    pub(crate) network_per_source: usize,
}

/// The credential that the client of a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::http) enum Credential {
    /// Its address is in `server.agent_allow`.
    Network,
    /// A session or a certificate.
    Session,
}

/// The class of a connection, see the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ConnectionClass {
    Silent,
    Served,
    Reserve,
    Trusted(Credential),
    Stream,
}

/// A group of classes that share their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pool {
    Open,
    Reserve,
    Trusted(Credential),
    Stream,
}

impl ConnectionClass {
    fn pool(self) -> Pool {
        match self {
            Self::Silent | Self::Served => Pool::Open,
            Self::Reserve => Pool::Reserve,
            Self::Trusted(credential) => Pool::Trusted(credential),
            Self::Stream => Pool::Stream,
        }
    }
}

/// The result of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Promotion {
    /// The request can be served.
    Granted,
    /// There is no room for another connection with a credential.
    Full,
    /// The connection has been closed for another one.
    Evicted,
}

/// The number and the class of a new connection, and the connection to close for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted<H> {
    pub(super) id: ConnectionId,
    pub(super) class: ConnectionClass,
    pub(super) evicted: Option<H>,
}

/// One open connection.
#[derive(Debug)]
struct ConnectionEntry<H> {
    class: ConnectionClass,
    /// `None` if the peer is a trusted proxy: it has no share, because it stands for many clients.
    source: Option<IpAddr>,
    /// The means to close the connection. `None` until the caller has set it.
    handle: Option<H>,
}

/// All open connections.
#[derive(Debug)]
pub(super) struct AdmissionTable<H> {
    limits: AdmissionLimits,
    next_id: ConnectionId,
    entries: BTreeMap<ConnectionId, ConnectionEntry<H>>,
    by_class: BTreeMap<ConnectionClass, usize>,
    by_source: HashMap<Pool, SourceCounts>,
}

/// The number of connections of each source.
type SourceCounts = HashMap<Option<IpAddr>, usize>;

impl<H> AdmissionTable<H> {
    pub(super) fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            next_id: 0,
            entries: BTreeMap::new(),
            by_class: BTreeMap::new(),
            by_source: HashMap::new(),
        }
    }

    /// Admits a new connection from `source`.
    pub(super) fn admit(&mut self, source: Option<IpAddr>) -> Admitted<H> {
        use ConnectionClass::{Reserve, Served, Silent};
        let (class, victim) = if self.is_at_share(Pool::Open, source, self.limits.open_per_source) {
            match self.oldest(|entry| entry.class == Silent && entry.source == source) {
                Some(victim) => (Silent, Some(victim)),
                None => (Reserve, self.reserve_victim(source)),
            }
        } else if self.count(Silent) + self.count(Served) >= self.limits.open {
            let part = self.equal_part(source);
            (Silent, self.open_victim(Silent, part).or_else(|| self.open_victim(Served, part)))
        } else {
            (Silent, None)
        };
        let evicted = victim.and_then(|victim| self.remove(victim)).and_then(|entry| entry.handle);
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.count_in(class, source);
        self.entries.insert(id, ConnectionEntry { class, source, handle: None });
        Admitted { id, class, evicted }
    }

    /// Sets the means to close a connection.
    pub(super) fn set_handle(&mut self, id: ConnectionId, handle: H) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.handle = Some(handle);
        }
    }

    /// Records that a silent connection has sent a request.
    pub(super) fn record_request(&mut self, id: ConnectionId) {
        if self.class(id) == Some(ConnectionClass::Silent) {
            self.move_to(id, ConnectionClass::Served);
        }
    }

    /// Records that the client of a connection has shown a credential. A network is a weaker
    /// credential than a session. Beyond the share of its source, its requests are served without
    /// the protection of the class.
    pub(super) fn record_credential(
        &mut self,
        id: ConnectionId,
        credential: Credential,
    ) -> Promotion {
        use ConnectionClass::{Reserve, Trusted};
        let Some(entry) = self.entries.get(&id) else { return Promotion::Evicted };
        let (class, source) = (entry.class, entry.source);
        if matches!(class, Trusted(shown) if shown >= credential) {
            return Promotion::Granted;
        }
        let is_trusted = matches!(class, Trusted(_));
        let network = Pool::Trusted(Credential::Network);
        let has_room = match credential {
            _ if is_trusted => true,
            _ if self.trusted() >= self.limits.trusted => false,
            Credential::Session => true,
            Credential::Network => {
                !self.is_at_share(network, source, self.limits.network_per_source)
            }
        };
        if has_room {
            self.move_to(id, Trusted(credential));
            return Promotion::Granted;
        }
        match credential {
            Credential::Network if class != Reserve => Promotion::Granted,
            Credential::Network | Credential::Session => Promotion::Full,
        }
    }

    /// Records that the response of a connection is a stream of events, which is its last one.
    pub(super) fn record_stream(&mut self, id: ConnectionId) {
        if self.entries.contains_key(&id) {
            self.move_to(id, ConnectionClass::Stream);
        }
    }

    /// Removes a connection that has ended.
    pub(super) fn remove_ended(&mut self, id: ConnectionId) {
        self.remove(id);
    }

    pub(super) fn class(&self, id: ConnectionId) -> Option<ConnectionClass> {
        self.entries.get(&id).map(|entry| entry.class)
    }

    /// Returns the number of connections that have shown a credential.
    pub(super) fn trusted(&self) -> usize {
        [Credential::Network, Credential::Session]
            .map(|credential| self.count(ConnectionClass::Trusted(credential)))
            .iter()
            .sum()
    }

    /// Returns the number of connections of a class.
    pub(super) fn count(&self, class: ConnectionClass) -> usize {
        self.by_class.get(&class).copied().unwrap_or_default()
    }

    fn is_at_share(&self, pool: Pool, source: Option<IpAddr>, share: usize) -> bool {
        source.is_some() && self.count_of(pool, source) >= share
    }

    fn count_of(&self, pool: Pool, source: Option<IpAddr>) -> usize {
        let counts = self.by_source.get(&pool);
        counts.and_then(|counts| counts.get(&source)).copied().unwrap_or_default()
    }

    /// Returns the number of connections that each source would hold if all of them held the same,
    /// a new connection of `newcomer` included.
    fn equal_part(&self, newcomer: Option<IpAddr>) -> usize {
        let counts = self.by_source.get(&Pool::Open);
        let sources = counts.map_or(0, HashMap::len);
        let is_new = self.count_of(Pool::Open, newcomer) == 0;
        self.limits.open.checked_div(sources + usize::from(is_new)).unwrap_or_default()
    }

    /// Returns the connection of a class to close for a new one: the oldest of the sources that
    /// hold more than `part`, or else the oldest of all.
    fn open_victim(&self, class: ConnectionClass, part: usize) -> Option<ConnectionId> {
        let above_part = |entry: &ConnectionEntry<H>| {
            entry.class == class && self.count_of(Pool::Open, entry.source) > part
        };
        self.oldest(above_part).or_else(|| self.oldest(|entry| entry.class == class))
    }

    /// Returns the connection of the reserve to close for another one of `source`.
    fn reserve_victim(&self, source: Option<IpAddr>) -> Option<ConnectionId> {
        let in_reserve = |entry: &ConnectionEntry<H>| entry.class == ConnectionClass::Reserve;
        if self.is_at_share(Pool::Reserve, source, self.limits.reserve_per_source) {
            self.oldest(|entry| in_reserve(entry) && entry.source == source)
        } else if self.count(ConnectionClass::Reserve) >= self.limits.reserve {
            self.oldest(in_reserve)
        } else {
            None
        }
    }

    fn oldest(&self, is_candidate: impl Fn(&ConnectionEntry<H>) -> bool) -> Option<ConnectionId> {
        self.entries.iter().find(|(_, entry)| is_candidate(entry)).map(|(id, _)| *id)
    }

    fn move_to(&mut self, id: ConnectionId, class: ConnectionClass) {
        if let Some(entry) = self.entries.get_mut(&id) {
            let (old, source) = (std::mem::replace(&mut entry.class, class), entry.source);
            self.count_out(old, source);
            self.count_in(class, source);
        }
    }

    fn remove(&mut self, id: ConnectionId) -> Option<ConnectionEntry<H>> {
        let entry = self.entries.remove(&id)?;
        self.count_out(entry.class, entry.source);
        Some(entry)
    }

    fn count_in(&mut self, class: ConnectionClass, source: Option<IpAddr>) {
        *self.by_class.entry(class).or_default() += 1;
        let counts = self.by_source.entry(class.pool()).or_default();
        *counts.entry(source).or_default() += 1;
    }

    fn count_out(&mut self, class: ConnectionClass, source: Option<IpAddr>) {
        if let Some(count) = self.by_class.get_mut(&class) {
            *count = count.saturating_sub(1);
        }
        let Some(counts) = self.by_source.get_mut(&class.pool()) else { return };
        let count = counts.get(&source).copied().unwrap_or_default().saturating_sub(1);
        if count == 0 {
            counts.remove(&source);
        } else {
            counts.insert(source, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        open: 8,
        open_per_source: 3,
        reserve: 3,
        reserve_per_source: 2,
        trusted: 5,
        network_per_source: 2,
    };

    fn source(n: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)))
    }

    /// Admits a connection whose handle is its own number.
    fn admit(table: &mut AdmissionTable<u64>, from: Option<IpAddr>) -> Admitted<u64> {
        let admitted = table.admit(from);
        table.set_handle(admitted.id, admitted.id);
        admitted
    }

    #[test]
    fn the_oldest_silent_connection_is_closed_first_and_one_with_a_session_never() {
        let mut table = AdmissionTable::new(LIMITS);
        for n in 0..4 {
            admit(&mut table, source(n));
            admit(&mut table, source(n));
        }
        table.record_request(0);
        assert_eq!(table.record_credential(2, Credential::Session), Promotion::Granted);
        // One has left the pool of connections without a credential.
        assert_eq!(admit(&mut table, source(9)).evicted, None);
        // 192.0.2.1 and 192.0.2.9 hold one connection each, and the others hold two.
        let victims = [(); 4].map(|()| admit(&mut table, source(8)).evicted);
        assert_eq!(victims, [Some(1), Some(4), Some(6), Some(9)], "its share is three");
        for id in table.entries.keys().copied().collect::<Vec<_>>() {
            table.record_request(id);
        }
        assert_eq!(admit(&mut table, source(7)).evicted, Some(10), "none is silent");
        assert_eq!(table.class(2), Some(ConnectionClass::Trusted(Credential::Session)));
    }

    #[test]
    fn a_source_with_one_connection_outlives_sources_that_connect_all_the_time() {
        let limits = AdmissionLimits { open: 512, open_per_source: 128, ..LIMITS };
        let mut table = AdmissionTable::new(limits);
        let good = admit(&mut table, source(255));
        for n in 0..10_000_u32 {
            let flood = admit(&mut table, source(u8::try_from(n % 100).unwrap()));
            assert_ne!(flood.evicted, Some(good.id), "{n}");
        }
        // Among sources that hold the same, the oldest connection is closed.
        let mut table = AdmissionTable::new(LIMITS);
        for n in 0..20 {
            assert_eq!(admit(&mut table, source(n)).evicted, u64::from(n).checked_sub(8));
        }
    }

    #[test]
    fn a_source_beyond_its_share_loses_its_own_silent_connection_and_then_has_the_reserve() {
        let mut table = AdmissionTable::new(LIMITS);
        admit(&mut table, source(2));
        for _ in 0..3 {
            assert_eq!(admit(&mut table, source(1)).evicted, None);
        }
        let fourth = admit(&mut table, source(1));
        assert_eq!((fourth.class, fourth.evicted), (ConnectionClass::Silent, Some(1)));
        for id in [2, 3, 4] {
            table.record_request(id);
        }
        let beyond = [(); 3].map(|()| admit(&mut table, source(1)));
        assert!(beyond.iter().all(|one| one.class == ConnectionClass::Reserve));
        assert_eq!(beyond.map(|one| one.evicted), [None, None, Some(5)]);
        // A session opens the way out of the reserve.
        assert_eq!(table.record_credential(7, Credential::Session), Promotion::Granted);
        assert_eq!(table.class(7), Some(ConnectionClass::Trusted(Credential::Session)));
    }

    #[test]
    fn a_network_is_a_credential_for_the_share_of_its_source() {
        let mut table = AdmissionTable::new(LIMITS);
        let ids = [(); 3].map(|()| admit(&mut table, source(1)).id);
        let shown = ids.map(|id| table.record_credential(id, Credential::Network));
        assert_eq!(shown, [Promotion::Granted; 3]);
        assert_eq!(table.trusted(), 2);
        assert_eq!(table.class(ids[2]), Some(ConnectionClass::Silent));
        assert_eq!(table.record_credential(ids[0], Credential::Session), Promotion::Granted);
        assert_eq!(table.record_credential(ids[2], Credential::Network), Promotion::Granted);
        assert_eq!(table.trusted(), 3);
        let others = [(); 3].map(|()| admit(&mut table, source(2)).id);
        let shown = others.map(|id| table.record_credential(id, Credential::Session));
        assert_eq!(shown, [Promotion::Granted, Promotion::Granted, Promotion::Full]);
        assert_eq!(table.record_credential(99, Credential::Session), Promotion::Evicted);
    }

    #[test]
    fn a_stream_leaves_the_room_of_other_connections_and_is_never_closed_for_one() {
        let mut table = AdmissionTable::new(LIMITS);
        for _ in 0..20 {
            let id = admit(&mut table, source(1)).id;
            assert_eq!(table.record_credential(id, Credential::Session), Promotion::Granted);
            table.record_stream(id);
            assert_eq!(table.class(id), Some(ConnectionClass::Stream));
        }
        assert_eq!((table.trusted(), table.count(ConnectionClass::Stream)), (0, 20));
        for n in 0..20 {
            let evicted = admit(&mut table, source(n)).evicted;
            assert!(evicted.is_none_or(|id| id >= 20), "{evicted:?}");
        }
        (0..20).for_each(|id| table.remove_ended(id));
        assert_eq!(table.count(ConnectionClass::Stream), 0);
        table.record_stream(0);
        assert_eq!(table.class(0), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(Option<u8>),
        Request(u64),
        Show(u64, Credential),
        End(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 0_u64..60;
        let credential = prop_oneof![Just(Credential::Network), Just(Credential::Session)];
        prop_oneof![
            4 => prop::option::weighted(0.9, 0_u8..5).prop_map(Step::Admit),
            2 => id.clone().prop_map(Step::Request),
            1 => (id.clone(), credential).prop_map(|(id, shown)| Step::Show(id, shown)),
            1 => id.prop_map(Step::End),
        ]
    }

    /// The table as the test keeps it, with every decision spelled out.
    fn members(table: &AdmissionTable<u64>) -> Vec<(u64, ConnectionClass, Option<IpAddr>)> {
        table.entries.iter().map(|(id, entry)| (*id, entry.class, entry.source)).collect()
    }

    fn is_open(class: ConnectionClass) -> bool {
        matches!(class, ConnectionClass::Silent | ConnectionClass::Served)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_bound_holds_and_every_source_below_its_share_is_admitted(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            use ConnectionClass::{Reserve, Served, Silent, Trusted};
            let mut table = AdmissionTable::new(LIMITS);
            for step in steps {
                let before = members(&table);
                match step {
                    Step::Request(id) => table.record_request(id),
                    Step::End(id) => table.remove_ended(id),
                    Step::Show(id, shown) => { table.record_credential(id, shown); }
                    Step::Admit(n) => {
                        let from = n.and_then(source);
                        let admitted = admit(&mut table, from);
                        let own: Vec<_> = before.iter()
                            .filter(|(_, class, of)| is_open(*class) && *of == from).collect();
                        let is_below = from.is_none() || own.len() < LIMITS.open_per_source;
                        let own_silent = own.iter().find(|(_, class, _)| *class == Silent);
                        prop_assert_eq!(
                            admitted.class == Silent,
                            is_below || own_silent.is_some(),
                            "{:?}", admitted
                        );
                        let victim = before.iter().find(|(id, ..)| Some(*id) == admitted.evicted);
                        if let Some((id, class, of)) = victim {
                            prop_assert!(!matches!(class, Trusted(_)));
                            prop_assert_eq!(*class == Reserve, admitted.class == Reserve);
                            if is_below {
                                let held = |of| before.iter()
                                    .filter(|one| is_open(one.1) && one.2 == of).count();
                                let mut sources: Vec<_> = before.iter()
                                    .filter(|one| is_open(one.1)).map(|one| one.2).collect();
                                sources.push(from);
                                sources.sort_unstable();
                                sources.dedup();
                                let part = LIMITS.open / sources.len();
                                let first = |class| {
                                    let mut of_class = before.iter().filter(|one| one.1 == class);
                                    of_class.clone().find(|one| held(one.2) > part)
                                        .or_else(|| of_class.next())
                                };
                                let oldest = first(Silent).or_else(|| first(Served));
                                prop_assert_eq!(oldest.map(|one| one.0), Some(*id));
                            } else if admitted.class == Silent {
                                prop_assert_eq!(own_silent.map(|one| one.0), Some(*id));
                                prop_assert_eq!(*of, from);
                            }
                        }
                    }
                }
                let now = members(&table);
                let count = |wanted: &dyn Fn(ConnectionClass, Option<IpAddr>) -> bool| {
                    now.iter().filter(|(_, class, of)| wanted(*class, *of)).count()
                };
                prop_assert!(count(&|class, _| is_open(class)) <= LIMITS.open);
                prop_assert!(count(&|class, _| class == Reserve) <= LIMITS.reserve);
                let trusted = count(&|class, _| matches!(class, Trusted(_)));
                prop_assert!(trusted <= LIMITS.trusted);
                prop_assert_eq!(trusted, table.trusted());
                for class in [Silent, Served, Reserve] {
                    prop_assert_eq!(count(&|one, _| one == class), table.count(class));
                }
                for n in 0..5 {
                    let of = source(n);
                    let network = Trusted(Credential::Network);
                    prop_assert!(count(&|class, from| is_open(class) && from == of) <= LIMITS.open_per_source);
                    prop_assert!(count(&|class, from| class == Reserve && from == of) <= LIMITS.reserve_per_source);
                    prop_assert!(count(&|class, from| class == network && from == of) <= LIMITS.network_per_source);
                }
                let counted: usize = table.by_source.values().flat_map(HashMap::values).sum();
                prop_assert_eq!(counted, now.len());
            }
        }
    }
}
