//! The share of each caller in permits that all callers use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Semaphore;

use crate::common::lock_unpoisoned;

/// A semaphore for each caller that has or waits for a permit. A caller is a network, or `None` for
/// all callers without an address.
#[derive(Debug)]
pub(super) struct CallerShares {
    share: usize,
    callers: Mutex<HashMap<Option<IpAddr>, Weak<Semaphore>>>,
}

impl CallerShares {
    /// Creates the shares. Each caller has this number of permits.
    pub(super) fn new(share: usize) -> Self {
        Self { share, callers: Mutex::default() }
    }

    /// Returns the semaphore of a caller. A permit keeps its semaphore alive, and a semaphore
    /// without permits and waiters is removed.
    pub(super) fn semaphore(&self, caller: Option<IpAddr>) -> Arc<Semaphore> {
        let mut callers = lock_unpoisoned(&self.callers);
        if let Some(existing) = callers.get(&caller).and_then(Weak::upgrade) {
            return existing;
        }
        callers.retain(|_, semaphore| semaphore.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.share));
        callers.insert(caller, Arc::downgrade(&own));
        own
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock_unpoisoned(&self.callers).len()
    }
}
