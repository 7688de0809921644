//! The one thread that writes.

use std::io;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Sealer;
use super::commit::commit_batch;
use super::error::{CommitError, Refusal};
use super::handle::{Job, Ledger, ReadError, WAITING};
use super::tables::rows::BadRow;
use super::tables::{history, meta, outbox, stores};

/// Commits that share one transaction at most; keeps the wait of the first one short.
const BATCH: usize = 128;

/// The thread behind the ledger.
#[derive(Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    ended: CancellationToken,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Waits until the thread has ended, which it does by itself only through a fault of ours: from
    /// then on nothing can be read or committed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Carries out what waits and closes the database. What is asked later is answered with
    /// [`CommitError::Closed`]. On a state disk that hangs this hangs too: give it a deadline.
    ///
    /// # Cancel safety
    /// The thread goes on closing by itself.
    pub async fn close(self) {
        // No place in the queue: the thread ends when the last handle is dropped.
        let _ = self.jobs.send(Job::Close).await;
        self.ended.cancelled().await;
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

/// Starts the thread.
pub(super) fn start(connection: Connection, sealer: Sealer) -> io::Result<(Ledger, Writer)> {
    let (jobs, inbox) = mpsc::channel(WAITING);
    let (thread, ended) = watched(move || work(connection, &sealer, inbox))?;
    Ok((Ledger::new(jobs.clone()), Writer { jobs, ended, thread }))
}

/// A thread, and a token that is cancelled when it has ended, also by a panic.
fn watched(
    work: impl FnOnce() + Send + 'static,
) -> io::Result<(JoinHandle<()>, CancellationToken)> {
    let ended = CancellationToken::new();
    let ending = ended.clone().drop_guard();
    let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
        let _ending = ending;
        work();
    })?;
    Ok((thread, ended))
}

fn work(mut connection: Connection, sealer: &Sealer, mut inbox: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    while let Some(mut next) = inbox.blocking_recv() {
        // Commits that wait together go together; the first other job ends the batch.
        let other = loop {
            match next {
                Job::Commit(change, reply) => batch.push((change, reply)),
                other => break Some(other),
            }
            match inbox.try_recv() {
                Ok(job) if batch.len() < BATCH => next = job,
                Ok(job) => break Some(job),
                Err(_) => break None,
            }
        };
        commit_batch(&mut connection, sealer, &mut batch);
        match other {
            Some(Job::Commit(change, reply)) => {
                batch.push((change, reply));
                commit_batch(&mut connection, sealer, &mut batch);
            }
            Some(Job::Close) => break,
            Some(other) => answer(&connection, sealer, other),
            None => {}
        }
    }
    inbox.close();
    // Dropping the jobs that are left answers them: closed. SQLite checkpoints as it closes.
    drop(connection);
}

/// Whoever stopped waiting has dropped the other end of its reply; nobody misses the answer.
fn answer(connection: &Connection, sealer: &Sealer, job: Job) {
    match job {
        Job::NextEpoch(now, reply) => {
            let _ = reply.send(meta::next_epoch(connection, now).map_err(refused));
        }
        Job::CheckWritable(reply) => {
            let _ = reply.send(meta::touch(connection).map_err(refused));
        }
        Job::Credentials(store, reply) => {
            let _ = reply.send(stores::credentials(connection, store, sealer));
        }
        Job::Pending(store, limit, reply) => {
            let _ = reply.send(outbox::pending(connection, store, limit).map_err(unreadable));
        }
        Job::Waiting(store, behind, reply) => {
            let waiting = outbox::waiting(connection, store, behind).map_err(BadRow::from);
            let _ = reply.send(waiting.map_err(unreadable));
        }
        Job::Backlog(reply) => {
            let _ = reply.send(outbox::backlog(connection).map_err(unreadable));
        }
        Job::History(store, limit, reply) => {
            let _ = reply.send(history::newest(connection, store, limit).map_err(unreadable));
        }
        Job::Commit(..) | Job::Close => {}
    }
}

fn refused(error: BadRow) -> CommitError {
    Refusal::from(error).into()
}

fn unreadable(error: BadRow) -> ReadError {
    ReadError::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Ledger {
        /// Ends the thread, as a fault of ours would.
        pub(crate) fn break_off(&self) {
            self.jobs.try_send(Job::Close).unwrap();
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_noticed() {
        let (thread, ended) = watched(|| panic!("a fault of ours")).unwrap();
        ended.cancelled().await;
        assert!(thread.join().is_err());
    }
}
