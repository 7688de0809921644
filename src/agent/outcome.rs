//! The record of the outcome of an operation, which becomes durable together with the change that
//! the outcome reports.
//!
//! # Guarantees
//!
//! - The outcome of an operation that changes a status or a definition, or adds or removes a store,
//!   is in the same ledger change as that. A removal that joins a running one changes nothing.

use std::fmt;
use std::sync::Arc;

use crate::ledger::LedgerChange;
use crate::model::{AttemptFailure, Inventory};

/// The outcome of an operation on a store.
#[derive(Clone, Copy, Debug)]
pub enum OperationOutcome<'a> {
    /// The operation succeeded. The value is the store after it.
    Store(&'a Inventory),
    /// The store is removed.
    Removed,
    /// The attempt failed.
    Failed(&'a AttemptFailure),
}

/// Adds the outcome of one operation to ledger changes. Its methods must not block.
pub trait OutcomeRecorder: fmt::Debug + Send + Sync {
    /// Adds the outcome to the change that makes it durable.
    fn record_outcome(&self, change: LedgerChange, outcome: OperationOutcome<'_>) -> LedgerChange;

    /// Adds the note that the operation changes the definition of a store and goes on after that.
    fn record_definition_change(&self, change: LedgerChange) -> LedgerChange;
}

/// The recorder of an operation, if it has one.
pub(super) type OptionalRecorder = Option<Arc<dyn OutcomeRecorder>>;
