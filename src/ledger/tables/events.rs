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
use crate::lifecycle::{EventItem, EventPage, EventQuery, HistoryEntry, RecordedEvent};
use crate::model::{EventCursor, EventGap, GapCause, LedgerGeneration, StoreUuid};

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

/// Skips an id, so that a gap can have it.
pub(crate) fn skip_id(connection: &Connection) -> rusqlite::Result<()> {
    let skip = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'history'";
    if connection.execute(skip, [])? == 0 {
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('history', 1)", [])?;
    }
    Ok(())
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
    Ok(meta::add_missing_removal(connection, newest)?)
}

/// Returns the gaps after an id, of a store or of all stores, each with its id, in the order of
/// their ids. Lines were pruned up to the newest missing one of each store and of each removed life
/// of a store, and the newest missing removal. A pruned removal has no store any more, so that it
/// counts for each store. A restore counts for each store too.
fn missing_lines(
    connection: &Connection,
    after: u64,
    store: Option<&str>,
) -> Result<Vec<(u64, EventGap)>, RowError> {
    let mut pruned = match store {
        Some(store) => meta::pruned_lines(connection, store)?.newest.into_iter().collect(),
        None => meta::newest_pruned_lines(connection)?,
    };
    let id = i64::try_from(after).unwrap_or(i64::MAX);
    let sql = "SELECT gone_through, gone_until FROM removed_stores
               WHERE id > ?1 AND gone_through > ?1 AND (?2 IS NULL OR store = ?2)";
    pruned.extend(query_map(connection, sql, params![id, store], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), Timestamp(row.get(1)?)))
    })?);
    pruned.extend(meta::missing_removals(connection)?);
    let pruned =
        pruned.into_iter().map(|(id, until)| (id, gap_of(GapCause::Pruned, None, Some(until))));
    let restored = generation::load_former(connection)?.into_iter().map(|former| {
        (former.gap_id(), gap_of(GapCause::Restored, None, Some(former.restored_at)))
    });
    let mut missing: Vec<_> = pruned.chain(restored).filter(|(id, _)| *id > after).collect();
    missing.sort_by_key(|(id, gap)| (*id, gap.until));
    Ok(missing)
}

/// The beginning of a page.
struct PageStart {
    generation: LedgerGeneration,
    /// The id that the lines follow, or `None` to begin with the oldest line.
    after: Option<u64>,
    /// The gap before the lines.
    gap: Option<EventGap>,
}

/// Returns the beginning of the page after a position.
fn resolve_position(
    connection: &Connection,
    after: Option<EventCursor>,
    newest: u64,
) -> Result<PageStart, RowError> {
    let generation = generation::load_generation(connection)?;
    let start = |after, gap| PageStart { generation, after, gap };
    let gap = |cause| Some(gap_of(cause, None, None));
    let Some(EventCursor { generation: read, id }) = after else { return Ok(start(None, None)) };
    if read != generation {
        let former = generation::load_former(connection)?;
        // Both have the same events up to the copy. A copy may have been restored more than once,
        // and does not know the other lives. What it had is not repeated then.
        let known = former.iter().find(|former| former.generation == read);
        if let Some(common) = known.or(former.first().filter(|_| read.is_related(generation))) {
            // The gap of the restore is one of the missing lines.
            return Ok(start(Some(id.min(common.newest)), None));
        }
        let after = read.is_related(generation).then(|| id.min(newest));
        return Ok(start(after, gap(GapCause::Restored)));
    }
    if id > newest {
        return Ok(start(Some(newest), gap(GapCause::Unknown)));
    }
    Ok(start(Some(id), None))
}

/// Reads the events of a query.
///
/// The gaps depend on the position and the ledger only: missing lines are reported once, between
/// the lines around the newest of them. A reader that goes on from the cursor of any item gets the
/// items after it, however the pages are cut. A reader of the oldest events is not interested in
/// what was before them.
pub(crate) fn read_page(
    connection: &Connection,
    query: &EventQuery,
) -> Result<EventPage, RowError> {
    let newest = newest_id(connection)?;
    let PageStart { generation, after, gap } = resolve_position(connection, query.after, newest)?;
    // The kinds are known after reading.
    let line_count = match query.kinds.is_empty() {
        true => query.limit.clamp(1, MAX_PAGE_LINES),
        false => MAX_PAGE_LINES,
    };
    let (lines, mut is_last) =
        read_lines(connection, after.unwrap_or_default(), query.store, line_count)?;
    let oldest = || lines.first().map_or(newest, |(id, _)| id.saturating_sub(1));
    let from = after.unwrap_or_else(oldest);
    let store = query.store.map(|store| store.to_string());
    let mut missing = missing_lines(connection, from, store.as_deref())?.into_iter().peekable();
    let at = |id| EventCursor { generation, id };
    let mut gaps_before = |id: u64| {
        let mut gaps = Vec::<(u64, EventGap)>::new();
        while let Some((line, gap)) = missing.next_if(|(line, _)| *line < id) {
            // A gap is one up to the newest of its lines.
            gaps.pop_if(|(_, last)| last.cause == gap.cause);
            gaps.push((line, gap));
        }
        gaps.into_iter().map(|(line, gap)| EventItem::Gap(at(line), gap))
    };
    let is_selected =
        |entry: &HistoryEntry| query.kinds.is_empty() || query.kinds.contains(&entry.event.kind());
    let mut items: Vec<_> = gap.into_iter().map(|gap| EventItem::Gap(at(from), gap)).collect();
    let (mut through, mut wanted) = (from, query.limit.max(1));
    for (id, line) in lines {
        let item = match line {
            Some((_, entry)) if !is_selected(&entry) => None,
            Some(_) if wanted == 0 => {
                is_last = false;
                break;
            }
            Some((store, entry)) => {
                wanted -= 1;
                Some(EventItem::Event(RecordedEvent { cursor: at(id), store, entry }))
            }
            None => Some(EventItem::Gap(at(id), gap_of(GapCause::Damaged, Some(1), None))),
        };
        items.extend(gaps_before(id));
        items.extend(item);
        through = id;
    }
    if is_last {
        through = newest.max(from);
        items.extend(gaps_before(through.saturating_add(1)));
    }
    Ok(EventPage { items, next: at(through), is_last })
}

fn gap_of(cause: GapCause, count: Option<u64>, until: Option<Timestamp>) -> EventGap {
    EventGap { cause, count, until }
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

/// Returns the position before the first line of this time or later. Lines that are missing since
/// an earlier time are before it.
pub(crate) fn position_before(
    connection: &Connection,
    since: Timestamp,
) -> Result<EventCursor, RowError> {
    let newest = newest_id(connection)?;
    let mut next_line = connection.prepare_cached(
        "SELECT * FROM (SELECT id, at FROM history WHERE id > ?1 ORDER BY id LIMIT 1)
         UNION ALL
         SELECT * FROM (SELECT id, at FROM removed_stores WHERE id > ?1 ORDER BY id LIMIT 1)
         ORDER BY id LIMIT 1",
    )?;
    // The search takes the times to grow with the ids: a clock that was set back may hide lines.
    // The line that is wanted is after `low`, and not after `high`.
    let (mut low, mut high) = (0, i64::try_from(newest).unwrap_or(i64::MAX));
    let mut first = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let line = next_line.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)));
        let line: Option<(i64, i64)> = line.optional()?;
        match line {
            Some((id, at)) if at < since.0 => low = id,
            line => {
                high = middle;
                first = line;
            }
        }
    }
    let low = low.unsigned_abs();
    let first = first.map_or(u64::MAX, |(id, _)| id.unsigned_abs());
    let missing = missing_lines(connection, low, None)?.into_iter();
    let before = missing.filter(|(line, gap)| gap.until < Some(since) && *line < first);
    let id = before.map(|(line, _)| line).max().unwrap_or(low);
    Ok(EventCursor { generation: generation::load_generation(connection)?, id })
}
