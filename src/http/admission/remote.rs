//! The permits of the TCP connections: the account of the table, shared by the accept loop and the
//! tasks of the connections.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::AbortHandle;

use super::table::{
    AdmissionLimits, AdmissionTable, ConnectionClass, ConnectionId, Credential, Promotion,
};
use super::tarpit::EvictionMark;
use crate::common::lock_unpoisoned;

/// The permits of all TCP connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RemoteLimiter(Arc<SharedAdmission>);

/// The means to close a connection for a newer one.
struct ConnectionHandle {
    task: AbortHandle,
    mark: EvictionMark,
}

impl ConnectionHandle {
    fn evict(self) {
        self.mark.set();
        self.task.abort();
    }
}

/// The table, and the counts that a response reads without a lock.
struct SharedAdmission {
    table: Mutex<AdmissionTable<ConnectionHandle>>,
    served: AtomicUsize,
    trusted: AtomicUsize,
    /// Maximum number of connections of each of the two kinds that are kept after a response.
    max_kept_alive: usize,
}

impl SharedAdmission {
    /// Changes the table, and publishes the counts.
    fn change<T>(&self, change: impl FnOnce(&mut AdmissionTable<ConnectionHandle>) -> T) -> T {
        let mut table: MutexGuard<'_, _> = lock_unpoisoned(&self.table);
        let result = change(&mut table);
        self.served.store(table.count(ConnectionClass::Served), Ordering::Relaxed);
        self.trusted.store(table.trusted(), Ordering::Relaxed);
        result
    }
}

impl RemoteLimiter {
    pub(crate) fn new(limits: AdmissionLimits, max_kept_alive: usize) -> Self {
        Self(Arc::new(SharedAdmission {
            table: Mutex::new(AdmissionTable::new(limits)),
            served: AtomicUsize::new(0),
            trusted: AtomicUsize::new(0),
            max_kept_alive,
        }))
    }

    /// Admits a connection, and closes another one for it if that is necessary. Returns the permit,
    /// and true if another one was closed.
    pub(crate) fn admit(&self, source: Option<IpAddr>) -> (RemotePermit, bool) {
        let admitted = self.0.change(|table| table.admit(source));
        let has_evicted = admitted.evicted.is_some();
        if let Some(handle) = admitted.evicted {
            handle.evict();
        }
        let permit = RemotePermit {
            id: admitted.id,
            shared: Arc::clone(&self.0),
            is_reserve: admitted.class == ConnectionClass::Reserve,
            has_sent_request: AtomicBool::new(false),
            has_network: AtomicBool::new(false),
            has_session: AtomicBool::new(false),
        };
        (permit, has_evicted)
    }

    /// Sets the task of a connection and the mark of its stream. When the connection is closed for
    /// another one, the mark is set and the task is aborted.
    pub(crate) fn set_task(&self, id: ConnectionId, task: AbortHandle, mark: EvictionMark) {
        lock_unpoisoned(&self.0.table).set_handle(id, ConnectionHandle { task, mark });
    }
}

/// The permit of one TCP connection. Dropping it releases the permit.
pub(crate) struct RemotePermit {
    id: ConnectionId,
    shared: Arc<SharedAdmission>,
    /// True if the connection was admitted beyond the share of its source.
    is_reserve: bool,
    // The flags below spare the lock once a fact is recorded.
    has_sent_request: AtomicBool,
    has_network: AtomicBool,
    has_session: AtomicBool,
}

impl RemotePermit {
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn record_request(&self) {
        if !self.has_sent_request.load(Ordering::Relaxed) {
            self.has_sent_request.store(true, Ordering::Relaxed);
            self.shared.change(|table| table.record_request(self.id));
        }
    }

    pub(super) fn record_credential(&self, credential: Credential) -> Promotion {
        let has_session = self.has_session.load(Ordering::Relaxed);
        let has_network = self.has_network.load(Ordering::Relaxed);
        if has_session || has_network && credential == Credential::Network {
            return Promotion::Granted;
        }
        let (promotion, class) = self.shared.change(|table| {
            let promotion = table.record_credential(self.id, credential);
            (promotion, table.class(self.id))
        });
        match class {
            Some(ConnectionClass::Trusted(Credential::Network)) => {
                self.has_network.store(true, Ordering::Relaxed);
            }
            Some(ConnectionClass::Trusted(Credential::Session)) => {
                self.has_session.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        promotion
    }

    pub(super) fn record_stream(&self) {
        self.shared.change(|table| table.record_stream(self.id));
    }

    pub(super) fn should_close_after_response(&self) -> bool {
        let is_trusted =
            self.has_session.load(Ordering::Relaxed) || self.has_network.load(Ordering::Relaxed);
        let count = match (is_trusted, self.is_reserve) {
            (true, _) => &self.shared.trusted,
            (false, true) => return true,
            (false, false) => &self.shared.served,
        };
        count.load(Ordering::Relaxed) > self.shared.max_kept_alive
    }
}

impl Drop for RemotePermit {
    fn drop(&mut self) {
        self.shared.change(|table| table.remove_ended(self.id));
    }
}
