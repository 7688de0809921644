//! The operations on stores that the API offers, as a trait, and the reasons why a reconnect fails.
//!
//! # Guarantees
//!
//! - The daemon has one implementation, [`Registry`](super::Registry). The trait exists so that the
//!   HTTP server can be tested against stores that hang, fail and overlap on command.
//!
//! # Never
//!
//! - Knows HTTP.

use std::sync::Arc;
use std::time::Duration;

use super::{
    AcceptError, AddError, AttemptWatch, CapacityHistory, OutcomeRecorder, SpaceSharers,
    StoreSnapshot, UpdateRefusal,
};
use crate::lifecycle::{RequestedCheck, StoreHistory};
use crate::model::{
    AddStore, AttemptFailure, Fault, PlacementChange, StoreUpdate, StoreUuid, Tags,
};

/// The reason why a store was not reconnected, or why its placement was not changed.
#[derive(Clone, Debug)]
pub enum ReconnectError {
    /// No such store is served, or it was removed while the request was waiting.
    UnknownStore(StoreUuid),
    /// A check failed, or the request was not carried out.
    Failed(AttemptFailure),
}

/// The reason why a requested check was not made.
#[derive(Clone, Debug)]
pub enum CheckError {
    /// No such store is served, or it was removed while the request was waiting.
    UnknownStore(StoreUuid),
    /// A caller requested a probe within the probe interval. The next request may follow after this
    /// time.
    TooSoon(Duration),
    /// The check could not be made, or did not end in time; or a login was not made, because the
    /// server has rejected the credentials too often.
    Failed(AttemptFailure),
}

/// The reason why a store was not updated, or is not connected after the update.
#[derive(Clone, Debug)]
pub enum UpdateError {
    /// No such store is served, or it was removed while the request was waiting.
    UnknownStore(StoreUuid),
    /// The update is not permitted. Nothing has changed.
    Refused(UpdateRefusal),
    /// The new login failed, the request was not carried out, or the reconnect failed.
    Failed(AttemptFailure),
}

impl From<ReconnectError> for UpdateError {
    fn from(error: ReconnectError) -> Self {
        match error {
            ReconnectError::UnknownStore(uuid) => Self::UnknownStore(uuid),
            ReconnectError::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl From<Fault> for UpdateError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
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

    /// Returns the number of probe workers that hang in directories of removed stores and of failed
    /// adds. The call reads a file of `/proc` for each of them.
    fn left_workers(&self) -> usize;

    /// Watches the attempts of a store, beginning with the running one. Returns `None` if no such
    /// store is served.
    fn watch_attempts(&self, uuid: StoreUuid) -> Option<AttemptWatch>;

    /// Returns the other stores that share the space of a store. The time does not depend on the
    /// number of stores.
    fn space_sharers(&self, snapshot: &StoreSnapshot) -> SpaceSharers;

    /// Returns the newest lines of the history of a store, and the number of pruned lines. Returns
    /// `None` if the state disk does not reply in time, or the history cannot be read.
    fn history(
        &self,
        uuid: StoreUuid,
        lines: u32,
    ) -> impl Future<Output = Option<StoreHistory>> + Send;

    /// Returns the use of a store on the last `days` days, with today, and the forecast from it.
    /// Returns `None` if the state disk does not reply in time, or the days cannot be read.
    fn capacity_history(
        &self,
        snapshot: &StoreSnapshot,
        days: u32,
    ) -> impl Future<Output = Option<CapacityHistory>> + Send;

    /// Returns the same stores with a recorder, which adds the outcome of the next operation to the
    /// change that makes it durable. An outcome without a change is not recorded.
    #[must_use]
    fn recorded_by(&self, recorder: Arc<dyn OutcomeRecorder>) -> Self;

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

    /// Runs a check of the monitor now, and returns the store after it, whatever the check found.
    /// Overlapping calls share one check, and a call joins a running attempt, which includes both
    /// checks.
    ///
    /// # Errors
    /// [`CheckError`]. Its failure is `agent_busy`, `agent_stopping`, `state_disk_trouble`,
    /// `probe_stuck`, or the last rejection of the credentials.
    fn run_check(
        &self,
        uuid: StoreUuid,
        check: RequestedCheck,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, CheckError>> + Send;

    /// Returns the number of logins of a store that its server may still reject before logins are
    /// suspended, or `None` if no such store is served.
    fn rejections_left(&self, uuid: StoreUuid) -> Option<usize>;

    /// Changes the definition of a store. A new login is verified first, and the present one stays
    /// in force if that fails. A changed login is followed by a reconnect, whose outcome is the
    /// result.
    ///
    /// # Errors
    /// [`UpdateError`]. Its failure gives the fault of the new login, is `agent_busy` if the
    /// store was changed in the meantime, or is that of [`StoreService::reconnect`].
    ///
    /// # Cancel safety
    /// Nothing changes if the future is dropped before the new login is verified. After that the
    /// update goes on.
    fn update(
        &self,
        uuid: StoreUuid,
        update: StoreUpdate,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, UpdateError>> + Send;

    /// Enables or disables a store, or changes its zones. Its status, its checks and its login stay
    /// as they are, and no notice is sent.
    ///
    /// # Errors
    /// [`ReconnectError`]. Its failure is `zone_attached`, `zone_not_attached`, `too_many_zones`,
    /// `agent_busy`, `agent_stopping` or `state_disk_trouble`. Nothing has changed.
    fn change_placement(
        &self,
        uuid: StoreUuid,
        change: PlacementChange,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, ReconnectError>> + Send;

    /// Pins the host key that the last failed attempt of a store recorded, and reconnects the
    /// store.
    ///
    /// # Errors
    /// [`AcceptError`]. The key stays pinned if only the attempt that followed failed.
    fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: &str,
        tags: Tags,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, AcceptError>> + Send;

    /// Adds a store. Its first attempt must succeed.
    ///
    /// # Errors
    /// [`AddError`]. Nothing of the store is left in that case.
    fn add(
        &self,
        store: AddStore,
    ) -> impl Future<Output = Result<Arc<StoreSnapshot>, AddError>> + Send;

    /// Removes a store. Its marker stays in the directory. Returns false if no such store is
    /// served.
    ///
    /// # Errors
    /// `state_disk_trouble` if the removal could not be recorded. The store is still served in that
    /// case.
    fn remove(&self, uuid: StoreUuid) -> impl Future<Output = Result<bool, AttemptFailure>> + Send;
}
