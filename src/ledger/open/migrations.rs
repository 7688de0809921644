//! The schema of the tables, and the migrations of an older ledger to it.

use rusqlite::{Connection, OptionalExtension as _};

use super::backfill;
use crate::common::crash_point;
use crate::ledger::tables::RowError;
use crate::ledger::tables::{contents, meta};

/// The `PRAGMA application_id` of a ledger: "ISAg".
pub(super) const APPLICATION_ID: i32 = 0x4953_4167;

/// A migration from one version to the next, within the caller's transaction. It is a function and
/// not SQL text, because SQL cannot compute the checksums of stored forms. It contains all that it
/// needs to know of the older version: the rest of this module knows only the newest.
pub(crate) type Migration = fn(&Connection) -> Result<(), RowError>;

/// All migrations: index `n` migrates from version `n` to `n + 1`. Released migrations are never
/// edited.
pub(crate) const MIGRATIONS: &[Migration] =
    &[migrate_to_v1, migrate_to_v2, migrate_to_v3, migrate_to_v4, migrate_to_v5];

/// The first version that counts its rows.
pub(super) const FIRST_COUNTED_VERSION: i32 = 2;

fn migrate_to_v1(connection: &Connection) -> Result<(), RowError> {
    Ok(connection.execute_batch(V1_SCHEMA)?)
}

const V1_SCHEMA: &str = "
    -- Facts about the ledger itself: epoch, written_by, touched.
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- What a store is.
    CREATE TABLE stores (
        uuid TEXT PRIMARY KEY,
        image_dir TEXT NOT NULL UNIQUE,
        definition TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- How it is; apart from what it is, because this changes all the time.
    CREATE TABLE standings (
        store TEXT PRIMARY KEY REFERENCES stores ON DELETE CASCADE,
        standing TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Its SSH secrets, sealed.
    CREATE TABLE secrets (
        store TEXT NOT NULL REFERENCES stores ON DELETE CASCADE,
        field TEXT NOT NULL,
        sealed BLOB NOT NULL,
        sum BLOB NOT NULL,
        PRIMARY KEY (store, field)
    ) STRICT, WITHOUT ROWID;

    -- A probe's worker process that would not die.
    CREATE TABLE workers (
        store TEXT PRIMARY KEY REFERENCES stores ON DELETE CASCADE,
        pid INTEGER NOT NULL,
        start_time INTEGER NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- What the management node has not acknowledged.
    CREATE TABLE outbox (
        store TEXT NOT NULL REFERENCES stores ON DELETE CASCADE,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        notice TEXT NOT NULL,
        sum BLOB NOT NULL,
        PRIMARY KEY (store, epoch, seq)
    ) STRICT, WITHOUT ROWID;
    -- To count with: the table itself is as large as its notices.
    CREATE INDEX outbox_of_store ON outbox (store);

    -- What happened, for people.
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        store TEXT NOT NULL REFERENCES stores ON DELETE CASCADE,
        at INTEGER NOT NULL,
        entry TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;
    CREATE INDEX history_of_store ON history (store, id);
";

fn migrate_to_v2(connection: &Connection) -> Result<(), RowError> {
    Ok(connection.execute_batch(V2_CHANGES)?)
}

const V2_CHANGES: &str = "
    -- One row: how many rows each table has, and the sum of their sums.
    CREATE TABLE contents (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        tables TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;

    -- Recent logins of a store that its server rejected, so that a restart does not repeat them.
    CREATE TABLE rejections (
        store TEXT PRIMARY KEY REFERENCES stores ON DELETE CASCADE,
        entry TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- The same of trial logins, which have no store. The digest is keyed, and nothing is plain.
    CREATE TABLE trial_rejections (
        digest TEXT PRIMARY KEY,
        at INTEGER NOT NULL,
        entry TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- The id of a line is never reused, not even after the removal of the store with the newest.
    CREATE TABLE numbered_history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        store TEXT NOT NULL REFERENCES stores ON DELETE CASCADE,
        at INTEGER NOT NULL,
        entry TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;
    INSERT INTO numbered_history (id, store, at, entry, sum)
        SELECT id, store, at, entry, sum FROM history ORDER BY id;
    DROP TABLE history;
    ALTER TABLE numbered_history RENAME TO history;
    CREATE INDEX history_of_store ON history (store, id);
";

fn migrate_to_v3(connection: &Connection) -> Result<(), RowError> {
    Ok(connection.execute_batch(V3_CHANGES)?)
}

const V3_CHANGES: &str = "
    -- Operations whose callers fetch the result later. The caller and the request are keyed
    -- digests. The last three columns are null while the job runs.
    CREATE TABLE jobs (
        job TEXT NOT NULL PRIMARY KEY,
        caller BLOB NOT NULL,
        request BLOB NOT NULL,
        began INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        ended INTEGER,
        succeeded INTEGER,
        result BLOB,
        sum BLOB NOT NULL
    ) STRICT;
";

fn migrate_to_v4(connection: &Connection) -> Result<(), RowError> {
    Ok(connection.execute_batch(V4_CHANGES)?)
}

const V4_CHANGES: &str = "
    -- Web hooks to which the results of jobs are owed. The URL is sealed, and the destination is
    -- its host and port. A job is in turn again when a caller is referred to it again.
    CREATE TABLE hooks (
        job TEXT NOT NULL PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
        turn INTEGER NOT NULL,
        destination TEXT NOT NULL,
        sealed BLOB NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;
";

fn migrate_to_v5(connection: &Connection) -> Result<(), RowError> {
    connection.execute_batch(V5_CHANGES)?;
    backfill::backfill_v5(connection)
}

const V5_CHANGES: &str = "
    -- The use of space of each day. The columns of the inodes are null if they are not counted.
    CREATE TABLE capacity_days (
        store TEXT NOT NULL REFERENCES stores ON DELETE CASCADE,
        day INTEGER NOT NULL,
        series INTEGER NOT NULL,
        total INTEGER NOT NULL,
        used_min INTEGER NOT NULL,
        used_max INTEGER NOT NULL,
        used_last INTEGER NOT NULL,
        covered INTEGER NOT NULL,
        inodes_total INTEGER,
        inodes_min INTEGER,
        inodes_max INTEGER,
        inodes_last INTEGER,
        sum BLOB NOT NULL,
        PRIMARY KEY (store, day)
    ) STRICT, WITHOUT ROWID;

    -- The current series of the days, and the mount that it describes.
    CREATE TABLE capacity_series (
        store TEXT PRIMARY KEY REFERENCES stores ON DELETE CASCADE,
        series INTEGER NOT NULL,
        place TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- The last line of the history of each removed store. The id is one of the history. The lines
    -- of the store up to gone_through went with it.
    CREATE TABLE removed_stores (
        id INTEGER PRIMARY KEY,
        store TEXT NOT NULL,
        at INTEGER NOT NULL,
        entry TEXT NOT NULL,
        gone_through INTEGER NOT NULL,
        gone_until INTEGER NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;
";

/// The format of the ledgers that this version writes.
pub const LEDGER_FORMAT: usize = MIGRATIONS.len();

/// Returns the version after the last migration.
pub(super) fn latest_version(migration_list: &[Migration]) -> i32 {
    i32::try_from(migration_list.len()).unwrap_or(i32::MAX)
}

/// Returns the version of an open ledger.
pub(crate) fn schema_version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Runs all missing migrations in one transaction, and counts the rows of the result. The rows of
/// the older ledger are verified first, because a new count would hide that some are missing.
pub(super) fn run_migrations(
    connection: &mut Connection,
    migration_list: &[Migration],
) -> Result<(), RowError> {
    let from = schema_version(connection)?;
    let steps = migration_list.iter().skip(usize::try_from(from).unwrap_or(0));
    if steps.len() == 0 {
        return Ok(());
    }
    // Altering a table means creating it anew, and dropping the old one would delete the rows that
    // refer to it (https://sqlite.org/lang_altertable.html#otheralter). The pragma has no effect
    // within a transaction.
    connection.pragma_update(None, "foreign_keys", false)?;
    let transaction = connection.transaction()?;
    if from >= FIRST_COUNTED_VERSION {
        contents::verify_contents(&transaction, |_| true)?;
    }
    for step in steps {
        step(&transaction)?;
    }
    let sql = "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1";
    if let Some(table) = transaction.query_row(sql, [], |row| row.get(0)).optional()? {
        return Err(RowError::Orphan(table));
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", latest_version(migration_list))?;
    meta::set_written_by(&transaction, env!("CARGO_PKG_VERSION"))?;
    contents::record_contents(&transaction)?;
    crash_point("migration.before");
    transaction.commit()?;
    crash_point("migration.after");
    Ok(connection.pragma_update(None, "foreign_keys", true)?)
}
