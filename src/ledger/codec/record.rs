//! Stored forms of durable records, and of the parts that they share with notices and history
//! lines.

use serde::{Deserialize, Serialize};

use super::fault::StoredFailure;
use super::{DecodeError, Persist, as_text, invalid};
use crate::common::Timestamp;
use crate::lifecycle::{DurableRecord, PreviousStatus};
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
    /// Absent unless the store is Connecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<StoredPrevious>,
    since: i64,
    conditions: Vec<StoredCondition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPrevious {
    #[serde(with = "as_text")]
    status: Status,
    failure: Option<StoredFailure>,
}

impl StoredPrevious {
    fn from_previous(previous: &PreviousStatus) -> Self {
        let failure = previous.failure.as_ref().map(StoredFailure::from_failure);
        Self { status: previous.status, failure }
    }

    fn into_previous(self) -> Result<PreviousStatus, DecodeError> {
        let failure = self.failure.map(StoredFailure::into_failure).transpose()?;
        match (self.status, &failure) {
            (Status::Connected, None) | (Status::Disconnected, Some(_)) => {
                Ok(PreviousStatus { status: self.status, failure })
            }
            _ => Err(invalid("a previous status that no store has")),
        }
    }
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
            previous: self.previous.as_ref().map(StoredPrevious::from_previous),
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
            previous: form.previous.map(StoredPrevious::into_previous).transpose()?,
            since: Timestamp(form.since),
            conditions: form.conditions.into_iter().map(condition).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::codec::{decode_row, encode_row};
    use crate::model::{AttemptFailure, Fault, Reason};

    #[test]
    fn the_previous_status_reads_back_and_only_a_real_one_does() {
        let plain = DurableRecord::new_connecting(Epoch(1), Timestamp(2));
        let failure = AttemptFailure::from_fault(Fault::new(Reason::NotMounted, "x"));
        for previous in [
            None,
            Some(PreviousStatus { status: Status::Connected, failure: None }),
            Some(PreviousStatus { status: Status::Disconnected, failure: Some(failure) }),
        ] {
            let record = DurableRecord { previous, ..plain.clone() };
            let text = encode_row(&record).unwrap();
            assert_eq!(text.contains("previous"), record.previous.is_some());
            assert_eq!(decode_row::<DurableRecord>(&text).unwrap(), record);
        }
        let text = encode_row(&plain).unwrap();
        for (status, failure) in [("Connecting", "null"), ("Disconnected", "null")] {
            let previous =
                format!(r#""previous":{{"status":"{status}","failure":{failure}}},"since""#);
            let bad = text.replace(r#""since""#, &previous);
            assert!(decode_row::<DurableRecord>(&bad).is_err(), "{bad}");
        }
    }
}
