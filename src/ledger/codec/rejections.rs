//! Stored forms of rejected logins.

use serde::{Deserialize, Serialize};

use super::fault::StoredFailure;
use super::{DecodeError, Persist};
use crate::common::Timestamp;
use crate::model::{AttemptFailure, LoginRejections};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredRejections {
    at: Vec<i64>,
    last: StoredFailure,
}

impl Persist for LoginRejections {
    type Form = StoredRejections;

    fn to_form(&self) -> StoredRejections {
        let last = AttemptFailure::from_fault(self.last.clone());
        StoredRejections {
            at: self.rejected_at.iter().map(|at| at.0).collect(),
            last: StoredFailure::from_failure(&last),
        }
    }

    fn from_form(form: StoredRejections) -> Result<Self, DecodeError> {
        let last = form.last.into_failure()?.root_fault().clone();
        Ok(Self { rejected_at: form.at.into_iter().map(Timestamp).collect(), last })
    }
}
