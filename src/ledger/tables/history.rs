//! Rows of the history of stores, bounded by number and age.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{RowError, decode_column, meta, query_map, row_checksum, verify_checksum};
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::lifecycle::{HistoryEntry, StoreHistory};
use crate::model::StoreUuid;

/// Maximum number of lines per store. At one line a minute this is more than two months.
const MAX_ROWS: i64 = 100_000;
/// Maximum age of a line, in milliseconds (90 days).
const MAX_AGE_MS: i64 = 90 * 24 * 60 * 60 * 1000;
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
        prune_by_number(connection, line / PRUNE_EVERY)?;
    }
    Ok(())
}

/// Prunes old lines among the oldest `PRUNE_BATCH` lines of all stores.
fn prune_by_age(connection: &Connection, now: i64) -> Result<(), RowError> {
    let sql = "DELETE FROM history WHERE at < ?1 AND id IN
                   (SELECT id FROM history ORDER BY id LIMIT ?2) RETURNING store";
    prune_entries(connection, sql, [now.saturating_sub(MAX_AGE_MS), PRUNE_BATCH])
}

/// Prunes one store per run, in rotation, because the query walks all lines of the store. Together
/// the stores exceed their bounds by at most one run's interval of lines per store.
fn prune_by_number(connection: &Connection, run: i64) -> Result<(), RowError> {
    let sql = "WITH turn AS (SELECT uuid FROM stores ORDER BY uuid
                             LIMIT 1 OFFSET ?1 % (SELECT count(*) FROM stores))
               DELETE FROM history WHERE store = (SELECT uuid FROM turn) AND id <=
                   (SELECT id FROM history WHERE store = (SELECT uuid FROM turn)
                    ORDER BY id DESC LIMIT 1 OFFSET ?2) RETURNING store";
    prune_entries(connection, sql, [run, MAX_ROWS])
}

/// Deletes lines, and counts the deleted lines of each store.
fn prune_entries(connection: &Connection, sql: &str, bounds: [i64; 2]) -> Result<(), RowError> {
    let mut pruned: BTreeMap<String, u64> = BTreeMap::new();
    for store in query_map(connection, sql, bounds, |row| Ok(row.get::<_, String>(0)?))? {
        *pruned.entry(store).or_default() += 1;
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
    Ok(StoreHistory { lines, pruned: meta::pruned_lines(connection, &uuid)? })
}

fn entry_checksum(uuid: &str, at: i64, entry: &str) -> [u8; 8] {
    row_checksum(&[uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()])
}
