//! The tables and the ladder that leads an older ledger to them.

use rusqlite::Connection;

use super::meta;

/// What `PRAGMA application_id` says of our files: "ISAg".
pub(super) const APPLICATION_ID: i32 = 0x4953_4167;

/// One step of the ladder a version: step `n` leads from version `n` to `n + 1`. Steps that have been
/// released are never edited.
const LADDER: &[&str] = &["
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

    -- What happened, for people.
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        store TEXT NOT NULL REFERENCES stores ON DELETE CASCADE,
        at INTEGER NOT NULL,
        entry TEXT NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;
    CREATE INDEX history_of_store ON history (store, id);
    CREATE INDEX history_by_age ON history (store, at);
"];

/// The version this program writes.
pub(super) fn known_version() -> i32 {
    i32::try_from(LADDER.len()).unwrap_or(i32::MAX)
}

/// The version of an open ledger.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Climbs from the ledger's version to ours, all steps in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = version(connection)?;
    let steps = LADDER.iter().skip(usize::try_from(from).unwrap_or(0));
    if steps.len() == 0 {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known_version())?;
    meta::written_by(&transaction, env!("CARGO_PKG_VERSION"))?;
    transaction.commit()
}
