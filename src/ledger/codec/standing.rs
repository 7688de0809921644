//! Standings, and the parts they share with notices.

use serde::{Deserialize, Serialize};

use super::fault::FailureForm;
use super::{Stored, Undecodable, as_text, refused};
use crate::common::Timestamp;
use crate::lifecycle::DurableRecord;
use crate::model::{AttemptId, Capacity, Condition, Epoch, InodeCounts, Position, Seq, Status};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StandingForm {
    #[serde(with = "as_text")]
    status: Status,
    position: PositionForm,
    attempt: u64,
    capacity: Option<SpaceForm>,
    inodes: Option<SpaceForm>,
    failure: Option<FailureForm>,
    since: i64,
    conditions: Vec<ConditionForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionForm {
    #[serde(with = "as_text")]
    condition: Condition,
    since: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PositionForm {
    epoch: u64,
    seq: u64,
}

impl PositionForm {
    pub(crate) fn of(position: Position) -> Self {
        Self { epoch: position.epoch.0, seq: position.seq.0 }
    }

    pub(super) fn into_position(self) -> Position {
        Position { epoch: Epoch(self.epoch), seq: Seq(self.seq) }
    }
}

/// Bytes or inodes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpaceForm {
    total: u64,
    available: u64,
}

impl SpaceForm {
    pub(crate) fn of(capacity: Capacity) -> Self {
        Self { total: capacity.total(), available: capacity.available() }
    }

    pub(super) fn into_capacity(self) -> Result<Capacity, Undecodable> {
        Capacity::new(self.total, self.available).map_err(refused)
    }

    pub(super) fn of_inodes(InodeCounts { total, available }: InodeCounts) -> Self {
        Self { total, available }
    }

    pub(super) fn into_inodes(self) -> InodeCounts {
        InodeCounts { total: self.total, available: self.available }
    }
}

impl Stored for DurableRecord {
    type Form = StandingForm;

    fn to_form(&self) -> StandingForm {
        let condition = |(&condition, &Timestamp(since))| ConditionForm { condition, since };
        StandingForm {
            status: self.status,
            position: PositionForm::of(self.position),
            attempt: self.attempt.0,
            capacity: self.capacity.map(SpaceForm::of),
            inodes: self.inodes.map(SpaceForm::of_inodes),
            failure: self.failure.as_ref().map(FailureForm::of),
            since: self.since.0,
            conditions: self.conditions.iter().map(condition).collect(),
        }
    }

    fn from_form(form: StandingForm) -> Result<Self, Undecodable> {
        let condition = |ConditionForm { condition, since }| (condition, Timestamp(since));
        Ok(Self {
            status: form.status,
            position: form.position.into_position(),
            attempt: AttemptId(form.attempt),
            capacity: form.capacity.map(SpaceForm::into_capacity).transpose()?,
            inodes: form.inodes.map(SpaceForm::into_inodes),
            failure: form.failure.map(FailureForm::into_failure).transpose()?,
            since: Timestamp(form.since),
            conditions: form.conditions.into_iter().map(condition).collect(),
        })
    }
}
