//! The connection to the database, with the options that the daemon always uses.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Maximum size of the write-ahead log between checkpoints, in bytes (8 MiB). Keeping no log would
/// double the cost of a commit.
const MAX_LOG_BYTES: i64 = 8 << 20;

/// Opens a connection with all options that durability and safety depend on
/// (docs/decisions/0001-sqlite.md).
///
/// # Errors
/// Returns the error of SQLite.
pub(super) fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Only an operator's `sqlite3` can hold this lock. The lock of the state directory excludes
    // other daemons.
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
