//! The history of a store: its lines, and the sampling of capacity figures. The samples show how a
//! store grows and fills, but take little disk space.

use std::time::Duration;

use super::{Cause, MeasuredSpace, StepTime, StoreRecord};
use crate::common::Timestamp;
use crate::model::{
    AttemptFailure, AttemptId, Condition, EventCursor, EventGap, EventKind, MountLocation, Status,
    StoreUuid, Tags,
};

/// Minimum time between two samples of changed figures.
const RECORD_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A part of a store's history: the requested number of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHistory {
    /// The lines, newest first.
    pub lines: Vec<HistoryEntry>,
    /// The number of older lines that were pruned by number or age.
    pub pruned: u64,
}

/// A selection of events across all stores, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// The position behind which the events are read, or `None` to begin with the oldest one.
    pub after: Option<EventCursor>,
    /// The store, or `None` for all stores, also removed ones.
    pub store: Option<StoreUuid>,
    /// The kinds, or none for all kinds.
    pub kinds: Vec<EventKind>,
    /// The maximum number of events.
    pub limit: u32,
}

/// A part of the events after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events and the gaps between them, in the order of their positions. There may be none
    /// although later pages have some.
    pub items: Vec<EventItem>,
    /// The position of the next page.
    pub next: EventCursor,
    /// True if there are no later events now.
    pub is_last: bool,
}

/// An item of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventItem {
    /// An event.
    Event(RecordedEvent),
    /// Events are missing. The cursor is the position behind the newest of them, so that a reader
    /// that goes on from any later position does not get the gap again.
    Gap(EventCursor, EventGap),
}

/// An event with its store and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The position behind the event.
    pub cursor: EventCursor,
    /// The store, which may be removed.
    pub store: StoreUuid,
    /// The line of the history.
    pub entry: HistoryEntry,
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
    AttemptStarted {
        /// The cause of the attempt.
        cause: Cause,
        /// The tags of the attempt.
        tags: Tags,
    },
    /// A caller with tags joined the running attempt.
    RequestJoined {
        /// The tags of this caller. The attempt does not take them over.
        tags: Tags,
    },
    /// The daemon stopped or was killed while the attempt ran.
    InterruptedByRestart,
    /// The status changed.
    StatusChanged {
        /// The status before.
        old: Status,
        /// The status after.
        new: Status,
        /// The failure, if the new status is Disconnected.
        failure: Option<AttemptFailure>,
    },
    /// A condition was raised or cleared.
    ConditionChanged {
        /// The condition.
        condition: Condition,
        /// True if the condition was raised.
        active: bool,
    },
    /// A probe measured these figures; only samples are recorded.
    SpaceMeasured(MeasuredSpace),
    /// A caller changed the definition.
    DefinitionUpdated {
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
    DirectoryMoved(MountLocation),
    /// The store was added.
    StoreAdded {
        /// The name of the store.
        name: String,
    },
    /// The store was removed. The line outlives the store.
    StoreRemoved {
        /// The last name of the store.
        name: String,
    },
}

impl HistoryEvent {
    /// Returns the kind of the event.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::AttemptStarted { .. } => EventKind::AttemptBegan,
            Self::RequestJoined { .. } => EventKind::Joined,
            Self::InterruptedByRestart => EventKind::InterruptedByRestart,
            Self::StatusChanged { .. } => EventKind::StatusChanged,
            Self::ConditionChanged { .. } => EventKind::Condition,
            Self::SpaceMeasured(_) => EventKind::Measured,
            Self::DefinitionUpdated { .. } => EventKind::Updated,
            Self::HostKeyAccepted { .. } => EventKind::HostKeyAccepted,
            Self::DirectoryMoved(_) => EventKind::Moved,
            Self::StoreAdded { .. } => EventKind::Added,
            Self::StoreRemoved { .. } => EventKind::Removed,
        }
    }
}

/// Returns true if these figures belong in the history. A new filesystem size is recorded at once.
/// Other changes are recorded at most every ten minutes.
pub(super) fn should_record(r: &StoreRecord, measured: &MeasuredSpace, now: StepTime) -> bool {
    let Some(last) = r.durable.capacity else { return true };
    if last.total() != measured.capacity.total() {
        return true;
    }
    let changed = last != measured.capacity || r.durable.inodes != measured.inodes;
    let rested = r.last_sample.is_none_or(|at| now.uptime.saturating_sub(at) >= RECORD_INTERVAL);
    changed && rested
}
