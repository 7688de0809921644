//! Rows of facts about the ledger, each with its checksum.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{RowError, row_checksum, verify_checksum};
use crate::common::Timestamp;
use crate::ledger::codec::DecodeError;
use crate::model::Epoch;

const EPOCH_KEY: &str = "epoch";
const WRITTEN_BY_KEY: &str = "written_by";
const WRITE_PROBE_KEY: &str = "touched";
const LAST_PRUNED_KEY: &str = "history_pruned_last";

/// Writes the first epoch into a new ledger. A ledger without an epoch is therefore always damaged.
pub(crate) fn initialize(connection: &Connection) -> rusqlite::Result<()> {
    put_value(connection, EPOCH_KEY, "0")
}

/// Records the version of the program that wrote the ledger's format.
pub(crate) fn set_written_by(connection: &Connection, version: &str) -> rusqlite::Result<()> {
    put_value(connection, WRITTEN_BY_KEY, version)
}

/// Returns the version of the program that wrote the ledger's format. Returns `None` if it cannot
/// be read, because a newer program may store its facts differently.
pub(crate) fn read_written_by(connection: &Connection) -> Option<String> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    connection.query_row(sql, [WRITTEN_BY_KEY], |row| row.get(0)).ok()
}

/// Verifies every fact.
pub(crate) fn verify_all(connection: &Connection) -> Result<(), RowError> {
    let mut statement = connection.prepare("SELECT key, value, sum FROM meta")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
        verify_meta_row(&key, &value, &row.get::<_, Vec<u8>>(2)?)?;
    }
    next_unused_epoch(connection).map(drop)
}

/// Takes and commits the next epoch: `max(stored + 1, now in Unix ms)`.
pub(crate) fn next_epoch(connection: &Connection, now: Timestamp) -> Result<Epoch, RowError> {
    let epoch = next_unused_epoch(connection)?.max(now.0);
    put_value(connection, EPOCH_KEY, &epoch.to_string())?;
    Ok(Epoch(epoch.unsigned_abs()))
}

/// Makes a commit that costs as much as any other. It toggles a value, because SQLite does not
/// write an unchanged row.
pub(crate) fn write_probe(connection: &Connection) -> Result<(), RowError> {
    let last = get_value(connection, WRITE_PROBE_KEY)?;
    put_value(connection, WRITE_PROBE_KEY, if last.as_deref() == Some("1") { "0" } else { "1" })?;
    Ok(())
}

/// Returns the store whose history was pruned last. A damaged value counts as none, because the
/// rotation may begin anywhere.
pub(super) fn last_pruned_store(connection: &Connection) -> rusqlite::Result<Option<String>> {
    match get_value(connection, LAST_PRUNED_KEY) {
        Err(RowError::Sqlite(error)) => Err(error),
        value => Ok(value.unwrap_or_default()),
    }
}

/// Records the store whose history was pruned last.
pub(super) fn set_last_pruned_store(connection: &Connection, store: &str) -> rusqlite::Result<()> {
    put_value(connection, LAST_PRUNED_KEY, store)
}

/// Returns the number of pruned lines of a store's history.
pub(super) fn pruned_lines(connection: &Connection, store: &str) -> Result<u64, RowError> {
    let counted = get_value(connection, &pruned_key(store))?;
    let number = |text: String| {
        let message = format!("not a number of lines: {text:?}");
        text.parse()
            .map_err(|_| RowError::Undecodable { table: "meta", source: DecodeError(message) })
    };
    counted.map_or(Ok(0), number)
}

/// Adds to the number of pruned lines of a store's history. A damaged number stays unchanged as
/// evidence: it must not prevent the record of a status.
pub(super) fn add_pruned_lines(
    connection: &Connection,
    store: &str,
    lines: u64,
) -> rusqlite::Result<()> {
    match pruned_lines(connection, store) {
        Ok(before) => {
            put_value(connection, &pruned_key(store), &before.saturating_add(lines).to_string())
        }
        Err(RowError::Sqlite(error)) => Err(error),
        Err(_) => Ok(()),
    }
}

/// Removes the number of pruned lines of a store.
pub(super) fn clear_pruned_lines(connection: &Connection, store: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM meta WHERE key = ?1", [pruned_key(store)])?;
    Ok(())
}

fn pruned_key(store: &str) -> String {
    format!("history_gone.{store}")
}

/// Returns the first epoch that was never taken. A missing, malformed, negative or exhausted epoch
/// is treated as corruption. Guessing one could reuse positions that were already delivered.
fn next_unused_epoch(connection: &Connection) -> Result<i64, RowError> {
    let lost = |what: String| RowError::Undecodable { table: "meta", source: DecodeError(what) };
    let stored =
        get_value(connection, EPOCH_KEY)?.ok_or_else(|| lost("there is no epoch".to_owned()))?;
    let number: Option<i64> = stored.parse().ok().filter(|number| *number >= 0);
    let next = number.and_then(|number| number.checked_add(1));
    next.ok_or_else(|| lost(format!("not a valid epoch: {stored:?}")))
}

fn get_value(connection: &Connection, key: &str) -> Result<Option<String>, RowError> {
    let sql = "SELECT value, sum FROM meta WHERE key = ?1";
    let row = connection.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?)));
    let row: Option<(String, Vec<u8>)> = row.optional()?;
    row.map(|(value, sum)| verify_meta_row(key, &value, &sum).map(|()| value)).transpose()
}

fn put_value(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let sum = row_checksum(&[key.as_bytes(), value.as_bytes()]);
    let sql = "INSERT INTO meta (key, value, sum) VALUES (?1, ?2, ?3)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum";
    connection.execute(sql, params![key, value, sum])?;
    Ok(())
}

fn verify_meta_row(key: &str, value: &str, sum: &[u8]) -> Result<(), RowError> {
    verify_checksum("meta", &[key.as_bytes(), value.as_bytes()], sum)
}
