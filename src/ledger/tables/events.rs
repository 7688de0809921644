//! Reading of the events of all stores in the order of their ids, and the rows of removals, which
//! outlive their stores.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    RowError, decode_column, generation, meta, parse_column, query_map, row_checksum,
    verify_checksum,
};
use crate::common::Timestamp;
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::lifecycle::{EventPage, EventPosition, EventQuery, HistoryEntry, RecordedEvent};
use crate::model::{EventCursor, EventGap, GapCause, StoreUuid};

/// Maximum number of lines that are read for a page. Reading them takes about a millisecond, for
/// which commits wait.
const MAX_PAGE_LINES: u32 = 256;
/// Maximum number of removals that are kept. Stores are removed rarely, and a script that adds and
/// removes a store in a loop must not grow the ledger.
const MAX_REMOVALS: i64 = 1000;

/// The newest missing line of some lines, and its time.
pub(crate) type MissingLine = (u64, Timestamp);

/// A line of a page: its id, and the event, or `None` if its row is damaged.
type PageLine = (u64, Option<(StoreUuid, HistoryEntry)>);

/// Returns the newest id that a line ever had; 0 if there was none.
pub(crate) fn newest_id(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'history'";
    let newest: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(newest.unwrap_or(0).unsigned_abs())
}

/// Adds the removal of a store, whose history has lines up to `last`. The row takes the id of a
/// line of the history, which disappears with the store.
pub(crate) fn add_removal(
    connection: &Connection,
    uuid: &str,
    removed: &HistoryEntry,
    last: Option<MissingLine>,
) -> Result<(), OperationError> {
    let text = encode_row(removed)?;
    let (through, until) = last.unwrap_or_default();
    let through = i64::try_from(through).unwrap_or(i64::MAX);
    let mut taken = connection.prepare_cached(
        "INSERT INTO history (store, at, entry, sum) VALUES (?1, ?2, ?3, x'') RETURNING id",
    )?;
    let id: i64 = taken.query_row(params![uuid, removed.at.0, text], |row| row.get(0))?;
    let sum = removal_checksum(id, uuid, removed.at.0, &text, through, until.0);
    let sql = "INSERT INTO removed_stores (id, store, at, entry, gone_through, gone_until, sum)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.execute(sql, params![id, uuid, removed.at.0, text, through, until.0, sum])?;
    Ok(prune_removals(connection, removed.at.0)?)
}

fn removal_checksum(
    id: i64,
    uuid: &str,
    at: i64,
    entry: &str,
    through: i64,
    until: i64,
) -> [u8; 8] {
    row_checksum(&[
        &id.to_be_bytes(),
        uuid.as_bytes(),
        &at.to_be_bytes(),
        entry.as_bytes(),
        &through.to_be_bytes(),
        &until.to_be_bytes(),
    ])
}

/// Prunes the oldest removals, at most two for each new one.
fn prune_removals(connection: &Connection, now: i64) -> Result<(), RowError> {
    let sql = "DELETE FROM removed_stores WHERE id IN
                   (SELECT id FROM removed_stores ORDER BY id LIMIT 2)
               AND (at < ?1 OR id <= (SELECT id FROM removed_stores
                                      ORDER BY id DESC LIMIT 1 OFFSET ?2)) RETURNING id, at";
    let oldest = now.saturating_sub(super::history::MAX_AGE_MS);
    let pruned = query_map(connection, sql, [oldest, MAX_REMOVALS], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), Timestamp(row.get(1)?)))
    })?;
    let Some(newest) = pruned.into_iter().max() else { return Ok(()) };
    Ok(meta::set_missing_removals(connection, newest)?)
}

/// Returns the newest missing line after an id, of a store or of all stores.
fn newest_missing(
    connection: &Connection,
    after: u64,
    store: Option<&str>,
) -> Result<Option<MissingLine>, RowError> {
    let pruned = match store {
        Some(store) => meta::pruned_lines(connection, store)?.newest,
        None => meta::newest_pruned_line(connection)?,
    };
    let id = i64::try_from(after).unwrap_or(i64::MAX);
    let sql = "SELECT gone_through, gone_until FROM removed_stores
               WHERE id > ?1 AND (?2 IS NULL OR store = ?2) ORDER BY gone_through DESC LIMIT 1";
    let removed = query_map(connection, sql, params![id, store], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), Timestamp(row.get(1)?)))
    })?;
    let removals = meta::missing_removals(connection)?;
    let missing = pruned.into_iter().chain(removed).chain(removals);
    Ok(missing.filter(|(line, _)| *line > after).max())
}

/// Returns the position of a query, and the gap before it.
fn resolve_position(
    connection: &Connection,
    query: &EventQuery,
    newest: u64,
) -> Result<(EventPosition, Option<EventGap>), RowError> {
    let generation = generation::load_generation(connection)?;
    let at = |id| EventCursor { generation, id };
    let store = query.store.map(|store| store.to_string());
    let missing_after = |id| newest_missing(connection, id, store.as_deref());
    let told = |id, gap| -> Result<_, RowError> {
        let known_missing = missing_after(id)?.map_or(0, |(line, _)| line);
        Ok((EventPosition { cursor: at(id), known_missing }, gap))
    };
    let gap = |cause, until| Some(EventGap { cause, count: None, until });
    let Some(after) = query.after else { return told(0, None) };
    let EventCursor { generation: read, id } = after.cursor;
    if read != generation {
        let former = generation::load_former(connection)?;
        // Both have the same events up to the copy. A copy may have been restored more than once,
        // and does not know the other lives. What it had is not repeated then.
        let known = former.iter().find(|former| former.generation == read);
        let common = known.or(former.first().filter(|_| read.is_related(generation)));
        let until = common.map(|common| common.restored_at);
        let start = match common {
            Some(common) => id.min(common.newest),
            None if read.is_related(generation) => id.min(newest),
            None => 0,
        };
        return told(start, gap(GapCause::Restored, until));
    }
    if id > newest {
        return told(newest, gap(GapCause::Unknown, None));
    }
    match missing_after(id)? {
        Some((line, until)) if line > after.known_missing => {
            let position = EventPosition { cursor: at(id), known_missing: line };
            Ok((position, gap(GapCause::Pruned, Some(until))))
        }
        _ => Ok((after, None)),
    }
}

/// Reads the events of a query.
pub(crate) fn read_page(
    connection: &Connection,
    query: &EventQuery,
) -> Result<EventPage, RowError> {
    let newest = newest_id(connection)?;
    let (from, mut gap) = resolve_position(connection, query, newest)?;
    let limit = query.limit.clamp(1, MAX_PAGE_LINES);
    let (mut lines, is_last) = read_lines(connection, from.cursor.id, query.store, limit)?;
    let at = |id| EventCursor { id, ..from.cursor };
    let next_at = |id| EventPosition { cursor: at(id), ..from };
    // A damaged line is a gap of its own, at the beginning of a page.
    let damaged = lines.iter().position(|(_, line)| line.is_none());
    if damaged == Some(0)
        && gap.is_none()
        && let Some((id, _)) = lines.first()
    {
        gap = Some(EventGap { cause: GapCause::Damaged, count: Some(1), until: None });
        let is_last = is_last && lines.len() == 1;
        return Ok(EventPage { gap, events: Vec::new(), next: next_at(*id), is_last });
    }
    if let Some(index) = damaged {
        lines.truncate(index);
    }
    let is_last = is_last && damaged.is_none();
    let read_through = lines.last().map_or(from.cursor.id, |(id, _)| *id);
    let next = next_at(if is_last { newest.max(from.cursor.id) } else { read_through });
    let selected =
        |entry: &HistoryEntry| query.kinds.is_empty() || query.kinds.contains(&entry.event.kind());
    let events = lines.into_iter().filter_map(|(id, line)| {
        let (store, entry) = line.filter(|(_, entry)| selected(entry))?;
        Some(RecordedEvent { cursor: at(id), store, entry })
    });
    Ok(EventPage { gap, events: events.collect(), next, is_last })
}

/// Reads the lines after an id, in the order of their ids. Returns true with them if there are no
/// later ones.
fn read_lines(
    connection: &Connection,
    after: u64,
    store: Option<StoreUuid>,
    limit: u32,
) -> Result<(Vec<PageLine>, bool), RowError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let (store, wanted) = (store.map(|store| store.to_string()), i64::from(limit) + 1);
    let history = match &store {
        Some(_) => {
            "SELECT id, store, at, entry, sum FROM history
             WHERE store = ?3 AND id > ?1 ORDER BY id LIMIT ?2"
        }
        None => {
            "SELECT id, store, at, entry, sum FROM history
             WHERE ?3 IS NULL AND id > ?1 ORDER BY id LIMIT ?2"
        }
    };
    let parameters = params![after, wanted, store];
    let mut lines =
        query_map(connection, history, parameters, |row| page_line(row, read_history_row(row)))?;
    let removals = "SELECT id, store, at, entry, sum, gone_through, gone_until FROM removed_stores
                    WHERE (?3 IS NULL OR store = ?3) AND id > ?1 ORDER BY id LIMIT ?2";
    lines.extend(query_map(connection, removals, parameters, |row| {
        page_line(row, read_removal_row(row))
    })?);
    lines.sort_by_key(|(id, _)| *id);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_last = lines.len() <= limit;
    lines.truncate(limit);
    Ok((lines, is_last))
}

fn page_line(
    row: &Row<'_>,
    read: Result<(StoreUuid, HistoryEntry), RowError>,
) -> Result<PageLine, RowError> {
    let id = row.get::<_, i64>(0)?.unsigned_abs();
    match read {
        Err(RowError::Sqlite(error)) => Err(error.into()),
        read => Ok((id, read.ok())),
    }
}

fn read_history_row(row: &Row<'_>) -> Result<(StoreUuid, HistoryEntry), RowError> {
    let (uuid, at, entry): (String, i64, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let columns = [uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()];
    verify_checksum("history", &columns, &row.get::<_, Vec<u8>>(4)?)?;
    Ok((parse_column("history", &uuid)?, decode_column("history", &entry)?))
}

fn read_removal_row(row: &Row<'_>) -> Result<(StoreUuid, HistoryEntry), RowError> {
    const TABLE: &str = "removed_stores";
    let (id, uuid): (i64, String) = (row.get(0)?, row.get(1)?);
    let (at, entry): (i64, String) = (row.get(2)?, row.get(3)?);
    let sum = removal_checksum(id, &uuid, at, &entry, row.get(5)?, row.get(6)?);
    if row.get::<_, Vec<u8>>(4)? != sum {
        return Err(RowError::Changed(TABLE));
    }
    Ok((parse_column(TABLE, &uuid)?, decode_column(TABLE, &entry)?))
}

/// Returns the position before the first line of this time or later.
pub(crate) fn position_before(
    connection: &Connection,
    since: Timestamp,
) -> Result<EventPosition, RowError> {
    let newest = newest_id(connection)?;
    let mut next_line = connection
        .prepare_cached("SELECT id, at FROM history WHERE id > ?1 ORDER BY id LIMIT 1")?;
    // The times grow with the ids. The line that is wanted is after `low`, and not after `high`.
    let (mut low, mut high) = (0, i64::try_from(newest).unwrap_or(i64::MAX));
    while low < high {
        let middle = low + (high - low) / 2;
        let line = next_line.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)));
        let line: Option<(i64, i64)> = line.optional()?;
        match line {
            Some((id, at)) if at < since.0 => low = id,
            _ => high = middle,
        }
    }
    let cursor = EventCursor {
        generation: generation::load_generation(connection)?,
        id: low.unsigned_abs(),
    };
    // Lines that were missing before this time are not asked for.
    let missing = newest_missing(connection, cursor.id, None)?;
    let known_missing = missing.filter(|(_, until)| *until < since).map_or(0, |(line, _)| line);
    Ok(EventPosition { cursor, known_missing })
}
