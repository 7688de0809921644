//! The durable part of a store's health.

use super::{ActiveConditions, MeasuredSpace};
use crate::common::{Timestamp, string_enum};
use crate::model::{
    AttemptFailure, AttemptId, Capacity, Condition, Epoch, InodeCounts, MountLocation, Position,
    Status, Tags,
};

/// The state of a store's health that survives a restart of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableRecord {
    /// The health of the store.
    pub status: Status,
    /// The position of the newest notice.
    pub position: Position,
    /// The newest attempt; 0 before the first one.
    pub attempt: AttemptId,
    /// The last good figures. They are kept while the store is Disconnected.
    pub capacity: Option<Capacity>,
    /// The inodes of the same sample.
    pub inodes: Option<InodeCounts>,
    /// The failure for which the store is Disconnected, or `None` otherwise.
    pub failure: Option<AttemptFailure>,
    /// The time at which the status last changed.
    pub since: Timestamp,
    /// The active conditions.
    pub conditions: ActiveConditions,
}

impl DurableRecord {
    /// Creates the record of a new store, which is Connecting until its first attempt ends.
    pub fn new_connecting(epoch: Epoch, at: Timestamp) -> Self {
        Self {
            status: Status::Connecting,
            position: Position::start_of(epoch),
            attempt: AttemptId::default().next_id(),
            capacity: None,
            inodes: None,
            failure: None,
            since: at,
            conditions: ActiveConditions::new(),
        }
    }

    /// Returns true if at most the capacity and inode figures differ. They are persisted less often
    /// than each probe.
    pub fn differs_only_in_capacity(&self, other: &Self) -> bool {
        let Self { status, position, attempt, capacity: _, inodes: _, failure, since, conditions } =
            self;
        (status, position, attempt, since)
            == (&other.status, &other.position, &other.attempt, &other.since)
            && (failure, conditions) == (&other.failure, &other.conditions)
    }
}

/// A part of a store's history: the requested number of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHistory {
    /// The lines, newest first.
    pub lines: Vec<HistoryEntry>,
    /// The number of older lines that were pruned by number or age.
    pub gone: u64,
}

/// A line of a store's history, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The time of the event.
    pub at: Timestamp,
    /// The attempt that it belongs to.
    pub attempt: AttemptId,
    /// The event.
    pub event: HistoryEvent,
}

/// The event of a history line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryEvent {
    /// An attempt began.
    AttemptBegan {
        /// The cause of the attempt.
        cause: Cause,
        /// The tags of the attempt.
        tags: Tags,
    },
    /// A caller with tags joined the running attempt.
    Joined {
        /// The tags of this caller. The attempt does not take them over.
        tags: Tags,
    },
    /// The daemon stopped or was killed while the attempt ran.
    InterruptedByRestart,
    /// The status changed.
    Changed {
        /// The status before.
        old: Status,
        /// The status after.
        new: Status,
        /// The failure, if the new status is Disconnected.
        failure: Option<AttemptFailure>,
    },
    /// A condition began or ended.
    Turned {
        /// The condition.
        condition: Condition,
        /// True if the condition began.
        holds: bool,
    },
    /// A probe measured these figures; only samples are recorded.
    Measured(MeasuredSpace),
    /// A caller changed the definition.
    Updated {
        /// The names of the fields, as the API has them; never a value.
        fields: Vec<String>,
    },
    /// An operator pinned a key that an attempt had rejected.
    HostKeyAccepted {
        /// The type of the key, such as `ssh-ed25519`.
        algorithm: String,
        /// The fingerprint, as `ssh-keygen -l` prints it.
        fingerprint: String,
    },
    /// The directory and its marker are now at another location: on another device, or in another
    /// mount.
    Moved(MountLocation),
}

string_enum! {
    /// The cause of an attempt.
    pub Cause {
        /// A caller of the API or the command line, or the management node.
        User = "person",
        /// The monitor, because the fault seems repaired or the backoff expired.
        Monitor = "monitor",
        /// The start of the daemon, which found an unfinished attempt.
        Restart = "restart",
    }
}
