//! The durable part of a store's health.

use super::{ActiveConditions, MeasuredSpace};
use crate::common::{Timestamp, string_enum};
use crate::model::{
    AttemptFailure, AttemptId, Capacity, Condition, Epoch, InodeCounts, MountLocation, Position,
    Status, Tags,
};

/// What is known of a store's health and survives the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableRecord {
    /// Health.
    pub status: Status,
    /// The place of the newest notice.
    pub position: Position,
    /// The newest attempt; 0 before the first.
    pub attempt: AttemptId,
    /// The last good figures; kept while Disconnected.
    pub capacity: Option<Capacity>,
    /// The inodes of the same sample.
    pub inodes: Option<InodeCounts>,
    /// Why the store is not Connected; none while it is.
    pub failure: Option<AttemptFailure>,
    /// When the status last changed.
    pub since: Timestamp,
    /// The conditions that the last good probe decided.
    pub conditions: ActiveConditions,
}

impl DurableRecord {
    /// A store that has just been added, Connected by its first attempt, before its first notice.
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

    /// Whether only figures differ, which are kept now and then and not with each probe.
    pub fn differs_only_in_capacity(&self, other: &Self) -> bool {
        let Self { status, position, attempt, capacity: _, inodes: _, failure, since, conditions } =
            self;
        (status, position, attempt, since)
            == (&other.status, &other.position, &other.attempt, &other.since)
            && (failure, conditions) == (&other.failure, &other.conditions)
    }
}

/// A store's history, as far as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHistory {
    /// Newest first.
    pub lines: Vec<HistoryEntry>,
    /// How many lines before the oldest that is kept are gone, by number or age.
    pub gone: u64,
}

/// A line of a store's history, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The attempt it belongs to.
    pub attempt: AttemptId,
    /// What happened.
    pub event: HistoryEvent,
}

/// What a line of history tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryEvent {
    /// An attempt began.
    AttemptBegan {
        /// Who asked.
        cause: Cause,
        /// The tags it carries.
        tags: Tags,
    },
    /// A caller with tags joined the running attempt.
    Joined {
        /// The tags of the joiner, which the attempt does not carry.
        tags: Tags,
    },
    /// The daemon was stopped or killed while the attempt ran.
    InterruptedByRestart,
    /// The status changed.
    Changed {
        /// Before.
        old: Status,
        /// After.
        new: Status,
        /// Why, when the new status is Disconnected.
        failure: Option<AttemptFailure>,
    },
    /// A condition began or ended.
    Turned {
        /// Which.
        condition: Condition,
        /// Whether it holds now.
        holds: bool,
    },
    /// What a probe measured; kept now and then.
    Measured(MeasuredSpace),
    /// A person has changed the definition.
    Updated {
        /// The names of the fields, as the API has them; never a value.
        fields: Vec<String>,
    },
    /// A person has pinned a key that an attempt had refused.
    HostKeyAccepted {
        /// Its type, such as `ssh-ed25519`.
        algorithm: String,
        /// As `ssh-keygen -l` prints it.
        fingerprint: String,
    },
    /// The directory lies elsewhere than before, with its marker: on another device, or by another
    /// mount.
    Moved(MountLocation),
}

string_enum! {
    /// Who asked for an attempt.
    pub Cause {
        /// A caller of the API or the command line, or the management node.
        User = "person",
        /// The monitor, because the fault seems cleared or the backoff ran out.
        Monitor = "monitor",
        /// The start of the daemon, which found an attempt unfinished.
        Restart = "restart",
    }
}
