//! Why a change is not made: inside a transaction, and as others are told.

use rusqlite::ErrorCode;

use super::codec::DecodeError;
use super::tables::rows::RowError;
use crate::model::Fault;

/// Why a change was not made. It was not made at all.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The state disk refuses; the same change may succeed later.
    #[error("the state disk refuses: {0}")]
    StateDisk(String),
    /// The change contradicts what is there: a uuid, directory or position is taken, a store gone.
    #[error("it contradicts the ledger: {0}")]
    Conflict(String),
    /// The secrets cannot be sealed.
    #[error("the secrets cannot be sealed: {0}")]
    Unsealable(Fault),
    /// Too many changes wait: the state disk is slow or hangs.
    #[error("too many changes wait for the state disk")]
    Busy,
    /// The ledger has been closed.
    #[error("the ledger is closed")]
    Closed,
}

/// Why one operation was not carried out.
#[derive(Debug)]
pub(super) enum OperationError {
    Conflict(String),
    Unsealable(Fault),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for OperationError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Conflict(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}

impl From<DecodeError> for OperationError {
    fn from(error: DecodeError) -> Self {
        Self::Conflict(error.to_string())
    }
}

impl From<OperationError> for CommitError {
    fn from(refusal: OperationError) -> Self {
        match refusal {
            OperationError::Conflict(what) => Self::Conflict(what),
            OperationError::Unsealable(fault) => Self::Unsealable(fault),
            OperationError::Sqlite(error) => Self::StateDisk(error.to_string()),
        }
    }
}

/// A row that a change rests on is not what it should be: the change is not made, others may be.
impl From<RowError> for OperationError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Sqlite(error) => error.into(),
            bad => Self::Conflict(bad.to_string()),
        }
    }
}
