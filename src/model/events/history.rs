//! Events of the history across all stores: their kinds, and the position of a reader.

use std::fmt;
use std::str::FromStr;

use crate::common::{Timestamp, string_enum};
use crate::model::LedgerGeneration;

string_enum! {
    /// The kind of an event, as the API names it.
    pub EventKind {
        /// An attempt began.
        AttemptBegan = "attempt_began",
        /// A caller with tags joined the running attempt.
        Joined = "joined",
        /// The daemon stopped or was killed while an attempt ran.
        InterruptedByRestart = "interrupted_by_restart",
        /// The status changed.
        StatusChanged = "status_changed",
        /// A condition was raised or cleared.
        Condition = "condition",
        /// A sample of the figures.
        Measured = "measured",
        /// The directory is on another device or in another mount.
        Moved = "moved",
        /// A caller changed the definition.
        Updated = "updated",
        /// An operator pinned another host key.
        HostKeyAccepted = "host_key_accepted",
        /// The store was added.
        Added = "added",
        /// The store was removed. This event outlives the store.
        Removed = "removed",
        /// Events are missing. The history has no such line: a reader gets it in their place.
        Gap = "gap",
    }
}

/// The position of a reader behind an event: `<generation>-<id>`. The ids of a generation are never
/// reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventCursor {
    /// The generation of the ledger.
    pub generation: LedgerGeneration,
    /// The number of the event; 0 before the first one.
    pub id: u64,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.id)
    }
}

/// An error for a text that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor, which has 32 lower-case hexadecimal digits, a hyphen and a number")]
pub struct InvalidCursor;

impl FromStr for EventCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (generation, id) = text.split_once('-').ok_or(InvalidCursor)?;
        let cursor = Self {
            generation: generation.parse().map_err(|_| InvalidCursor)?,
            id: id.parse().ok().filter(|id| i64::try_from(*id).is_ok()).ok_or(InvalidCursor)?,
        };
        // One position has one text.
        if cursor.to_string() == text { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

string_enum! {
    /// The cause of a gap.
    pub GapCause {
        /// The events were pruned by age or number, or removed with their store.
        Pruned = "pruned",
        /// The ledger is a restored copy, or another one. What happened after the copy was made is
        /// not known.
        Restored = "restored",
        /// The position is after the newest event of the ledger.
        Unknown = "unknown",
        /// The event cannot be read, because its row is damaged.
        Damaged = "damaged",
    }
}

/// Events that a reader misses at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventGap {
    /// The cause.
    pub cause: GapCause,
    /// The number of missing events, if it is known.
    pub count: Option<u64>,
    /// The time of the newest missing event, or for a restored ledger that of its first start. The
    /// events before this time are not complete. `None` if no time is known.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_and_its_text_lead_to_each_other_and_no_other_text_is_one() {
        let generation = LedgerGeneration::from_u128(0xab);
        for id in [0, 1, 42, i64::MAX.unsigned_abs()] {
            let cursor = EventCursor { generation, id };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        let hex = generation.to_string();
        for bad in [
            String::new(),
            hex.clone(),
            format!("{hex}-"),
            format!("{hex}-01"),
            format!("{hex}-+1"),
            format!("{hex}--1"),
            format!("{hex}-1 "),
            format!("{hex}-{}", u64::MAX),
            format!("{}-1", hex.to_uppercase()),
            "12-1".to_owned(),
        ] {
            assert_eq!(bad.parse::<EventCursor>(), Err(InvalidCursor), "{bad:?}");
        }
    }
}
