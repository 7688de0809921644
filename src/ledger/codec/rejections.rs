//! Stored forms of rejected logins: those of a store, and trial logins.

use serde::{Deserialize, Serialize};

use super::fault::StoredFailure;
use super::{DecodeError, Persist};
use crate::common::Timestamp;
use crate::model::{AttemptFailure, LoginRejections, Reason, TrialRejections};

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredTrialRejections {
    at: Vec<i64>,
    #[serde(with = "super::as_text")]
    reason: Reason,
}

impl Persist for TrialRejections {
    type Form = StoredTrialRejections;

    fn to_form(&self) -> StoredTrialRejections {
        let at = self.rejected_at.iter().map(|at| at.0).collect();
        StoredTrialRejections { at, reason: self.reason }
    }

    fn from_form(form: StoredTrialRejections) -> Result<Self, DecodeError> {
        let rejected_at = form.at.into_iter().map(Timestamp).collect();
        Ok(Self { rejected_at, reason: form.reason })
    }
}
