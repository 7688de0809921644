//! Integrity check of a ledger before it is opened, without writing next to it.
//!
//! Opening a database in WAL mode creates and truncates files next to it. A ledger that is then
//! rejected would not stay unchanged.
//!
//! - A ledger without a log is read with `immutable=1`. This tells SQLite that no process writes,
//!   and the lock of the state directory ensures it. SQLite then touches nothing
//!   (<https://sqlite.org/uri.html>).
//! - A ledger with a write-ahead log is read through that log, in exclusive locking mode. The index
//!   of the log then lives in memory instead of a file (<https://sqlite.org/wal.html#noshm>).
//!   Closing it does not run a checkpoint.
//! - An older ledger is copied. The copy is migrated to the current version and checked.
//! - A ledger with a rollback journal is copied too, because reading it would roll it back.
//! - A log without a database is damage, because SQLite would replay it into the next file of that
//!   name.
#![expect(clippy::disallowed_methods, reason = "the ledger's own files, in the state directory")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tracing::info;

use crate::common::ErrorChain;

use super::migrations;
use super::migrations::Migration;
use super::open_connection;
use crate::ledger::tables::RowError;
use crate::ledger::tables::{contents, generation, hooks, jobs, meta, outbox, rejections, stores};

/// Suffixes of SQLite's log files: write-ahead log and rollback journal.
const LOG_SUFFIXES: [&str; 2] = [WAL_SUFFIX, "-journal"];
const WAL_SUFFIX: &str = "-wal";

/// Maximum size of a ledger that is verified completely at start, in bytes (64 MiB). A larger one
/// is large because of its outbox. The checksum of each notice is then verified when it is sent.
const FULL_CHECK_MAX_BYTES: u64 = 64 << 20;
/// Tables that are verified in a ledger of any size.
const ESSENTIAL_TABLES: [&str; 9] = [
    "meta",
    "stores",
    "standings",
    "secrets",
    "workers",
    "rejections",
    "trial_rejections",
    "jobs",
    "hooks",
];

/// The error of a copy that does not fit.
const NO_SPACE: &str = "the start first migrates and checks a copy of it beside it, and there is no \
                        space for one: free at least the size of the ledger";

/// The path of a log file, and its suffix.
type LogFile = (PathBuf, &'static str);

/// The result of the integrity check.
#[derive(Debug)]
pub(super) enum Integrity {
    /// No ledger exists: this is a first start.
    Absent,
    /// A complete ledger of the current version, or of one that can be migrated to it.
    Good,
    /// A ledger that a newer version of the program wrote.
    Newer { found: i32, written_by: Option<String> },
    /// A file that is not a ledger of this program, or a damaged one.
    Damaged(String),
}

/// Checks the ledger and all of its records that the daemon acts on, and that no row of any table
/// is missing. The lines of the history are not decoded: there may be many, only operators read
/// them, and each line is checked when it is read.
///
/// # Errors
/// Returns the error of the system if the ledger cannot be read or the copy cannot be made. The
/// ledger itself may be intact.
pub(super) fn check_integrity(
    ledger: &Path,
    migration_list: &[Migration],
) -> io::Result<Integrity> {
    let logs = log_files(ledger)?;
    match fs::metadata(ledger) {
        // SQLite would assume that the log belongs to another database, and delete it.
        Ok(metadata) if metadata.len() == 0 => {
            return Ok(Integrity::Damaged(match logs.first() {
                Some((log, _)) => {
                    format!("the database file is empty, but its log {} is not", log.display())
                }
                None => "the database file is empty".to_owned(),
            }));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(match logs.first() {
                Some((log, _)) => Integrity::Damaged(format!(
                    "the database file is missing, but its log {} exists",
                    log.display()
                )),
                None => Integrity::Absent,
            });
        }
        Err(error) => return Err(error),
    }
    if logs.iter().all(|(_, suffix)| *suffix == WAL_SUFFIX) {
        let opened = if logs.is_empty() { open_immutable(ledger) } else { open_with_wal(ledger) };
        let found = opened.as_ref().map(migrations::schema_version);
        let latest = migrations::latest_version(migration_list);
        match found {
            // Both copies of a large ledger take time.
            Ok(Ok(format)) if format < latest => {
                info!(format, latest, "a copy of the older ledger is migrated and checked first");
            }
            _ => return classify(opened, migration_list),
        }
    }
    let copy = ScratchCopy::create(ledger, &logs).map_err(|error| match error.kind() {
        kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            io::Error::new(kind, format!("{NO_SPACE} ({error})"))
        }
        _ => error,
    })?;
    classify(open_connection(&copy.ledger), migration_list)
}

/// Opens the ledger of the running daemon once more, and checks that the files have all rows. A row
/// itself is verified when it is read. The connection has read the files and nothing that an
/// earlier one keeps in memory. The earlier one is still open, so that the end of this one does not
/// run a checkpoint.
///
/// # Errors
/// The outer error is that of the system or of SQLite if the files were not opened: they may be
/// intact. The inner one describes the damage.
pub(crate) fn reopen_ledger(ledger: &Path) -> io::Result<Result<Connection, String>> {
    // SQLite deletes the log of a database without a page.
    if fs::metadata(ledger)?.len() == 0 {
        return Ok(Err("the database file is empty".to_owned()));
    }
    let connection = open_connection(ledger).map_err(io::Error::other)?;
    let checked = database_size(&connection).map_err(RowError::from).and_then(|size| {
        let full_check = size <= FULL_CHECK_MAX_BYTES;
        let damage = check_structure(&connection, full_check)?;
        contents::verify_contents(&connection, |table| {
            full_check || ESSENTIAL_TABLES.contains(&table)
        })?;
        Ok(damage)
    });
    Ok(match checked {
        Ok(None) => Ok(connection),
        Ok(Some(damage)) => Err(damage),
        Err(error) => Err(describe_damage(error)?),
    })
}

/// Returns the description of the damage that an error shows.
///
/// # Errors
/// Returns an error of the system, which may pass and is no damage.
pub(crate) fn describe_damage(error: RowError) -> io::Result<String> {
    match error {
        RowError::Sqlite(error) if !is_damage(&error) => Err(io::Error::other(error)),
        error => Ok(ErrorChain(&error).to_string()),
    }
}

/// Returns true if SQLite has found the file itself damaged.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    // A missing table is an error without a code of its own.
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | Unknown) | None)
}

/// Opens a ledger, with its log if it has one, without writing to either.
///
/// # Errors
/// Returns an error if the files cannot be read. They may be intact.
pub(super) fn open_unchanged(ledger: &Path) -> Result<Connection, RowError> {
    let logs = log_files(ledger).map_err(|_| rusqlite::Error::InvalidPath(ledger.to_owned()))?;
    let opened = if logs.is_empty() { open_immutable(ledger) } else { open_with_wal(ledger) };
    Ok(opened?)
}

/// Opens a ledger that has no log, without touching any file.
fn open_immutable(ledger: &Path) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?immutable=1", escape_uri(ledger));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// Opens a ledger with its write-ahead log, without writing to either. It takes no lock, because an
/// operator's open `sqlite3` would conflict with it.
fn open_with_wal(ledger: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(ledger, flags, "unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(connection)
}

/// Returns the log files that exist and are not empty. SQLite replays these when it opens the
/// database.
fn log_files(ledger: &Path) -> io::Result<Vec<LogFile>> {
    let mut found = Vec::new();
    for suffix in LOG_SUFFIXES {
        let log = sibling_path(ledger, suffix);
        match fs::metadata(&log) {
            Ok(metadata) if metadata.len() > 0 => found.push((log, suffix)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

fn classify(
    opened: rusqlite::Result<Connection>,
    migration_list: &[Migration],
) -> io::Result<Integrity> {
    match opened
        .map_err(RowError::from)
        .and_then(|mut connection| check_contents(&mut connection, migration_list))
    {
        Ok(finding) => Ok(finding),
        // Only the copy is written. The ledger itself may be intact.
        Err(error) if is_full(&error) => Err(io::Error::new(io::ErrorKind::StorageFull, error)),
        Err(error) if is_failed_write(&error) => Err(io::Error::other(error)),
        Err(error) => Ok(Integrity::Damaged(ErrorChain(&error).to_string())),
    }
}

fn is_full(error: &RowError) -> bool {
    let RowError::Sqlite(error) = error else { return false };
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Returns true if a write failed. SQLite reports an exceeded quota in this way.
fn is_failed_write(error: &RowError) -> bool {
    let RowError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = error else { return false };
    matches!(
        error.extended_code,
        ffi::SQLITE_FULL
            | ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_TRUNCATE
            | ffi::SQLITE_IOERR_SHMOPEN
            | ffi::SQLITE_IOERR_SHMSIZE
    )
}

fn check_contents(
    connection: &mut Connection,
    migration_list: &[Migration],
) -> Result<Integrity, RowError> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != migrations::APPLICATION_ID {
        return Ok(Integrity::Damaged("the file is not a ledger of this program".to_owned()));
    }
    let found = migrations::schema_version(connection)?;
    if found > migrations::latest_version(migration_list) {
        let written_by = meta::read_written_by(connection);
        return Ok(Integrity::Newer { found, written_by });
    }
    let full_check = database_size(connection)? <= FULL_CHECK_MAX_BYTES;
    if let Some(damage) = check_structure(connection, full_check)? {
        return Ok(Integrity::Damaged(damage));
    }
    match migrations::run_migrations(connection, migration_list) {
        Err(error) if !is_failed_write(&error) => {
            let why = ErrorChain(&error);
            let what = format!("the migration from format {found} failed: {why}");
            return Ok(Integrity::Damaged(what));
        }
        migrated => migrated?,
    }
    meta::verify_all(connection)?;
    generation::verify_facts(connection)?;
    stores::load_stores(connection)?;
    rejections::load_trial_rejections(connection)?;
    jobs::load_jobs(connection)?;
    hooks::load_hooks(connection)?;
    if full_check {
        outbox::verify_all(connection)?;
    }
    contents::verify_contents(connection, |table| full_check || ESSENTIAL_TABLES.contains(&table))?;
    Ok(Integrity::Good)
}

/// Returns the damage that SQLite finds in the tables, or `None`.
fn check_structure(connection: &Connection, full_check: bool) -> rusqlite::Result<Option<String>> {
    let checks = if full_check { vec!["1"] } else { ESSENTIAL_TABLES.to_vec() };
    for what in checks {
        let check = format!("PRAGMA quick_check({what})");
        let result: String = connection.query_row(&check, [], |row| row.get(0))?;
        if result != "ok" {
            return Ok(Some(result));
        }
    }
    Ok(None)
}

/// Returns the size of the database in bytes, including pages that exist only in its log.
pub(super) fn database_size(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    Ok(pages.unsigned_abs())
}

/// A copy of a ledger and its logs in a separate folder, removed on drop.
struct ScratchCopy {
    folder: PathBuf,
    ledger: PathBuf,
}

impl ScratchCopy {
    fn create(ledger: &Path, logs: &[LogFile]) -> io::Result<Self> {
        let folder = sibling_path(ledger, ".examined");
        // An interrupted start may have left this folder.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(&folder)?;
        let copy = Self { ledger: folder.join("ledger"), folder };
        fs::copy(ledger, &copy.ledger)?;
        for (log, suffix) in logs {
            fs::copy(log, sibling_path(&copy.ledger, suffix))?;
        }
        Ok(copy)
    }
}

impl Drop for ScratchCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn sibling_path(ledger: &Path, suffix: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Escapes a path for a URI, because SQLite interprets `%`, `?` and `#` in it.
fn escape_uri(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quota of the user appears as `SQLITE_IOERR_WRITE`.
    #[test]
    fn a_write_of_the_copy_that_fails_is_no_damage_of_the_ledger() {
        let failed = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        for (code, is_damaged) in [
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_IOERR_WRITE, false),
            (ffi::SQLITE_IOERR_FSYNC, false),
            (ffi::SQLITE_IOERR_SHMSIZE, false),
            (ffi::SQLITE_IOERR_SHORT_READ, true),
            (ffi::SQLITE_CORRUPT, true),
        ] {
            let found = classify(Err(failed(code)), migrations::MIGRATIONS);
            assert_eq!(matches!(found, Ok(Integrity::Damaged(_))), is_damaged, "{code}");
        }
    }

    #[test]
    fn only_what_sqlite_calls_damage_is_damage() {
        let failed =
            |code| RowError::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for (code, damage) in [
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_NOTADB, true),
            (ffi::SQLITE_ERROR, true),
            (ffi::SQLITE_BUSY, false),
            (ffi::SQLITE_IOERR, false),
            (ffi::SQLITE_NOMEM, false),
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_CANTOPEN, false),
            (ffi::SQLITE_PROTOCOL, false),
        ] {
            assert_eq!(describe_damage(failed(code)).is_ok(), damage, "{code}");
        }
        assert!(describe_damage(RowError::Changed("stores")).is_ok());
    }
}
