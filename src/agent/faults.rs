//! The faults that the agent itself creates, as opposed to those that a check found. Pure
//! functions.
//!
//! # Guarantees
//!
//! - Each of these faults has one constructor, and it is here.
//!
//! # Never
//!
//! - Decides when a fault occurred; the caller does.

use std::time::Duration;

use crate::common::BlockingError;
use crate::ledger::{CommitError, ReadError};
use crate::model::{Fault, ImageDir, Reason, Remedy, Store, StoreUuid, ZoneUuid};

/// The daemon is stopping, or the task that was to reply has ended.
pub(super) fn agent_stopping() -> Fault {
    Fault::new(Reason::AgentStopping, "the daemon is stopping")
}

/// The store was removed while a request for it was waiting.
pub(super) fn store_removed() -> Fault {
    Fault::new(Reason::StoreRemoved, "the store was removed while the request was waiting")
}

/// The ledger did not commit a change.
pub(super) fn commit_failed(error: &CommitError) -> Fault {
    let reason = match error {
        CommitError::Busy => Reason::AgentBusy,
        CommitError::Closed => Reason::AgentStopping,
        CommitError::Unsealable(_) => Reason::SecretUnreadable,
        CommitError::StateDisk(_) | CommitError::Displaced(_) | CommitError::Conflict(_) => {
            Reason::StateDiskTrouble
        }
    };
    let fault =
        Fault::new(reason, format!("the change was not recorded and has no effect: {error}"));
    match error {
        CommitError::Displaced(_) => fault.with_remedy(Remedy::RestoreStateFiles),
        _ => fault,
    }
}

/// The state disk did not return what the ledger read within `waited`.
pub(super) fn ledger_read_stalled(waited: Duration) -> Fault {
    Fault::new(Reason::StateDiskTrouble, "the state disk does not respond")
        .with_detail("milliseconds", waited.as_millis())
        .with_remedy(Remedy::RepeatRequest)
}

/// The events of the stores cannot be read.
pub(super) fn events_unreadable(error: &ReadError) -> Fault {
    let reason = match error {
        ReadError::Unreadable(_) => Reason::StateDiskTrouble,
        ReadError::Busy => Reason::AgentBusy,
        ReadError::Closed => Reason::AgentStopping,
    };
    Fault::new(reason, format!("the events cannot be read: {error}"))
}

/// The state disk did not confirm a commit within `waited`.
pub(super) fn state_disk_stalled(waited: Duration) -> Fault {
    let details = "the state disk does not respond; the change may take effect when it does";
    Fault::new(Reason::StateDiskTrouble, details)
        .with_detail("milliseconds", waited.as_millis())
        .with_remedy(Remedy::ReadStoreAgain)
}

/// The ledger did not return the stored secrets before the deadline of the login.
pub(super) fn no_credentials() -> Fault {
    let details = "the state disk did not return the stored secrets in time";
    Fault::new(Reason::StateDiskTrouble, details)
}

/// The system provides no thread for blocking work.
pub(super) fn no_thread(error: &BlockingError) -> Fault {
    Fault::new(Reason::AgentBusy, error.to_string()).with_remedy(Remedy::CheckServiceLimits)
}

/// A check, or the preparation of an attempt, panicked.
pub(super) fn check_panicked() -> Fault {
    Fault::new(Reason::AgentBusy, "a check ended with an internal error, which the log describes")
        .with_remedy(Remedy::ReportLog)
}

/// The checks of an attempt did not end within `limit`.
pub(super) fn attempt_overdue(limit: Duration) -> Fault {
    Fault::new(Reason::AgentBusy, "the checks did not end before the deadline of the attempt")
        .with_detail("milliseconds", limit.as_millis())
}

/// An earlier probe of `dir` was still running after `waited`.
pub(super) fn probe_overdue(dir: &ImageDir, waited: Duration) -> Fault {
    Fault::new(Reason::ProbeTimeout, "an earlier probe did not end in time")
        .with_detail("path", dir.as_str())
        .with_detail("milliseconds", waited.as_millis())
}

/// The queue of the registry, which holds `limit` requests, is full.
pub(super) fn too_many_requests(limit: usize) -> Fault {
    Fault::new(Reason::AgentBusy, "too many requests are queued").with_detail("waiting", limit)
}

/// The queue of a store, which holds `limit` requests, is full.
pub(super) fn too_many_store_requests(limit: usize) -> Fault {
    Fault::new(Reason::AgentBusy, "too many requests are queued for this store")
        .with_detail("waiting", limit)
}

/// `limit` callers already wait for the attempt of a store.
pub(super) fn too_many_callers(limit: usize) -> Fault {
    Fault::new(Reason::AgentBusy, "too many callers wait for the attempt of this store")
        .with_detail("waiting", limit)
}

/// `limit` adds already run.
pub(super) fn too_many_adds(limit: usize) -> Fault {
    Fault::new(Reason::AgentBusy, "too many stores are being added").with_detail("running", limit)
}

/// A store with the uuid of an add is served, or is being added.
pub(super) fn duplicate_uuid(uuid: StoreUuid) -> Fault {
    Fault::new(Reason::DuplicateUuid, format!("the store {uuid} is already served or being added"))
        .with_detail("uuid", uuid.to_string())
}

/// The directory of an add belongs to the store `other`, which is served, or is being added.
pub(super) fn duplicate_directory(dir: &ImageDir, other: StoreUuid) -> Fault {
    Fault::new(
        Reason::DuplicateDirectory,
        format!("a store in {dir} is already served or being added"),
    )
    .with_detail("path", dir.as_str())
    .with_detail("uuid", other.to_string())
}

/// The stored secrets were given for another server, and no key identifies the present one.
pub(super) fn credentials_out_of_scope(store: &Store) -> Fault {
    let (given, present) = (&store.credentials_address, &store.address);
    let details = format!("the stored secrets were given for {given}, and not for {present}");
    Fault::new(Reason::CredentialsOutOfScope, details)
        .with_detail("givenFor", given.to_string())
        .with_detail("host", present.hostname.as_str())
        .with_detail("port", present.port.get())
}

/// Another login of the same store did not end before the deadline.
pub(super) fn store_login_busy() -> Fault {
    Fault::new(Reason::AgentBusy, "another login of this store did not end in time")
}

/// A requested login was not made, because another login was rejected in the meantime.
pub(super) fn login_reserved() -> Fault {
    let details = "another login was rejected meanwhile; the last one before a lockout is kept";
    Fault::new(Reason::AgentBusy, details)
}

/// A requested check did not end within `waited`. It goes on.
pub(super) fn check_waiting(waited: Duration) -> Fault {
    let details = "the check waits for its turn, and did not end in time; it goes on, and the \
                   health of the store shows its result";
    Fault::new(Reason::AgentBusy, details).with_detail("milliseconds", waited.as_millis())
}

/// `limit` callers already wait for a check of a store.
pub(super) fn too_many_check_callers(limit: usize) -> Fault {
    Fault::new(Reason::AgentBusy, "too many callers wait for this check of the store")
        .with_detail("waiting", limit)
}

/// Another trial of the same login did not end before the deadline.
pub(super) fn trial_login_busy() -> Fault {
    Fault::new(Reason::AgentBusy, "another trial of the same login did not end in time")
}

/// A trial login of a store was cancelled, because an attempt of the store is to log in.
pub(super) fn login_preempted() -> Fault {
    Fault::new(
        Reason::AgentBusy,
        "an attempt of the store takes precedence: retry when it has ended",
    )
}

/// The login of a store cannot change while an attempt uses the present one.
pub(super) fn attempt_running() -> Fault {
    let details = "an attempt is running with the present login: retry when it has ended";
    Fault::new(Reason::AgentBusy, details)
}

/// No host key can be accepted while an attempt determines which one the server has.
pub(super) fn host_key_pending() -> Fault {
    let details = "an attempt is running, and determines the host key: retry when it has ended";
    Fault::new(Reason::AgentBusy, details)
}

/// The store is no longer down for the host key that is to be accepted.
pub(super) fn host_key_outdated() -> Fault {
    let details = "the store is no longer down because of this host key: read the store again";
    Fault::new(Reason::AgentBusy, details)
}

/// The store is no longer the one that the login of an update was verified with.
pub(super) fn store_changed() -> Fault {
    Fault::new(Reason::AgentBusy, "the store was changed during the update: read the store again")
}

/// The store is attached to the zone already.
pub(super) fn zone_attached(store: StoreUuid, zone: ZoneUuid) -> Fault {
    let details = format!("the store {store} is already attached to the zone {zone}");
    Fault::new(Reason::ZoneAttached, details)
        .with_detail("uuid", store.to_string())
        .with_detail("zone", zone.to_string())
}

/// The store is not attached to the zone.
pub(super) fn zone_not_attached(store: StoreUuid, zone: ZoneUuid) -> Fault {
    let details = format!("the store {store} is not attached to the zone {zone}");
    Fault::new(Reason::ZoneNotAttached, details)
        .with_detail("uuid", store.to_string())
        .with_detail("zone", zone.to_string())
}

/// The store is attached to `limit` zones.
pub(super) fn too_many_zones(store: StoreUuid, limit: usize) -> Fault {
    Fault::new(Reason::TooManyZones, format!("the store {store} is attached to {limit} zones"))
        .with_detail("uuid", store.to_string())
        .with_detail("zones", limit)
}
