//! Lines of history.

use serde::{Deserialize, Serialize};

use super::fault::FailureForm;
use super::notice::TagsForm;
use super::standing::SpaceForm;
use super::store::PlaceForm;
use super::{Stored, Undecodable, as_text};
use crate::common::Timestamp;
use crate::lifecycle::{Cause, HistoryEntry, HistoryEvent, MeasuredSpace};
use crate::model::{AttemptId, Condition, Status};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct EntryForm {
    at: i64,
    attempt: u64,
    event: EventForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EventForm {
    AttemptBegan {
        #[serde(with = "as_text")]
        cause: Cause,
        tags: TagsForm,
    },
    Joined {
        tags: TagsForm,
    },
    InterruptedByRestart {},
    Changed {
        #[serde(with = "as_text")]
        old: Status,
        #[serde(with = "as_text")]
        new: Status,
        failure: Option<FailureForm>,
    },
    Turned {
        #[serde(with = "as_text")]
        condition: Condition,
        holds: bool,
    },
    Measured {
        capacity: SpaceForm,
        inodes: Option<SpaceForm>,
    },
    Moved(PlaceForm),
    Updated {
        fields: Vec<String>,
    },
    HostKeyAccepted {
        algorithm: String,
        fingerprint: String,
    },
}

impl Stored for HistoryEntry {
    type Form = EntryForm;

    fn to_form(&self) -> EntryForm {
        let event = match &self.event {
            HistoryEvent::AttemptBegan { cause, tags } => {
                EventForm::AttemptBegan { cause: *cause, tags: TagsForm::of(tags) }
            }
            HistoryEvent::Joined { tags } => EventForm::Joined { tags: TagsForm::of(tags) },
            HistoryEvent::InterruptedByRestart => EventForm::InterruptedByRestart {},
            HistoryEvent::Changed { old, new, failure } => EventForm::Changed {
                old: *old,
                new: *new,
                failure: failure.as_ref().map(FailureForm::of),
            },
            HistoryEvent::Turned { condition, holds } => {
                EventForm::Turned { condition: *condition, holds: *holds }
            }
            HistoryEvent::Measured(MeasuredSpace { capacity, inodes }) => EventForm::Measured {
                capacity: SpaceForm::of(*capacity),
                inodes: inodes.map(SpaceForm::of_inodes),
            },
            HistoryEvent::Moved(place) => EventForm::Moved(PlaceForm::of(place)),
            HistoryEvent::Updated { fields } => EventForm::Updated { fields: fields.clone() },
            HistoryEvent::HostKeyAccepted { algorithm, fingerprint } => {
                let (algorithm, fingerprint) = (algorithm.clone(), fingerprint.clone());
                EventForm::HostKeyAccepted { algorithm, fingerprint }
            }
        };
        EntryForm { at: self.at.0, attempt: self.attempt.0, event }
    }

    fn from_form(form: EntryForm) -> Result<Self, Undecodable> {
        let event = match form.event {
            EventForm::AttemptBegan { cause, tags } => {
                HistoryEvent::AttemptBegan { cause, tags: tags.into_tags()? }
            }
            EventForm::Joined { tags } => HistoryEvent::Joined { tags: tags.into_tags()? },
            EventForm::InterruptedByRestart {} => HistoryEvent::InterruptedByRestart,
            EventForm::Changed { old, new, failure } => HistoryEvent::Changed {
                old,
                new,
                failure: failure.map(FailureForm::into_failure).transpose()?,
            },
            EventForm::Turned { condition, holds } => HistoryEvent::Turned { condition, holds },
            EventForm::Measured { capacity, inodes } => HistoryEvent::Measured(MeasuredSpace {
                capacity: capacity.into_capacity()?,
                inodes: inodes.map(SpaceForm::into_inodes),
            }),
            EventForm::Moved(place) => HistoryEvent::Moved(place.into_place()),
            EventForm::Updated { fields } => HistoryEvent::Updated { fields },
            EventForm::HostKeyAccepted { algorithm, fingerprint } => {
                HistoryEvent::HostKeyAccepted { algorithm, fingerprint }
            }
        };
        Ok(Self { at: Timestamp(form.at), attempt: AttemptId(form.attempt), event })
    }
}
