//! The facts about a store that its diagnosis needs.

use crate::catalog::DoctorCheck;
use crate::common::Timestamp;
use crate::lifecycle::StoreChecks;
use crate::model::{
    AttemptFailure, Capacity, Condition, HostIdentity, InodeCounts, Status, StoreUuid,
};

/// The checks that an examination without a write makes.
pub(super) const EXAMINED_CHECKS: [DoctorCheck; 4] =
    [DoctorCheck::Directory, DoctorCheck::Permission, DoctorCheck::Mount, DoctorCheck::Identity];
/// The store that a finding belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreTitle {
    /// The uuid.
    pub uuid: StoreUuid,
    /// The name.
    pub name: String,
}

/// An active condition of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFact {
    /// The condition.
    pub condition: Condition,
    /// The observation behind it.
    pub message: String,
    /// The time at which it began, if that is known.
    pub since: Option<Timestamp>,
}

/// The delivery of the notices of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportFact {
    /// The host and port of the receiver in use.
    pub destination: Option<String>,
    /// The number of notices that wait.
    pub pending: u64,
    /// The reply to the newest request, if the receiver did not accept the notice.
    pub last_reply: Option<String>,
    /// The time of the next request.
    pub next_try: Option<Timestamp>,
}

/// The process that collected the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreObserver {
    /// The daemon, which makes every check.
    Daemon,
    /// Another process, while no daemon answers. It knows the ledger and has looked at the
    /// directory, without a write and without a login.
    OtherProcess {
        /// True if the id of this installation is known, without which no look is possible.
        has_node_id: bool,
    },
}

/// The facts about a store that its diagnosis needs.
#[derive(Clone, Copy, Debug)]
pub struct StoreFacts<'a> {
    /// The store.
    pub title: &'a StoreTitle,
    /// The process that collected the facts.
    pub observer: StoreObserver,
    /// The status.
    pub status: Status,
    /// The time at which the status last changed.
    pub since: Timestamp,
    /// The failure for which the store is Disconnected.
    pub failure: Option<&'a AttemptFailure>,
    /// The results of each check since the daemon started.
    pub checks: &'a StoreChecks,
    /// The active conditions.
    pub conditions: &'a [ConditionFact],
    /// The last good figures.
    pub capacity: Option<Capacity>,
    /// The inodes of the same sample.
    pub inodes: Option<InodeCounts>,
    /// The evidence of the host from the newest good login since the daemon started.
    pub host_identity: Option<&'a HostIdentity>,
    /// The delivery of notices, or `None` without a callback.
    pub report: Option<&'a ReportFact>,
}
