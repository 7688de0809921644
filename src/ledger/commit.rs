//! Commits changes: one transaction for all waiting changes, in which each change is applied
//! completely or not at all.

use rusqlite::{Connection, TransactionBehavior};

use super::change::Operation;
use super::error::{CommitError, OperationError};
use super::handle::ReplySender;
use super::tables::{history, outbox, stores};
use super::{LedgerChange, SecretSealer};
use crate::common::crash_point;

/// A change and the sender for its result.
pub(super) type PendingCommit = (LedgerChange, ReplySender<Result<(), CommitError>>);

/// Commits all changes in one transaction. Each change has its own savepoint, so that a conflict
/// rolls back only that change.
pub(super) fn commit_batch(
    connection: &mut Connection,
    sealer: &SecretSealer,
    batch: &mut Vec<PendingCommit>,
) {
    if batch.is_empty() {
        return;
    }
    let changes: Vec<&LedgerChange> = batch.iter().map(|(change, _)| change).collect();
    match commit_all(connection, sealer, &changes) {
        Ok(results) => {
            for ((_, reply), result) in batch.drain(..).zip(results) {
                let _ = reply.send(result.map_err(CommitError::from));
            }
        }
        Err(error) => {
            for (_, reply) in batch.drain(..) {
                let _ = reply.send(Err(CommitError::StateDisk(error.to_string())));
            }
        }
    }
}

fn commit_all(
    connection: &mut Connection,
    sealer: &SecretSealer,
    changes: &[&LedgerChange],
) -> rusqlite::Result<Vec<Result<(), OperationError>>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let savepoint = transaction.savepoint()?;
        let done =
            change.operation_list().iter().try_for_each(|op| carry_out(&savepoint, sealer, op));
        match done {
            Ok(()) => savepoint.commit()?,
            // The disk failed, so no commit of this batch would succeed.
            Err(OperationError::Sqlite(error)) => return Err(error),
            Err(_) => savepoint.finish()?,
        }
        results.push(done);
    }
    crash_point("commit.before");
    transaction.commit()?;
    crash_point("commit.after");
    Ok(results)
}

fn carry_out(
    connection: &Connection,
    sealer: &SecretSealer,
    op: &Operation,
) -> Result<(), OperationError> {
    match op {
        Operation::AddStore { store, credentials, standing } => {
            stores::insert_store(connection, store, credentials, standing, sealer)
        }
        Operation::SaveStore(store) => stores::update_store(connection, store),
        Operation::ReplaceSecrets(store, credentials) => {
            stores::replace_credentials(connection, *store, credentials, sealer)
        }
        Operation::SaveStanding(store, standing) => {
            stores::save_standing(connection, *store, standing)
        }
        Operation::RemoveStore(store) => stores::delete_store(connection, *store),
        Operation::Enqueue(notice) => outbox::insert_notice(connection, notice),
        Operation::Acknowledge(store, position) => {
            outbox::delete_acknowledged(connection, *store, *position)
        }
        Operation::Fold { through, into } => outbox::coalesce(connection, *through, into),
        Operation::Note(store, entry) => history::add_entry(connection, *store, entry),
        Operation::LeaveWorker(store, worker) => {
            stores::leave_worker(connection, *store, Some(*worker))
        }
        Operation::ForgetWorker(store) => stores::leave_worker(connection, *store, None),
    }
}
