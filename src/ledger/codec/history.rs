//! Stored forms of history lines.

use serde::{Deserialize, Serialize};

use super::fault::StoredFailure;
use super::notice::StoredTags;
use super::record::StoredSpace;
use super::store::StoredMount;
use super::{DecodeError, Persist, as_text};
use crate::common::Timestamp;
use crate::lifecycle::{Cause, HistoryEntry, HistoryEvent, MeasuredSpace};
use crate::model::{AttemptId, Condition, Status};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredEntry {
    at: i64,
    attempt: u64,
    event: StoredEvent,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StoredEvent {
    AttemptBegan {
        #[serde(with = "as_text")]
        cause: Cause,
        tags: StoredTags,
    },
    Joined {
        tags: StoredTags,
    },
    InterruptedByRestart {},
    Changed {
        #[serde(with = "as_text")]
        old: Status,
        #[serde(with = "as_text")]
        new: Status,
        failure: Option<StoredFailure>,
    },
    Turned {
        #[serde(with = "as_text")]
        condition: Condition,
        holds: bool,
    },
    Measured {
        capacity: StoredSpace,
        inodes: Option<StoredSpace>,
    },
    Moved(StoredMount),
    Updated {
        fields: Vec<String>,
    },
    HostKeyAccepted {
        algorithm: String,
        fingerprint: String,
    },
    Added {
        name: String,
    },
    Removed {
        name: String,
    },
}

impl Persist for HistoryEntry {
    type Form = StoredEntry;

    fn to_form(&self) -> StoredEntry {
        let event = match &self.event {
            HistoryEvent::AttemptStarted { cause, tags } => {
                StoredEvent::AttemptBegan { cause: *cause, tags: StoredTags::from_tags(tags) }
            }
            HistoryEvent::RequestJoined { tags } => {
                StoredEvent::Joined { tags: StoredTags::from_tags(tags) }
            }
            HistoryEvent::InterruptedByRestart => StoredEvent::InterruptedByRestart {},
            HistoryEvent::StatusChanged { old, new, failure } => StoredEvent::Changed {
                old: *old,
                new: *new,
                failure: failure.as_ref().map(StoredFailure::from_failure),
            },
            HistoryEvent::ConditionChanged { condition, active: holds } => {
                StoredEvent::Turned { condition: *condition, holds: *holds }
            }
            HistoryEvent::SpaceMeasured(MeasuredSpace { capacity, inodes }) => {
                StoredEvent::Measured {
                    capacity: StoredSpace::from_capacity(*capacity),
                    inodes: inodes.map(StoredSpace::from_inodes),
                }
            }
            HistoryEvent::DirectoryMoved(place) => {
                StoredEvent::Moved(StoredMount::from_mount(place))
            }
            HistoryEvent::DefinitionUpdated { fields } => {
                StoredEvent::Updated { fields: fields.clone() }
            }
            HistoryEvent::HostKeyAccepted { algorithm, fingerprint } => {
                let (algorithm, fingerprint) = (algorithm.clone(), fingerprint.clone());
                StoredEvent::HostKeyAccepted { algorithm, fingerprint }
            }
            HistoryEvent::StoreAdded { name } => StoredEvent::Added { name: name.clone() },
            HistoryEvent::StoreRemoved { name } => StoredEvent::Removed { name: name.clone() },
        };
        StoredEntry { at: self.at.0, attempt: self.attempt.0, event }
    }

    fn from_form(form: StoredEntry) -> Result<Self, DecodeError> {
        let event = match form.event {
            StoredEvent::AttemptBegan { cause, tags } => {
                HistoryEvent::AttemptStarted { cause, tags: tags.into_tags()? }
            }
            StoredEvent::Joined { tags } => HistoryEvent::RequestJoined { tags: tags.into_tags()? },
            StoredEvent::InterruptedByRestart {} => HistoryEvent::InterruptedByRestart,
            StoredEvent::Changed { old, new, failure } => HistoryEvent::StatusChanged {
                old,
                new,
                failure: failure.map(StoredFailure::into_failure).transpose()?,
            },
            StoredEvent::Turned { condition, holds } => {
                HistoryEvent::ConditionChanged { condition, active: holds }
            }
            StoredEvent::Measured { capacity, inodes } => {
                HistoryEvent::SpaceMeasured(MeasuredSpace {
                    capacity: capacity.into_capacity()?,
                    inodes: inodes.map(StoredSpace::into_inodes),
                })
            }
            StoredEvent::Moved(place) => HistoryEvent::DirectoryMoved(place.into_mount()),
            StoredEvent::Updated { fields } => HistoryEvent::DefinitionUpdated { fields },
            StoredEvent::HostKeyAccepted { algorithm, fingerprint } => {
                HistoryEvent::HostKeyAccepted { algorithm, fingerprint }
            }
            StoredEvent::Added { name } => HistoryEvent::StoreAdded { name },
            StoredEvent::Removed { name } => HistoryEvent::StoreRemoved { name },
        };
        Ok(Self { at: Timestamp(form.at), attempt: AttemptId(form.attempt), event })
    }
}
