//! Lines of history.

use serde::{Deserialize, Serialize};

use super::fault::FailureForm;
use super::notice::TagsForm;
use super::{Stored, Undecodable, as_text};
use crate::lifecycle::{Cause, HistoryEntry, HistoryEvent};
use crate::model::{AttemptId, Status, Timestamp};

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
        };
        Ok(Self { at: Timestamp(form.at), attempt: AttemptId(form.attempt), event })
    }
}
