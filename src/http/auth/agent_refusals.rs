//! The calls of the agent protocol that were refused because of their address, for the diagnosis.
//!
//! # Guarantees
//!
//! - It keeps at most [`MAX_ADDRESSES`] addresses: those with the most calls, of which an old one
//!   leaves first.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::common::{Clock, Timestamp, lock_unpoisoned};
use crate::diagnosis::{RECENT_CALL_MS, RefusedCaller};

/// Maximum number of addresses. A management node has a few.
const MAX_ADDRESSES: usize = 8;

/// The refused calls of one address.
#[derive(Clone, Copy, Debug)]
struct AddressRefusals {
    address: IpAddr,
    calls: u64,
    last: Timestamp,
}

/// The refused calls since the start, by address.
pub(in crate::http) struct AgentRefusals {
    clock: Arc<dyn Clock>,
    addresses: Mutex<Vec<AddressRefusals>>,
}

impl AgentRefusals {
    pub(in crate::http) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, addresses: Mutex::default() }
    }

    /// Counts a refused call.
    pub(super) fn record(&self, address: IpAddr) {
        let (address, now) = (address.to_canonical(), self.clock.now());
        let mut addresses = lock_unpoisoned(&self.addresses);
        let known = addresses.iter().position(|it| it.address == address);
        // The newest one is the last. One that scans calls once, and a management node again and
        // again.
        let earlier = known.map_or(0, |at| addresses.remove(at).calls);
        if addresses.len() >= MAX_ADDRESSES {
            let rank = |it: &AddressRefusals| {
                (now.0.saturating_sub(it.last.0) <= RECENT_CALL_MS, it.calls)
            };
            let ranks = addresses.iter().map(rank).enumerate();
            if let Some((least, _)) = ranks.min_by_key(|(_, rank)| *rank) {
                addresses.remove(least);
            }
        }
        addresses.push(AddressRefusals { address, calls: earlier.saturating_add(1), last: now });
    }

    /// Returns the refused callers, the newest one last.
    pub(in crate::http) fn callers(&self) -> Vec<RefusedCaller> {
        let addresses = lock_unpoisoned(&self.addresses);
        let caller = |it: &AddressRefusals| RefusedCaller {
            address: it.address.to_string(),
            calls: it.calls,
            last: it.last,
        };
        addresses.iter().map(caller).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A clock that the test sets.
    #[derive(Default)]
    struct SetTime(AtomicI64);

    impl Clock for SetTime {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn counts(refusals: &AgentRefusals) -> Vec<(String, u64)> {
        refusals.callers().into_iter().map(|it| (it.address, it.calls)).collect()
    }

    fn count(last: u8, calls: u64) -> (String, u64) {
        (address(last).to_string(), calls)
    }

    #[test]
    fn the_addresses_with_the_most_calls_stay() {
        let refusals = AgentRefusals::new(Arc::new(SetTime::default()));
        for last in [1, 2, 1, 3, 4, 5, 6, 7, 8, 1] {
            refusals.record(address(last));
        }
        refusals.record("::ffff:192.0.2.8".parse().unwrap());
        refusals.record(address(9));
        let found = counts(&refusals);
        assert_eq!(found.len(), MAX_ADDRESSES);
        assert!(!found.contains(&count(2, 1)), "{found:?}");
        assert_eq!(found[5..], [count(1, 3), count(8, 2), count(9, 1)]);
        // Many addresses with one call each take the places of one another only.
        (20..200).for_each(|last| refusals.record(address(last)));
        let found = counts(&refusals);
        assert!(found.contains(&count(1, 3)) && found.contains(&count(8, 2)), "{found:?}");
    }

    #[test]
    fn an_address_that_is_silent_for_long_leaves_first() {
        let clock = Arc::new(SetTime::default());
        let refusals = AgentRefusals::new(Arc::clone(&clock) as Arc<dyn Clock>);
        [1, 1, 1].into_iter().for_each(|last| refusals.record(address(last)));
        clock.0.store(RECENT_CALL_MS + 1, Ordering::Relaxed);
        (2..=9).for_each(|last| refusals.record(address(last)));
        let found = counts(&refusals);
        assert_eq!(found, (2..=9).map(|last| count(last, 1)).collect::<Vec<_>>());
    }
}
