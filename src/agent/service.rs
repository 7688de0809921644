//! The operations on stores that the API offers, as a trait, and why a reconnect fails.
//!
//! Guarantees: the daemon has one implementation, [`Registry`](super::Registry). The trait exists so
//! that the HTTP server can be tested against stores that hang, fail and overlap on command.
//! Never: knows HTTP.

use std::sync::Arc;

use super::{AcceptError, AddError, StoreSnapshot};
use crate::lifecycle::StoreHistory;
use crate::model::{AddStore, AttemptFailure, StoreUpdate, StoreUuid, Tags};

/// Why a store was not reconnected. An update fails with it as well, because a reconnect follows a
/// change of the login.
#[derive(Clone, Debug)]
pub enum ReconnectError {
    /// No such store is served, or it was removed while the request was waiting.
    UnknownStore(StoreUuid),
    /// A check failed, or the request was not carried out.
    Failed(AttemptFailure),
}

/// The stores of one daemon. Cheap to clone.
///
/// # Cancel safety
/// All futures only wait. A request that was accepted goes on when its future is dropped.
pub trait StoreService: Clone + Send + Sync + 'static {
    /// Returns all stores, ordered by uuid.
    fn snapshots(&self) -> Vec<Arc<StoreSnapshot>>;

    /// Returns one store, or `None` if no such store is served.
    fn snapshot(&self, uuid: StoreUuid) -> Option<Arc<StoreSnapshot>>;

    /// Returns the newest lines of the history of a store, and how many lines were pruned. Returns
    /// `None` if the state disk does not reply in time.
    fn history(
        &self,
        uuid: StoreUuid,
        lines: u32,
    ) -> impl Future<Output = Option<StoreHistory>> + Send;

    /// Verifies a store again. Overlapping calls share one attempt and one result. `force` logs in
    /// although the server has rejected the credentials so often that logins are suspended.
    ///
    /// # Errors
    /// [`ReconnectError`]. Its failure has the faults of the checks, or `agent_busy`,
    /// `agent_stopping` or `state_disk_trouble` if there was no attempt.
    fn reconnect(
        &self,
        uuid: StoreUuid,
        tags: Tags,
        force: bool,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, ReconnectError>> + Send;

    /// Changes the definition of a store. A new login is verified first, and the present one stays in
    /// force if that fails. A reconnect follows, and its outcome is the result.
    ///
    /// # Errors
    /// [`ReconnectError`]. Its failure says why the new login fails, is `agent_busy` if the store is
    /// changed meanwhile, or is that of [`StoreService::reconnect`].
    ///
    /// # Cancel safety
    /// Nothing changes if the future is dropped before the new login is verified. After that the
    /// update goes on.
    fn update(
        &self,
        uuid: StoreUuid,
        update: StoreUpdate,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, ReconnectError>> + Send;

    /// Pins the host key that the last failed attempt of a store recorded, and reconnects the store.
    ///
    /// # Errors
    /// [`AcceptError`]. The key stays pinned if only the attempt that followed failed.
    fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: &str,
        tags: Tags,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, AcceptError>> + Send;

    /// Adds a store, once its first attempt has succeeded.
    ///
    /// # Errors
    /// [`AddError`]. Then nothing of the store is left.
    fn add(
        &self,
        store: AddStore,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, AddError>> + Send;

    /// Removes a store. Its marker stays in the directory. Returns false if no such store is served.
    ///
    /// # Errors
    /// `state_disk_trouble` if the removal could not be recorded. Then the store is still served.
    fn remove(&self, uuid: StoreUuid) -> impl Future<Output = Result<bool, AttemptFailure>> + Send;
}
