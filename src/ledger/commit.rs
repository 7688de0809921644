//! Carrying out changes: one transaction for all that wait, each of them whole or absent.

use rusqlite::{Connection, TransactionBehavior};

use super::change::Operation;
use super::error::{CommitError, Refusal};
use super::handle::Reply;
use super::tables::{history, outbox, stores};
use super::{Change, Sealer};
use crate::common::crash_point;

/// A change and who waits for it.
pub(super) type Waiting = (Change, Reply<Result<(), CommitError>>);

/// One transaction for all; a savepoint for each, so that a conflict undoes only its own change.
pub(super) fn commit_batch(connection: &mut Connection, sealer: &Sealer, batch: &mut Vec<Waiting>) {
    if batch.is_empty() {
        return;
    }
    let changes: Vec<&Change> = batch.iter().map(|(change, _)| change).collect();
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
    sealer: &Sealer,
    changes: &[&Change],
) -> rusqlite::Result<Vec<Result<(), Refusal>>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let savepoint = transaction.savepoint()?;
        let done = change.operations().iter().try_for_each(|op| carry_out(&savepoint, sealer, op));
        match done {
            Ok(()) => savepoint.commit()?,
            // The disk: no commit of this batch would hold.
            Err(Refusal::Sqlite(error)) => return Err(error),
            Err(_) => savepoint.finish()?,
        }
        results.push(done);
    }
    crash_point("commit.before");
    transaction.commit()?;
    crash_point("commit.after");
    Ok(results)
}

fn carry_out(connection: &Connection, sealer: &Sealer, op: &Operation) -> Result<(), Refusal> {
    match op {
        Operation::AddStore { store, credentials, standing } => {
            stores::add(connection, store, credentials, standing, sealer)
        }
        Operation::SaveStore(store) => stores::save(connection, store),
        Operation::ReplaceSecrets(store, credentials) => {
            stores::replace_credentials(connection, *store, credentials, sealer)
        }
        Operation::SaveStanding(store, standing) => {
            stores::save_standing(connection, *store, standing)
        }
        Operation::RemoveStore(store) => stores::remove(connection, *store),
        Operation::Enqueue(notice) => outbox::enqueue(connection, notice),
        Operation::Acknowledge(store, position) => {
            outbox::acknowledge(connection, *store, *position)
        }
        Operation::Fold { through, into } => outbox::fold(connection, *through, into),
        Operation::Note(store, entry) => history::note(connection, *store, entry),
        Operation::LeaveWorker(store, worker) => {
            stores::leave_worker(connection, *store, Some(*worker))
        }
        Operation::ForgetWorker(store) => stores::leave_worker(connection, *store, None),
    }
}
