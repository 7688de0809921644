//! The one way in which the daemon opens its database.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Write-ahead log kept between checkpoints, in bytes; none at all doubles the cost of a commit.
const MAX_LOG_BYTES: i64 = 8 << 20;

/// A connection with everything set that durability and safety rest on: see docs/decisions/0001-sqlite.md.
///
/// # Errors
/// What SQLite says.
pub(super) fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Only an operator's `sqlite3` can hold it; our own lock keeps other daemons out.
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
