//! The open database, and its transactions.
//!
//! # Guarantees
//! - Every transaction that changes a row updates the contents row as well
//!   ([`ContentsTracker`]).
//! - A ledger that another program has written to takes no change until its contents are verified.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior};
use tokio::time::Instant;

use super::LedgerStats;
use super::open::integrity::{describe_damage, reopen_ledger};
use super::place::{DisplacedFile, LedgerPlace, PlaceState, WriteState};
use super::tables::RowError;
use super::tables::contents::ContentsTracker;
use crate::common::crash_point;

/// The open database of the ledger.
pub(super) struct LedgerDatabase {
    connection: Connection,
    contents: ContentsTracker,
    kept: Option<KeptPlace>,
    /// Counts the transactions. `None` until the ledger is open.
    stats: Option<Arc<LedgerStats>>,
}

/// The database file, and the place that it must keep.
struct KeptPlace {
    file: PathBuf,
    place: LedgerPlace,
    /// The states of the files in which damage was found, and the damage.
    damage: Option<(Vec<Option<WriteState>>, String)>,
}

impl LedgerDatabase {
    /// Takes over a connection to a database of the newest format.
    ///
    /// # Errors
    /// Returns [`RowError`] if the contents row cannot be read.
    pub(super) fn new(connection: Connection) -> Result<Self, RowError> {
        let contents = ContentsTracker::follow(&connection)?;
        Ok(Self { connection, contents, kept: None, stats: None })
    }

    /// Compares the files of the database with this place before each change from now on.
    pub(super) fn keep_place(&mut self, file: PathBuf, place: LedgerPlace) {
        self.kept = Some(KeptPlace { file, place, damage: None });
    }

    /// Counts each transaction from now on.
    pub(super) fn count_transactions(&mut self, stats: Arc<LedgerStats>) {
        self.stats = Some(stats);
    }

    /// Checks that the files in the state directory are those that this connection has opened, and
    /// hold what it has written. If another program has written to them, they are read again. Its
    /// change is accepted if it keeps every record, as that of an operator's `sqlite3` may.
    ///
    /// # Errors
    /// Returns the reason why a change would be lost.
    pub(super) fn check_place(&mut self) -> Result<(), DisplacedFile> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let PlaceState::Written(path) = kept.place.check()? else { return Ok(()) };
        let states = kept.place.write_states();
        if let Some((known, what)) = &kept.damage
            && *known == states
        {
            return Err(DisplacedFile::Overwritten { path, what: what.clone() });
        }
        match reopen_contents(&kept.file, &self.contents) {
            Ok(Ok((connection, contents))) => {
                let trouble = |what: &str| {
                    Err(DisplacedFile::Overwritten { path: path.clone(), what: what.to_owned() })
                };
                if kept.place.write_states() != states {
                    return trouble("another program is still writing to it");
                }
                // The log may be unreadable after a crash, although its index in shared memory is
                // whole. Therefore the next change must begin a new log.
                let checkpoint = "PRAGMA wal_checkpoint(RESTART)";
                let busy: rusqlite::Result<i64> =
                    connection.query_row(checkpoint, [], |row| row.get(0));
                if !matches!(busy, Ok(0)) {
                    return trouble("its log cannot begin anew while another program reads it");
                }
                // The earlier connection keeps pages in memory that the files may not have.
                (self.connection, self.contents) = (connection, contents);
                kept.damage = None;
                let states = kept.place.write_states();
                kept.place.accept_states(&states);
                Ok(())
            }
            Ok(Err(what)) => {
                kept.damage = Some((states, what.clone()));
                Err(DisplacedFile::Overwritten { path, what })
            }
            Err(error) => Err(DisplacedFile::Overwritten { path, what: error.to_string() }),
        }
    }

    /// Returns the connection, for reads.
    pub(super) fn reader(&self) -> &Connection {
        &self.connection
    }

    /// Moves the contents of the log into the database, so that the next transaction begins the log
    /// anew.
    ///
    /// # Errors
    /// Returns the error of SQLite, also if the database has no room for the contents.
    pub(super) fn restart_log(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
    }

    /// Runs a transaction, and commits it unless `work` fails.
    pub(super) fn transact<T, E: From<rusqlite::Error>>(
        &mut self,
        work: impl FnOnce(&mut LedgerTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let Self { connection, contents, kept, stats } = self;
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
        if let Some(kept) = kept {
            kept.place.record_write();
        }
        if let Some(stats) = stats {
            stats.commits.observe(began.elapsed());
        }
        result
    }
}

/// Opens the ledger once more, and checks that it has the records that were written last.
///
/// # Errors
/// As [`reopen_ledger`].
fn reopen_contents(
    file: &Path,
    written: &ContentsTracker,
) -> io::Result<Result<(Connection, ContentsTracker), String>> {
    let connection = match reopen_ledger(file)? {
        Ok(connection) => connection,
        Err(damage) => return Ok(Err(damage)),
    };
    let contents = match ContentsTracker::follow(&connection) {
        Ok(contents) => contents,
        Err(error) => return describe_damage(error).map(Err),
    };
    Ok(match contents.current() == written.current() {
        true => Ok((connection, contents)),
        false => Err("its records are not those that the daemon has written".to_owned()),
    })
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
