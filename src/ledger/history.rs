//! Rows of what happened to a store, bounded by number and age.

use rusqlite::{Connection, params};

use super::checksum;
use super::codec::encode;
use super::commit::Refusal;
use super::rows::{BadRow, decoded, each, verify};
use crate::lifecycle::HistoryEntry;
use crate::model::StoreUuid;

/// Lines kept of one store; at one a minute, more than two months.
const MOST_ROWS: i64 = 100_000;
/// Age in milliseconds beyond which lines go: 90 days.
const MOST_AGE: i64 = 90 * 24 * 60 * 60 * 1000;
/// Lines between two looks at the bounds, so that most commits do without.
const LOOK_EVERY: i64 = 64;

pub(super) fn note(
    connection: &Connection,
    store: StoreUuid,
    entry: &HistoryEntry,
) -> Result<(), Refusal> {
    let (uuid, text) = (store.to_string(), encode(entry)?);
    let sum = sum(&uuid, entry.at.0, &text);
    let mut insert = connection
        .prepare_cached("INSERT INTO history (store, at, entry, sum) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![uuid, entry.at.0, text, sum])?;
    if connection.last_insert_rowid() % LOOK_EVERY == 0 {
        prune(connection, entry.at.0)?;
    }
    Ok(())
}

/// Every store, not only the one that has a new line: its turn might never come.
fn prune(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    let mut stores = connection.prepare_cached("SELECT uuid FROM stores")?;
    let mut by_age =
        connection.prepare_cached("DELETE FROM history WHERE store = ?1 AND at < ?2")?;
    let mut by_number = connection.prepare_cached(
        "DELETE FROM history WHERE store = ?1 AND id <=
            (SELECT id FROM history WHERE store = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    let mut rows = stores.query([])?;
    while let Some(row) = rows.next()? {
        let uuid: String = row.get(0)?;
        by_age.execute(params![uuid, now.saturating_sub(MOST_AGE)])?;
        by_number.execute(params![uuid, MOST_ROWS])?;
    }
    Ok(())
}

/// The newest lines of a store, newest first.
pub(super) fn newest(
    connection: &Connection,
    store: StoreUuid,
    limit: u32,
) -> Result<Vec<HistoryEntry>, BadRow> {
    let uuid = store.to_string();
    let sql = "SELECT at, entry, sum FROM history WHERE store = ?1 ORDER BY id DESC LIMIT ?2";
    each(connection, sql, params![uuid, limit], |row| {
        let (at, entry): (i64, String) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()];
        verify("history", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        decoded("history", &entry)
    })
}

fn sum(uuid: &str, at: i64, entry: &str) -> [u8; 8] {
    checksum::of(&[uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()])
}
