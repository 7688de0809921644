//! Judging a ledger before it is opened, without writing beside it.
//!
//! Opening a database in WAL mode creates and truncates files next to it, so that a ledger that is
//! then refused would not be left as it was. Without a log it is read with `immutable=1`, which promises
//! SQLite that nobody writes (our lock holds) and makes it touch nothing (<https://sqlite.org/uri.html>).
//! With a write-ahead log it is read through that: in exclusive locking mode, whose index of the log is
//! memory and no file (<https://sqlite.org/wal.html#noshm>), and without the checkpoint at the close.
//! An older one is judged by what it becomes: a copy is brought to our version and examined, and so is one
//! with a rollback journal, which cannot be looked at without being rolled back.
//! A log without a database is a loss: SQLite would play it into the next file of that name.
#![expect(clippy::disallowed_methods, reason = "the ledger's own files, in the state directory")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::common::ErrorChain;

use super::connection::open_connection;
use super::migrations;
use super::migrations::Migration;
use crate::ledger::tables::rows::RowError;
use crate::ledger::tables::{meta, outbox, stores};

/// The endings of SQLite's logs: of write-ahead mode, and of the way into it.
const LOG_SUFFIXES: [&str; 2] = [WAL_SUFFIX, "-journal"];
const WAL_SUFFIX: &str = "-wal";

/// Up to this many bytes a ledger is examined whole. Beyond it, it is because of what the management node
/// has not been told: each of these notices is compared with its checksum when it is sent.
const FULL_CHECK_MAX_BYTES: u64 = 64 << 20;
/// What is examined of any ledger.
const ESSENTIAL_TABLES: [&str; 5] = ["meta", "stores", "standings", "secrets", "workers"];

/// One of them, and its ending.
type LogFile = (PathBuf, &'static str);

/// What lies at the ledger's path.
#[derive(Debug)]
pub(super) enum Integrity {
    /// Nothing: a first start.
    Absent,
    /// A ledger of ours, whole, of our version or one that can be brought to it.
    Good,
    /// Written by a newer program.
    Newer { found: i32, written_by: Option<String> },
    /// Not a ledger of ours, or not whole.
    Damaged(String),
}

/// Looks at the ledger and everything in it that the daemon will act on. History is left out: it is
/// for people, may be large, and each line is checked when it is read.
///
/// # Errors
/// When the system refuses to read the ledger or to make the copy; the ledger itself may be whole.
pub(super) fn check_integrity(ledger: &Path, ladder: &[Migration]) -> io::Result<Integrity> {
    let logs = log_files(ledger)?;
    match fs::metadata(ledger) {
        // SQLite would take the log for another database's, and delete it.
        Ok(seen) if seen.len() == 0 => {
            return Ok(Integrity::Damaged(match logs.first() {
                Some((log, _)) => format!("it is empty, its log {} is not", log.display()),
                None => "it is empty".to_owned(),
            }));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(match logs.first() {
                Some((log, _)) => {
                    Integrity::Damaged(format!("it is gone, its log {} is not", log.display()))
                }
                None => Integrity::Absent,
            });
        }
        Err(error) => return Err(error),
    }
    if logs.iter().all(|(_, ending)| *ending == WAL_SUFFIX) {
        let opened = if logs.is_empty() { open_immutable(ledger) } else { open_with_wal(ledger) };
        let found = opened.as_ref().map(migrations::schema_version);
        if !matches!(found, Ok(Ok(found)) if found < migrations::latest_version(ladder)) {
            return classify(opened, ladder);
        }
    }
    let copy = ScratchCopy::of(ledger, &logs)?;
    classify(open_connection(&copy.ledger), ladder)
}

/// A ledger without a log, of which nothing is touched.
fn open_immutable(ledger: &Path) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?immutable=1", escape_uri(ledger));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// A ledger with its write-ahead log, of which nothing is written. No lock is taken either: an operator's
/// `sqlite3` that is looking at it would be in the way.
fn open_with_wal(ledger: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(ledger, flags, "unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(connection)
}

/// What SQLite plays into a database when it opens it: those of its logs that are there and not empty.
fn log_files(ledger: &Path) -> io::Result<Vec<LogFile>> {
    let mut found = Vec::new();
    for ending in LOG_SUFFIXES {
        let log = sibling_path(ledger, ending);
        match fs::metadata(&log) {
            Ok(seen) if seen.len() > 0 => found.push((log, ending)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

fn classify(opened: rusqlite::Result<Connection>, ladder: &[Migration]) -> io::Result<Integrity> {
    match opened.map_err(RowError::from).and_then(|connection| check_contents(connection, ladder)) {
        Ok(finding) => Ok(finding),
        // Of the copy: the ledger itself may be whole.
        Err(error) if is_full(&error) => Err(io::Error::new(io::ErrorKind::StorageFull, error)),
        Err(error) => Ok(Integrity::Damaged(ErrorChain(&error).to_string())),
    }
}

fn is_full(error: &RowError) -> bool {
    let RowError::Sqlite(error) = error else { return false };
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn check_contents(mut connection: Connection, ladder: &[Migration]) -> Result<Integrity, RowError> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != migrations::APPLICATION_ID {
        return Ok(Integrity::Damaged("it is not a ledger of this program".to_owned()));
    }
    let found = migrations::schema_version(&connection)?;
    if found > migrations::latest_version(ladder) {
        let written_by = meta::writer_of_newer(&connection);
        return Ok(Integrity::Newer { found, written_by });
    }
    let whole = file_size(&connection)? <= FULL_CHECK_MAX_BYTES;
    let checks = if whole { vec!["1"] } else { ESSENTIAL_TABLES.to_vec() };
    for what in checks {
        let check = format!("PRAGMA quick_check({what})");
        let verdict: String = connection.query_row(&check, [], |row| row.get(0))?;
        if verdict != "ok" {
            return Ok(Integrity::Damaged(verdict));
        }
    }
    match migrations::open_with_migrations(&mut connection, ladder) {
        Err(error) if !is_full(&error) => {
            let why = ErrorChain(&error);
            let what = format!("it cannot be brought from format {found} to this program's: {why}");
            return Ok(Integrity::Damaged(what));
        }
        migrated => migrated?,
    }
    meta::verify_all(&connection)?;
    stores::load_stores(&connection)?;
    if whole {
        outbox::verify_all(&connection)?;
    }
    Ok(Integrity::Good)
}

/// In bytes, with what stands in its log alone.
fn file_size(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    Ok(pages.unsigned_abs())
}

/// A copy of a ledger and its logs in a folder of its own; removed when dropped.
struct ScratchCopy {
    folder: PathBuf,
    ledger: PathBuf,
}

impl ScratchCopy {
    fn of(ledger: &Path, logs: &[LogFile]) -> io::Result<Self> {
        let folder = sibling_path(ledger, ".examined");
        // Left behind by a start that was killed.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(&folder)?;
        let copy = Self { ledger: folder.join("ledger"), folder };
        fs::copy(ledger, &copy.ledger)?;
        for (log, ending) in logs {
            fs::copy(log, sibling_path(&copy.ledger, ending))?;
        }
        Ok(copy)
    }
}

impl Drop for ScratchCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn sibling_path(ledger: &Path, ending: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A path as part of a URI: SQLite reads `%`, `?` and `#` in it.
fn escape_uri(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
