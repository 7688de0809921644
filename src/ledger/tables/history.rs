//! Rows of what happened to a store, bounded by number and age.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::rows::{BadRow, decoded, each, verify};
use super::{checksum, meta};
use crate::ledger::codec::encode;
use crate::ledger::error::Refusal;
use crate::lifecycle::{HistoryEntry, StoreHistory};
use crate::model::StoreUuid;

/// Lines kept of one store; at one a minute, more than two months.
const MOST_ROWS: i64 = 100_000;
/// Age in milliseconds beyond which lines go: 90 days.
const MOST_AGE: i64 = 90 * 24 * 60 * 60 * 1000;
/// Lines between two looks at the bounds, so that most commits do without.
const LOOK_EVERY: i64 = 64;
/// Lines that one look may find too old. Twice as many as have come since the look before, so that age
/// keeps up; no more, so that a clock that jumps ahead takes with it only twice what is written until
/// it is set right, and no commit has to delete a whole history.
const AGED_AT_ONCE: i64 = 2 * LOOK_EVERY;

pub(crate) fn note(
    connection: &Connection,
    store: StoreUuid,
    entry: &HistoryEntry,
) -> Result<(), Refusal> {
    let (uuid, text) = (store.to_string(), encode(entry)?);
    let sum = sum(&uuid, entry.at.0, &text);
    let mut insert = connection
        .prepare_cached("INSERT INTO history (store, at, entry, sum) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![uuid, entry.at.0, text, sum])?;
    let line = connection.last_insert_rowid();
    if line % LOOK_EVERY == 0 {
        prune_by_age(connection, entry.at.0)?;
        prune_by_number(connection, line / LOOK_EVERY)?;
    }
    Ok(())
}

/// Of all stores the lines that were written first.
fn prune_by_age(connection: &Connection, now: i64) -> Result<(), BadRow> {
    let sql = "DELETE FROM history WHERE at < ?1 AND id IN
                   (SELECT id FROM history ORDER BY id LIMIT ?2) RETURNING store";
    prune(connection, sql, [now.saturating_sub(MOST_AGE), AGED_AT_ONCE])
}

/// One store a look, each in its turn, because it walks all lines of the store: all of them together
/// are never more than one look a store above their bounds.
fn prune_by_number(connection: &Connection, look: i64) -> Result<(), BadRow> {
    let sql = "WITH turn AS (SELECT uuid FROM stores ORDER BY uuid
                             LIMIT 1 OFFSET ?1 % (SELECT count(*) FROM stores))
               DELETE FROM history WHERE store = (SELECT uuid FROM turn) AND id <=
                   (SELECT id FROM history WHERE store = (SELECT uuid FROM turn)
                    ORDER BY id DESC LIMIT 1 OFFSET ?2) RETURNING store";
    prune(connection, sql, [look, MOST_ROWS])
}

/// Deletes, and counts what is gone of each store.
fn prune(connection: &Connection, sql: &str, bounds: [i64; 2]) -> Result<(), BadRow> {
    let mut gone: BTreeMap<String, u64> = BTreeMap::new();
    for store in each(connection, sql, bounds, |row| Ok(row.get::<_, String>(0)?))? {
        *gone.entry(store).or_default() += 1;
    }
    let mut gone = gone.iter();
    Ok(gone.try_for_each(|(store, lines)| meta::more_gone(connection, store, *lines))?)
}

/// The newest lines of a store, newest first, and how many are gone.
pub(crate) fn newest(
    connection: &Connection,
    store: StoreUuid,
    limit: u32,
) -> Result<StoreHistory, BadRow> {
    let uuid = store.to_string();
    let sql = "SELECT at, entry, sum FROM history WHERE store = ?1 ORDER BY id DESC LIMIT ?2";
    let lines = each(connection, sql, params![uuid, limit], |row| {
        let (at, entry): (i64, String) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()];
        verify("history", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        decoded("history", &entry)
    })?;
    Ok(StoreHistory { lines, gone: meta::gone(connection, &uuid)? })
}

fn sum(uuid: &str, at: i64, entry: &str) -> [u8; 8] {
    checksum::of(&[uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()])
}
