//! Rows of the history of stores, bounded by number and age.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::events::MissingLine;
use super::meta::PrunedLines;
use super::{RowError, decode_column, meta, query_map, row_checksum, verify_checksum};
use crate::common::Timestamp;
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::lifecycle::{HistoryEntry, StoreHistory};
use crate::model::StoreUuid;

/// Maximum number of lines per store. At one line a minute this is more than two months.
const MAX_ROWS: i64 = 100_000;
/// Maximum age of a line, in milliseconds (90 days).
pub(super) const MAX_AGE_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// Number of lines between two prune runs, so that most commits do not prune.
const PRUNE_EVERY: i64 = 64;
/// Maximum number of lines that one run prunes by age. It is twice the number added since the
/// previous run, so that pruning catches up. It is not larger, so that after a clock jump each run
/// deletes at most twice what was written. No commit then has to delete a whole history.
const PRUNE_BATCH: i64 = 2 * PRUNE_EVERY;

pub(crate) fn add_entry(
    connection: &Connection,
    store: StoreUuid,
    entry: &HistoryEntry,
) -> Result<(), OperationError> {
    let (uuid, text) = (store.to_string(), encode_row(entry)?);
    let sum = entry_checksum(&uuid, entry.at.0, &text);
    let mut insert = connection
        .prepare_cached("INSERT INTO history (store, at, entry, sum) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![uuid, entry.at.0, text, sum])?;
    let line = connection.last_insert_rowid();
    if line % PRUNE_EVERY == 0 {
        prune_by_age(connection, entry.at.0)?;
        prune_by_number(connection)?;
    }
    Ok(())
}

/// Prunes old lines among the oldest `PRUNE_BATCH` lines of all stores.
fn prune_by_age(connection: &Connection, now: i64) -> Result<(), RowError> {
    let sql = "DELETE FROM history WHERE at < ?1 AND id IN
                   (SELECT id FROM history ORDER BY id LIMIT ?2) RETURNING store, id, at";
    prune_entries(connection, sql, [now.saturating_sub(MAX_AGE_MS), PRUNE_BATCH])
}

/// The store after the given one in the order of uuids, and the first one after the last.
const NEXT_STORE: &str = "SELECT coalesce((SELECT min(uuid) FROM stores WHERE uuid > ?1),
                                          (SELECT min(uuid) FROM stores))";

/// Prunes one store per run, in rotation, because the query walks all lines of the store. Together
/// the stores exceed their bounds by at most one run's interval of lines per store. The ledger
/// keeps the store of the last run, so that a run does not count the stores.
fn prune_by_number(connection: &Connection) -> Result<(), RowError> {
    let last = meta::last_pruned_store(connection)?.unwrap_or_default();
    let next: Option<String> = connection.query_row(NEXT_STORE, [last], |row| row.get(0))?;
    let Some(store) = next else { return Ok(()) };
    meta::set_last_pruned_store(connection, &store)?;
    let sql = "DELETE FROM history WHERE store = ?1 AND id <=
                   (SELECT id FROM history WHERE store = ?1
                    ORDER BY id DESC LIMIT 1 OFFSET ?2) RETURNING store, id, at";
    prune_entries(connection, sql, params![store, MAX_ROWS])
}

/// Deletes lines, and counts the deleted lines of each store.
fn prune_entries(
    connection: &Connection,
    sql: &str,
    bounds: impl rusqlite::Params,
) -> Result<(), RowError> {
    let mut pruned: BTreeMap<String, PrunedLines> = BTreeMap::new();
    let lines = query_map(connection, sql, bounds, |row| {
        let line = (row.get::<_, i64>(1)?.unsigned_abs(), Timestamp(row.get(2)?));
        Ok((row.get::<_, String>(0)?, line))
    })?;
    for (store, line) in lines {
        let pruned = pruned.entry(store).or_default();
        pruned.count += 1;
        pruned.newest = pruned.newest.max(Some(line));
    }
    let mut pruned = pruned.iter();
    Ok(pruned.try_for_each(|(store, lines)| meta::add_pruned_lines(connection, store, *lines))?)
}

/// Returns the newest lines of a store, newest first, and the number of pruned lines.
pub(crate) fn newest_entries(
    connection: &Connection,
    store: StoreUuid,
    limit: u32,
) -> Result<StoreHistory, RowError> {
    let uuid = store.to_string();
    let sql = "SELECT at, entry, sum FROM history WHERE store = ?1 ORDER BY id DESC LIMIT ?2";
    let lines = query_map(connection, sql, params![uuid, limit], |row| {
        let (at, entry): (i64, String) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()];
        verify_checksum("history", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        decode_column("history", &entry)
    })?;
    Ok(StoreHistory { lines, pruned: meta::pruned_lines(connection, &uuid)?.count })
}

/// Returns the newest line that a store has or had.
pub(super) fn last_line(
    connection: &Connection,
    uuid: &str,
) -> Result<Option<MissingLine>, RowError> {
    let sql = "SELECT id, at FROM history WHERE store = ?1 ORDER BY id DESC LIMIT 1";
    let kept = query_map(connection, sql, [uuid], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), Timestamp(row.get(1)?)))
    })?;
    // A damaged record of pruned lines must not prevent the removal of the store.
    let pruned = match meta::pruned_lines(connection, uuid) {
        Err(RowError::Sqlite(error)) => return Err(error.into()),
        pruned => pruned.unwrap_or_default().newest,
    };
    Ok(kept.into_iter().next().max(pruned))
}

fn entry_checksum(uuid: &str, at: i64, entry: &str) -> [u8; 8] {
    row_checksum(&[uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()])
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus::VmStep;

    use super::*;

    #[test]
    fn the_next_store_to_prune_is_found_without_a_walk_through_the_stores() {
        let steps = [10, 10_000].map(|count| {
            let connection = Connection::open_in_memory().unwrap();
            let schema = "CREATE TABLE stores (uuid TEXT PRIMARY KEY) STRICT, WITHOUT ROWID";
            connection.execute_batch(schema).unwrap();
            for n in 0..count {
                let uuid = format!("{n:032x}");
                connection.execute("INSERT INTO stores VALUES (?1)", [uuid]).unwrap();
            }
            let mut next = connection.prepare(NEXT_STORE).unwrap();
            let mut after = String::new();
            // One round, and the first store again.
            for n in (0..count).chain([0]) {
                after = next.query_row([&after], |row| row.get(0)).unwrap();
                assert_eq!(after, format!("{n:032x}"));
            }
            next.get_status(VmStep) / (count + 1)
        });
        assert!(steps[0] > 0 && steps[1] <= steps[0], "{steps:?}");
    }
}
