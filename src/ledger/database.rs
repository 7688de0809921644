//! The open database, and its transactions.
//!
//! # Guarantees
//! - Every transaction that changes a row updates the contents row as well
//!   ([`ContentsTracker`]).

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior};

use super::tables::RowError;
use super::tables::contents::ContentsTracker;
use crate::common::crash_point;

/// The open database of the ledger.
pub(super) struct LedgerDatabase {
    connection: Connection,
    contents: ContentsTracker,
}

impl LedgerDatabase {
    /// Takes over a connection to a database of the newest format.
    ///
    /// # Errors
    /// Returns [`RowError`] if the contents row cannot be read.
    pub(super) fn new(connection: Connection) -> Result<Self, RowError> {
        let contents = ContentsTracker::follow(&connection)?;
        Ok(Self { connection, contents })
    }

    /// Returns the connection, for reads.
    pub(super) fn reader(&self) -> &Connection {
        &self.connection
    }

    /// Runs a transaction, and commits it unless `work` fails.
    pub(super) fn transact<T, E: From<rusqlite::Error>>(
        &mut self,
        work: impl FnOnce(&mut LedgerTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { connection, contents } = self;
        let before = contents.current();
        let transact = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            let mut transaction = LedgerTransaction { transaction, contents };
            let done = work(&mut transaction)?;
            contents.save_since(&before, &transaction.transaction)?;
            crash_point("commit.before");
            transaction.transaction.commit()?;
            crash_point("commit.after");
            Ok(done)
        };
        let result = transact();
        if result.is_err() {
            contents.restore(before);
        }
        result
    }
}

/// A transaction of the ledger.
pub(super) struct LedgerTransaction<'a> {
    transaction: Transaction<'a>,
    contents: &'a ContentsTracker,
}

impl LedgerTransaction<'_> {
    /// Returns the connection, for the statements of this transaction.
    pub(super) fn connection(&self) -> &Connection {
        &self.transaction
    }

    /// Runs a part of the transaction. If it fails, only this part is rolled back.
    ///
    /// # Errors
    /// The outer error is that of SQLite, after which the transaction must end.
    pub(super) fn run_part<T, E>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> rusqlite::Result<Result<T, E>> {
        let before = self.contents.current();
        let savepoint: Savepoint<'_> = self.transaction.savepoint()?;
        let result = work(&savepoint);
        match result {
            Ok(_) => savepoint.commit()?,
            Err(_) => {
                savepoint.finish()?;
                self.contents.restore(before);
            }
        }
        Ok(result)
    }
}
