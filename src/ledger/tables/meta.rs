//! Rows of facts about the ledger, each with its checksum.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::events::MissingLine;
use super::{RowError, query_map, row_checksum, verify_checksum};
use crate::common::Timestamp;
use crate::ledger::codec::DecodeError;
use crate::model::Epoch;

const EPOCH_KEY: &str = "epoch";
const WRITTEN_BY_KEY: &str = "written_by";
const WRITE_PROBE_KEY: &str = "touched";
const LAST_PRUNED_KEY: &str = "history_pruned_last";
const MISSING_REMOVALS_KEY: &str = "removals_gone";

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

/// Returns the epoch that was taken last, as the time that it is at least.
pub(crate) fn last_epoch(connection: &Connection) -> Result<Timestamp, RowError> {
    Ok(Timestamp(next_unused_epoch(connection)?.saturating_sub(1)))
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

/// The pruned lines of a store's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PrunedLines {
    /// The number of lines.
    pub(super) count: u64,
    /// The newest of them.
    pub(super) newest: Option<MissingLine>,
}

impl PrunedLines {
    /// Adds later lines.
    fn add(self, later: Self) -> Self {
        let count = self.count.saturating_add(later.count);
        Self { count, newest: self.newest.max(later.newest) }
    }

    fn to_text(self) -> String {
        let (id, at) = self.newest.unwrap_or_default();
        format!("{} {id} {}", self.count, at.0)
    }

    fn parse(text: &str) -> Result<Self, RowError> {
        let parsed = || {
            let mut parts = text.splitn(3, ' ');
            let count = parts.next()?.parse().ok()?;
            let (id, at) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Self { count, newest: Some((id, Timestamp(at))) })
        };
        let message = || DecodeError(format!("not a number of lines: {text:?}"));
        parsed().ok_or_else(|| RowError::Undecodable { table: "meta", source: message() })
    }
}

/// Returns the pruned lines of a store's history.
pub(super) fn pruned_lines(connection: &Connection, store: &str) -> Result<PrunedLines, RowError> {
    let text = get_value(connection, &pruned_key(store))?;
    text.map_or(Ok(PrunedLines::default()), |text| PrunedLines::parse(&text))
}

/// Returns the newest pruned line of each store.
pub(super) fn newest_pruned_lines(connection: &Connection) -> Result<Vec<MissingLine>, RowError> {
    // The character after the full stop ends the range of the keys.
    let sql = "SELECT key, value, sum FROM meta
               WHERE key > 'history_gone.' AND key < 'history_gone/'";
    let newest = query_map(connection, sql, [], |row| {
        let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
        verify_meta_row(&key, &value, &row.get::<_, Vec<u8>>(2)?)?;
        Ok(PrunedLines::parse(&value)?.newest)
    })?;
    Ok(newest.into_iter().flatten().collect())
}

/// Adds to the pruned lines of a store's history. A damaged number stays unchanged as evidence: it
/// must not prevent the record of a status.
pub(super) fn add_pruned_lines(
    connection: &Connection,
    store: &str,
    lines: PrunedLines,
) -> rusqlite::Result<()> {
    match pruned_lines(connection, store) {
        Ok(before) => put_value(connection, &pruned_key(store), &before.add(lines).to_text()),
        Err(RowError::Sqlite(error)) => Err(error),
        Err(_) => Ok(()),
    }
}

/// Returns the newest pruned removal of a store.
pub(super) fn missing_removals(connection: &Connection) -> Result<Option<MissingLine>, RowError> {
    let text = get_value(connection, MISSING_REMOVALS_KEY)?;
    Ok(text.map(|text| PrunedLines::parse(&text)).transpose()?.and_then(|pruned| pruned.newest))
}

/// Records a pruned removal of a store, if it is the newest one. A clock that was set back can make
/// an earlier removal the later one to be pruned. A damaged record stays unchanged as evidence.
pub(super) fn add_missing_removal(
    connection: &Connection,
    pruned: MissingLine,
) -> rusqlite::Result<()> {
    let newest = match missing_removals(connection) {
        Ok(before) => before.max(Some(pruned)),
        Err(RowError::Sqlite(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    put_value(connection, MISSING_REMOVALS_KEY, &PrunedLines { count: 0, newest }.to_text())
}

/// Removes the record of pruned lines of a store.
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

pub(super) fn get_value(connection: &Connection, key: &str) -> Result<Option<String>, RowError> {
    let sql = "SELECT value, sum FROM meta WHERE key = ?1";
    let row = connection.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?)));
    let row: Option<(String, Vec<u8>)> = row.optional()?;
    row.map(|(value, sum)| verify_meta_row(key, &value, &sum).map(|()| value)).transpose()
}

pub(super) fn put_value(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let sum = row_checksum(&[key.as_bytes(), value.as_bytes()]);
    let sql = "INSERT INTO meta (key, value, sum) VALUES (?1, ?2, ?3)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum";
    connection.execute(sql, params![key, value, sum])?;
    Ok(())
}

fn verify_meta_row(key: &str, value: &str, sum: &[u8]) -> Result<(), RowError> {
    verify_checksum("meta", &[key.as_bytes(), value.as_bytes()], sum)
}
