//! Errors of a change: those within a transaction, and those that callers receive.

use rusqlite::ErrorCode;

use super::codec::DecodeError;
use super::tables::RowError;
use crate::common::ErrorChain;
use crate::model::Fault;

/// An error of a commit. No part of the change was made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The state disk rejected the commit. The same change may succeed later.
    #[error("the state disk returned an error: {0}")]
    StateDisk(String),
    /// The files in the state directory are no longer those that the daemon has opened or written.
    #[error("{0}")]
    Displaced(String),
    /// The change contradicts the ledger: a uuid, directory or position is taken, or a store is
    /// gone.
    #[error("the change contradicts the ledger: {0}")]
    Conflict(String),
    /// The secrets cannot be sealed.
    #[error("the secrets cannot be sealed: {0}")]
    Unsealable(Fault),
    /// Too many changes are waiting, because the state disk is slow or hangs.
    #[error("too many changes are waiting for the state disk")]
    Busy,
    /// The ledger is closed.
    #[error("the ledger is closed")]
    Closed,
}

/// An error of one operation.
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
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Conflict(message) => Self::Conflict(message),
            OperationError::Unsealable(fault) => Self::Unsealable(fault),
            OperationError::Sqlite(error) => Self::StateDisk(error.to_string()),
        }
    }
}

/// Converts the error of a row that a change depends on. A bad row rejects only this change, so it
/// becomes a conflict.
impl From<RowError> for OperationError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Sqlite(error) => error.into(),
            error => Self::Conflict(ErrorChain(&error).to_string()),
        }
    }
}
