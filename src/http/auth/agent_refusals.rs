//! The calls of the agent protocol that were refused because of their address, for the diagnosis.
//!
//! # Guarantees
//!
//! - It keeps at most [`MAX_ADDRESSES`] addresses: those of the newest refusals.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::common::{Clock, Timestamp, lock_unpoisoned};
use crate::diagnosis::RefusedCaller;

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
        // The newest one is the last, so that the oldest one leaves.
        let earlier = match known {
            Some(at) => addresses.remove(at).calls,
            None if addresses.len() >= MAX_ADDRESSES => {
                addresses.remove(0);
                0
            }
            None => 0,
        };
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
    use super::*;
    use crate::common::SystemClock;

    #[test]
    fn the_newest_addresses_stay_with_their_counts() {
        let refusals = AgentRefusals::new(Arc::new(SystemClock));
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        for last in [1, 2, 1, 3, 4, 5, 6, 7, 8, 1] {
            refusals.record(address(last));
        }
        refusals.record("::ffff:192.0.2.8".parse().unwrap());
        refusals.record(address(9));
        let callers = refusals.callers();
        let found: Vec<_> = callers.iter().map(|it| (it.address.as_str(), it.calls)).collect();
        assert_eq!(found.len(), MAX_ADDRESSES);
        assert!(!found.iter().any(|(address, _)| *address == "192.0.2.2"), "{found:?}");
        assert_eq!(found[5..], [("192.0.2.1", 3), ("192.0.2.8", 2), ("192.0.2.9", 1)]);
        assert!(callers.iter().all(|caller| caller.last > Timestamp(0)));
    }
}
