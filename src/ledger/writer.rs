//! The ledger thread: the only writer of the database. All waiting changes share one transaction,
//! in which each change is applied completely or not at all.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::change::Operation;
use super::database::{LedgerDatabase, LedgerTransaction};
use super::error::{CommitError, OperationError};
use super::handle::{Ledger, LedgerRequest, MAX_QUEUED_REQUESTS, ReadError, ReplySender};
use super::tables::RowError;
use super::tables::{capacity, events, history, hooks, jobs, meta, outbox, rejections, stores};
use super::{LedgerChange, LedgerStats, SecretSealer};
use crate::common::ErrorChain;

/// Maximum number of commits per transaction. It limits the wait of the first one.
const MAX_BATCH: usize = 128;

/// A change and the sender for its result.
type PendingCommit = (LedgerChange, ReplySender<Result<(), CommitError>>);

/// The running ledger thread.
#[derive(Debug)]
pub struct LedgerWriter {
    requests: mpsc::Sender<LedgerRequest>,
    closed: CancellationToken,
    thread: JoinHandle<()>,
}

impl LedgerWriter {
    /// Waits until the thread has ended. Unless it is closed, the thread ends only because of an
    /// internal error. After that nothing can be read or committed.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub async fn wait_closed(&self) {
        self.closed.cancelled().await;
    }

    /// Carries out the waiting requests and closes the database. Later requests fail with
    /// [`CommitError::Closed`]. If the state disk hangs, this call hangs too, so give it a
    /// deadline.
    ///
    /// # Cancel safety
    /// If this future is dropped before the request is queued, the thread runs until the last
    /// handle is dropped. Otherwise it continues to close.
    pub async fn close_ledger(self) {
        // Sending fails only if the thread has already ended.
        let _ = self.requests.send(LedgerRequest::Close).await;
        self.closed.cancelled().await;
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

/// Starts the thread.
pub(super) fn start_writer(
    mut database: LedgerDatabase,
    sealer: SecretSealer,
) -> io::Result<(Ledger, LedgerWriter)> {
    let stats = Arc::<LedgerStats>::default();
    database.count_transactions(Arc::clone(&stats));
    let (requests, inbox) = mpsc::channel(MAX_QUEUED_REQUESTS);
    let newest_event = watch::Sender::new(0);
    let publisher = newest_event.clone();
    let (thread, closed) = spawn_watched(move || run_writer(database, &sealer, inbox, &publisher))?;
    let ledger = Ledger::new(requests.clone(), newest_event, stats);
    Ok((ledger, LedgerWriter { requests, closed, thread }))
}

/// Spawns a thread, and returns a token that is cancelled when the thread ends, even by a panic.
fn spawn_watched(
    work: impl FnOnce() + Send + 'static,
) -> io::Result<(JoinHandle<()>, CancellationToken)> {
    let closed = CancellationToken::new();
    let ending = closed.clone().drop_guard();
    let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
        let _ending = ending;
        work();
    })?;
    Ok((thread, closed))
}

fn run_writer(
    mut database: LedgerDatabase,
    sealer: &SecretSealer,
    mut inbox: mpsc::Receiver<LedgerRequest>,
    newest_event: &watch::Sender<u64>,
) {
    let mut batch = Vec::new();
    while let Some(mut next) = inbox.blocking_recv() {
        // Waiting commits form one batch. The first other request ends the batch.
        let other = loop {
            match next {
                LedgerRequest::Commit(change, reply) => batch.push((change, reply)),
                other => break Some(other),
            }
            match inbox.try_recv() {
                Ok(request) if batch.len() < MAX_BATCH => next = request,
                Ok(request) => break Some(request),
                Err(_) => break None,
            }
        };
        commit_batch(&mut database, sealer, &mut batch);
        match other {
            Some(LedgerRequest::Commit(change, reply)) => {
                batch.push((change, reply));
                commit_batch(&mut database, sealer, &mut batch);
            }
            Some(LedgerRequest::Close) => break,
            Some(other) => answer_request(&mut database, sealer, other),
            None => {}
        }
        publish_events(&database, newest_event);
    }
    inbox.close();
    // Dropping the remaining requests answers them with `Closed`. SQLite runs a checkpoint on
    // close.
    drop(database);
}

/// Wakes the readers of events if there are new ones. Without a reader it costs nothing. If the id
/// cannot be read, the next commit wakes them.
fn publish_events(database: &LedgerDatabase, newest_event: &watch::Sender<u64>) {
    if newest_event.receiver_count() == 0 {
        return;
    }
    if let Ok(newest) = events::newest_id(database.reader()) {
        newest_event.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }
}

/// Commits all changes in one transaction. Each change has its own savepoint, so that a conflict
/// rolls back only that change.
fn commit_batch(
    database: &mut LedgerDatabase,
    sealer: &SecretSealer,
    batch: &mut Vec<PendingCommit>,
) {
    if batch.is_empty() {
        return;
    }
    if let Err(displaced) = database.check_place() {
        let why = displaced.to_string();
        for (_, reply) in batch.drain(..) {
            let _ = reply.send(Err(CommitError::Displaced(why.clone())));
        }
        return;
    }
    let changes: Vec<&LedgerChange> = batch.iter().map(|(change, _)| change).collect();
    match commit_all(database, sealer, &changes) {
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
    database: &mut LedgerDatabase,
    sealer: &SecretSealer,
    changes: &[&LedgerChange],
) -> rusqlite::Result<Vec<Result<(), OperationError>>> {
    database.transact(|transaction| {
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            let result = transaction.run_part(|connection| {
                change
                    .operations()
                    .iter()
                    .try_for_each(|op| apply_operation(connection, sealer, op))
            })?;
            match result {
                // The disk failed, so no commit of this batch would succeed.
                Err(OperationError::Sqlite(error)) => return Err(error),
                result => results.push(result),
            }
        }
        Ok(results)
    })
}

fn apply_operation(
    connection: &Connection,
    sealer: &SecretSealer,
    op: &Operation,
) -> Result<(), OperationError> {
    match op {
        Operation::AddStore { store, credentials, durable } => {
            stores::insert_store(connection, store, credentials, durable, sealer)
        }
        Operation::SaveStore(store) => stores::update_store(connection, store),
        Operation::ReplaceSecrets(store, credentials) => {
            stores::replace_credentials(connection, *store, credentials, sealer)
        }
        Operation::SaveRecord(store, durable) => stores::save_record(connection, *store, durable),
        Operation::RemoveStore(store, removed) => stores::delete_store(connection, *store, removed),
        Operation::Enqueue(notice) => outbox::insert_notice(connection, notice),
        Operation::Acknowledge(store, position) => {
            outbox::delete_acknowledged(connection, *store, *position)
        }
        Operation::Coalesce { through, into } => outbox::coalesce(connection, *through, into),
        Operation::AddHistory(store, entry) => history::add_entry(connection, *store, entry),
        Operation::AddCapacity { store, figures, place } => {
            capacity::add_figures(connection, *store, **figures, place)
        }
        Operation::SaveStuckWorker(store, worker) => {
            stores::set_stuck_worker(connection, *store, Some(*worker))
        }
        Operation::SaveRejections(store, rejections) => {
            rejections::save_rejections(connection, *store, rejections.as_deref())
        }
        Operation::SaveTrialRejections { digest, rejections, expired } => {
            let rejections = rejections.as_deref();
            rejections::save_trial_rejections(connection, **digest, rejections, *expired)
        }
        Operation::ClearStuckWorker(store) => stores::set_stuck_worker(connection, *store, None),
        Operation::AddJob(request) => jobs::insert_job(connection, request),
        Operation::MarkJobChange(job) => jobs::mark_change(connection, *job),
        Operation::FinishJob(job, result) => jobs::finish_job(connection, *job, result),
        Operation::RemoveJob(job) => jobs::delete_job(connection, *job),
        Operation::OweHook(owed) => hooks::owe_hook(connection, &owed.0, &owed.1, sealer),
        Operation::RemoveHook(job, turn) => hooks::delete_hook(connection, *job, *turn),
    }
}

/// Answers a request. Sending the reply fails only if its receiver no longer waits, so the error is
/// ignored.
fn answer_request(database: &mut LedgerDatabase, sealer: &SecretSealer, request: LedgerRequest) {
    match request {
        LedgerRequest::NextEpoch(now, reply) => {
            let next_epoch =
                |all: &mut LedgerTransaction<'_>| meta::next_epoch(all.connection(), now);
            let _ = reply.send(transact_in_place(database, next_epoch));
        }
        LedgerRequest::CheckWritable(reply) => {
            let write = |all: &mut LedgerTransaction<'_>| meta::write_probe(all.connection());
            let _ = reply.send(transact_in_place(database, write));
        }
        LedgerRequest::Credentials(store, reply) => {
            let _ = reply.send(stores::load_credentials(database.reader(), &store, sealer));
        }
        LedgerRequest::PendingNotices(store, behind, limit, reply) => {
            let _ = reply.send(
                outbox::notices_behind(database.reader(), store, behind, limit)
                    .map_err(to_read_error),
            );
        }
        LedgerRequest::OutboxDepth(store, behind, reply) => {
            let waiting =
                outbox::outbox_depth(database.reader(), store, behind).map_err(RowError::from);
            let _ = reply.send(waiting.map_err(to_read_error));
        }
        LedgerRequest::StoresWithPending(reply) => {
            let _ =
                reply.send(outbox::stores_with_pending(database.reader()).map_err(to_read_error));
        }
        LedgerRequest::History(store, limit, reply) => {
            let _ = reply.send(
                history::newest_entries(database.reader(), store, limit).map_err(to_read_error),
            );
        }
        LedgerRequest::EventsAfter(query, reply) => {
            let _ = reply.send(events::read_page(database.reader(), &query).map_err(to_read_error));
        }
        LedgerRequest::EventsSince(since, reply) => {
            let found = events::position_before(database.reader(), since);
            let _ = reply.send(found.map_err(to_read_error));
        }
        LedgerRequest::CapacityDays(store, since, reply) => {
            let days = capacity::load_days(database.reader(), store, since);
            let _ = reply.send(days.map_err(to_read_error));
        }
        LedgerRequest::JobResult(job, reply) => {
            let _ = reply.send(jobs::load_result(database.reader(), job).map_err(to_read_error));
        }
        LedgerRequest::OwedHook(job, reply) => {
            let owed = hooks::load_owed_hook(database.reader(), job, sealer);
            let _ = reply.send(owed.map_err(to_read_error));
        }
        LedgerRequest::Commit(..) | LedgerRequest::Close => {}
    }
}

/// Runs a transaction if the ledger is still the one in the state directory.
fn transact_in_place<T>(
    database: &mut LedgerDatabase,
    work: impl FnOnce(&mut LedgerTransaction<'_>) -> Result<T, RowError>,
) -> Result<T, CommitError> {
    database.check_place().map_err(|error| CommitError::Displaced(error.to_string()))?;
    database.transact(work).map_err(|error| OperationError::from(error).into())
}

fn to_read_error(error: RowError) -> ReadError {
    ReadError::Unreadable(ErrorChain(&error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Ledger {
        /// Ends the thread, as an internal error would.
        pub(crate) fn stop_thread(&self) {
            self.requests.try_send(LedgerRequest::Close).unwrap();
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_noticed() {
        let (thread, closed) = spawn_watched(|| panic!("an internal error")).unwrap();
        closed.cancelled().await;
        assert!(thread.join().is_err());
    }
}
