//! Stored forms of durable records, and of the parts that they share with notices and history
//! lines.

use serde::{Deserialize, Serialize};

use super::fault::StoredFailure;
use super::{DecodeError, Persist, as_text, invalid};
use crate::common::Timestamp;
use crate::lifecycle::DurableRecord;
use crate::model::{AttemptId, Capacity, Condition, Epoch, InodeCounts, Position, Seq, Status};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredRecord {
    #[serde(with = "as_text")]
    status: Status,
    position: StoredPosition,
    attempt: u64,
    capacity: Option<StoredSpace>,
    inodes: Option<StoredSpace>,
    failure: Option<StoredFailure>,
    since: i64,
    conditions: Vec<StoredCondition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCondition {
    #[serde(with = "as_text")]
    condition: Condition,
    since: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPosition {
    epoch: u64,
    seq: u64,
}

impl StoredPosition {
    pub(crate) fn from_position(position: Position) -> Self {
        Self { epoch: position.epoch.0, seq: position.seq.0 }
    }

    pub(super) fn into_position(self) -> Position {
        Position { epoch: Epoch(self.epoch), seq: Seq(self.seq) }
    }
}

/// A total and an available number, of bytes or of inodes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSpace {
    total: u64,
    available: u64,
}

impl StoredSpace {
    pub(crate) fn from_capacity(capacity: Capacity) -> Self {
        Self { total: capacity.total(), available: capacity.available() }
    }

    pub(super) fn into_capacity(self) -> Result<Capacity, DecodeError> {
        Capacity::new(self.total, self.available).map_err(invalid)
    }

    pub(super) fn from_inodes(InodeCounts { total, available }: InodeCounts) -> Self {
        Self { total, available }
    }

    pub(super) fn into_inodes(self) -> InodeCounts {
        InodeCounts { total: self.total, available: self.available }
    }
}

impl Persist for DurableRecord {
    type Form = StoredRecord;

    fn to_form(&self) -> StoredRecord {
        let condition = |(&condition, &Timestamp(since))| StoredCondition { condition, since };
        StoredRecord {
            status: self.status,
            position: StoredPosition::from_position(self.position),
            attempt: self.attempt.0,
            capacity: self.capacity.map(StoredSpace::from_capacity),
            inodes: self.inodes.map(StoredSpace::from_inodes),
            failure: self.failure.as_ref().map(StoredFailure::from_failure),
            since: self.since.0,
            conditions: self.conditions.iter().map(condition).collect(),
        }
    }

    fn from_form(form: StoredRecord) -> Result<Self, DecodeError> {
        let condition = |StoredCondition { condition, since }| (condition, Timestamp(since));
        Ok(Self {
            status: form.status,
            position: form.position.into_position(),
            attempt: AttemptId(form.attempt),
            capacity: form.capacity.map(StoredSpace::into_capacity).transpose()?,
            inodes: form.inodes.map(StoredSpace::into_inodes),
            failure: form.failure.map(StoredFailure::into_failure).transpose()?,
            since: Timestamp(form.since),
            conditions: form.conditions.into_iter().map(condition).collect(),
        })
    }
}
