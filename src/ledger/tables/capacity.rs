//! Rows of the use of space by day, and of the series that the days belong to.
//!
//! A row that cannot be read stays as it is, as evidence: it prevents no record of a status. The
//! figures for it are lost, and reading it fails.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{RowError, decode_column, query_map, row_checksum, verify_checksum};
use crate::ledger::codec::{DecodeError, encode_row};
use crate::ledger::error::OperationError;
use crate::model::{
    CapacityDay, DAY_SECONDS, DayFigures, MountLocation, StoreUuid, UsedRange, UtcDay,
};

const DAYS: &str = "capacity_days";
const SERIES: &str = "capacity_series";

/// Number of days that are kept before the newest one.
const KEPT_DAYS: i64 = 400;
/// Maximum number of rows of a store. It is above the number of kept days, so that only a clock
/// that jumps to and fro reaches it.
const MAX_ROWS: i64 = 440;
/// Maximum number of days that are pruned when a new one begins. It is above 1, so that pruning
/// catches up. A clock that is far ahead for one look deletes no more than this.
const PRUNE_BATCH: i64 = 2;

/// Adds figures to the row of their day. Figures of a new series replace those of the same day.
pub(crate) fn add_figures(
    connection: &Connection,
    store: StoreUuid,
    figures: DayFigures,
    place: &MountLocation,
) -> Result<(), OperationError> {
    let uuid = store.to_string();
    match merge_figures(connection, &uuid, figures, place) {
        Err(RowError::Sqlite(error)) => Err(error.into()),
        Err(_) | Ok(()) => Ok(()),
    }
}

fn merge_figures(
    connection: &Connection,
    uuid: &str,
    figures: DayFigures,
    place: &MountLocation,
) -> Result<(), RowError> {
    let series = continue_series(connection, uuid, place)?;
    let stored = load_day(connection, uuid, figures.day)?;
    let is_new_day = stored.is_none();
    let figures = match stored {
        Some(stored) if stored.series == series => stored.figures.merge(figures),
        _ => figures,
    };
    write_day(connection, uuid, &CapacityDay { series, figures })?;
    if is_new_day {
        prune_days(connection, uuid, figures.day)?;
    }
    Ok(())
}

/// Returns the series of a store. A new one begins if the place does not continue the one before.
fn continue_series(
    connection: &Connection,
    uuid: &str,
    place: &MountLocation,
) -> Result<u32, RowError> {
    let current = load_series(connection, uuid)?;
    let series = match &current {
        None => 1,
        Some((series, before)) if before.continues(place) => *series,
        Some((series, _)) => series.saturating_add(1),
    };
    // The same mount may be described in more detail than before.
    if current.is_none_or(|current| current != (series, place.clone())) {
        write_series(connection, uuid, series, place)?;
    }
    Ok(series)
}

fn load_series(
    connection: &Connection,
    uuid: &str,
) -> Result<Option<(u32, MountLocation)>, RowError> {
    let sql = "SELECT series, place, sum FROM capacity_series WHERE store = ?1";
    let mut rows = query_map(connection, sql, [uuid], |row| {
        let (series, place): (i64, String) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), &series.to_be_bytes(), place.as_bytes()];
        verify_checksum(SERIES, &columns, &row.get::<_, Vec<u8>>(2)?)?;
        Ok((series_number(SERIES, series)?, decode_column(SERIES, &place)?))
    })?;
    Ok(rows.pop())
}

/// Writes the current series of a store.
pub(crate) fn write_series(
    connection: &Connection,
    uuid: &str,
    series: u32,
    place: &MountLocation,
) -> Result<(), RowError> {
    let text =
        encode_row(place).map_err(|source| RowError::Undecodable { table: SERIES, source })?;
    let series = i64::from(series);
    let sum = row_checksum(&[uuid.as_bytes(), &series.to_be_bytes(), text.as_bytes()]);
    let mut upsert = connection.prepare_cached(
        "INSERT INTO capacity_series (store, series, place, sum) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (store) DO UPDATE SET series = excluded.series, place = excluded.place,
             sum = excluded.sum",
    )?;
    upsert.execute(params![uuid, series, text, sum])?;
    Ok(())
}

/// The columns of a day, without store and checksum. The last four of them are null if the
/// filesystem counts no inodes.
type DayColumns = [Option<i64>; 11];

const DAY_COLUMNS: &str = "day, series, total, used_min, used_max, used_last, covered,
    inodes_total, inodes_min, inodes_max, inodes_last";

fn day_columns(day: &CapacityDay) -> Result<DayColumns, RowError> {
    let number = |figure: u64| {
        let too_large = |_| undecodable(DAYS, "a figure above the range of the ledger");
        i64::try_from(figure).map(Some).map_err(too_large)
    };
    let CapacityDay { series, figures: DayFigures { day, space, inodes, covered_seconds } } = *day;
    let inode = |figure: fn(UsedRange) -> u64| inodes.map(figure).map_or(Ok(None), number);
    Ok([
        Some(day.0),
        Some(series.into()),
        number(space.total())?,
        number(space.min())?,
        number(space.max())?,
        number(space.last())?,
        Some(covered_seconds.into()),
        inode(UsedRange::total)?,
        inode(UsedRange::min)?,
        inode(UsedRange::max)?,
        inode(UsedRange::last)?,
    ])
}

fn day_checksum(uuid: &str, columns: &DayColumns) -> [u8; 8] {
    let bytes = columns.map(|column| column.map(i64::to_be_bytes));
    // A null is shorter than every number.
    let bytes = bytes.iter().map(|column| column.as_ref().map_or(&[][..], |bytes| &bytes[..]));
    row_checksum(&std::iter::once(uuid.as_bytes()).chain(bytes).collect::<Vec<_>>())
}

/// Writes the row of a day.
pub(crate) fn write_day(
    connection: &Connection,
    uuid: &str,
    day: &CapacityDay,
) -> Result<(), RowError> {
    let columns = day_columns(day)?;
    let sum = day_checksum(uuid, &columns);
    let mut upsert = connection.prepare_cached(&format!(
        "INSERT INTO capacity_days ({DAY_COLUMNS}, store, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (store, day) DO UPDATE SET series = excluded.series, total = excluded.total,
             used_min = excluded.used_min, used_max = excluded.used_max,
             used_last = excluded.used_last, covered = excluded.covered,
             inodes_total = excluded.inodes_total, inodes_min = excluded.inodes_min,
             inodes_max = excluded.inodes_max, inodes_last = excluded.inodes_last,
             sum = excluded.sum"
    ))?;
    let mut parameters: Vec<&dyn ToSql> = Vec::new();
    parameters.extend(columns.iter().map(|column| column as &dyn ToSql));
    parameters.extend([&uuid as &dyn ToSql, &sum]);
    upsert.execute(parameters.as_slice())?;
    Ok(())
}

/// Reads the columns [`DAY_COLUMNS`] and the checksum.
fn read_day(uuid: &str, row: &Row<'_>) -> Result<CapacityDay, RowError> {
    let mut columns: DayColumns = [None; 11];
    for (index, column) in columns.iter_mut().enumerate() {
        *column = row.get(index)?;
    }
    if day_checksum(uuid, &columns).as_slice() != row.get::<_, Vec<u8>>(11)? {
        return Err(RowError::Changed(DAYS));
    }
    let [
        Some(day),
        Some(series),
        Some(total),
        Some(min),
        Some(max),
        Some(last),
        Some(covered),
        inodes @ ..,
    ] = columns
    else {
        return Err(undecodable(DAYS, "a figure is missing"));
    };
    let inodes = match inodes {
        [None, None, None, None] => None,
        [Some(total), Some(min), Some(max), Some(last)] => Some([total, min, max, last]),
        _ => return Err(undecodable(DAYS, "a figure of the inodes is missing")),
    };
    let covered_seconds = u32::try_from(covered).ok().filter(|covered| *covered <= DAY_SECONDS);
    let figures = DayFigures {
        day: UtcDay(day),
        space: used_range([total, min, max, last])?,
        inodes: inodes.map(used_range).transpose()?,
        covered_seconds: covered_seconds
            .ok_or_else(|| undecodable(DAYS, "not a number of seconds of a day"))?,
    };
    Ok(CapacityDay { series: series_number(DAYS, series)?, figures })
}

fn used_range(figures: [i64; 4]) -> Result<UsedRange, RowError> {
    let [total, min, max, last] = figures.map(u64::try_from);
    let (Ok(total), Ok(min), Ok(max), Ok(last)) = (total, min, max, last) else {
        return Err(undecodable(DAYS, "a figure below 0"));
    };
    UsedRange::new(total, min, max, last).map_err(|error| undecodable(DAYS, &error.to_string()))
}

fn series_number(table: &'static str, series: i64) -> Result<u32, RowError> {
    let series = u32::try_from(series).ok().filter(|series| *series > 0);
    series.ok_or_else(|| undecodable(table, "not the number of a series"))
}

fn undecodable(table: &'static str, what: &str) -> RowError {
    RowError::Undecodable { table, source: DecodeError(what.to_owned()) }
}

fn load_day(
    connection: &Connection,
    uuid: &str,
    day: UtcDay,
) -> Result<Option<CapacityDay>, RowError> {
    let sql = format!("SELECT {DAY_COLUMNS}, sum FROM capacity_days WHERE store = ?1 AND day = ?2");
    let mut rows = query_map(connection, &sql, params![uuid, day.0], |row| read_day(uuid, row))?;
    Ok(rows.pop())
}

/// Loads the days of a store from a day on, oldest first.
pub(crate) fn load_days(
    connection: &Connection,
    store: StoreUuid,
    since: UtcDay,
) -> Result<Vec<CapacityDay>, RowError> {
    let uuid = store.to_string();
    let sql = format!(
        "SELECT {DAY_COLUMNS}, sum FROM capacity_days WHERE store = ?1 AND day >= ?2 ORDER BY day"
    );
    query_map(connection, &sql, params![uuid, since.0], |row| read_day(&uuid, row))
}

/// Prunes the oldest days when a new one begins, and those farthest from it if there are too many.
fn prune_days(connection: &Connection, uuid: &str, today: UtcDay) -> Result<(), RowError> {
    let mut by_age = connection.prepare_cached(
        "DELETE FROM capacity_days WHERE store = ?1 AND day IN
             (SELECT day FROM capacity_days WHERE store = ?1 AND day < ?2 ORDER BY day LIMIT ?3)",
    )?;
    by_age.execute(params![uuid, today.plus(-KEPT_DAYS).0, PRUNE_BATCH])?;
    let sql = "SELECT count(*) FROM capacity_days WHERE store = ?1";
    let count: Option<i64> = connection.query_row(sql, [uuid], |row| row.get(0)).optional()?;
    let excess = count.unwrap_or(0).saturating_sub(MAX_ROWS);
    if excess > 0 {
        let sql = "DELETE FROM capacity_days WHERE store = ?1 AND day IN
                       (SELECT day FROM capacity_days WHERE store = ?1
                        ORDER BY abs(day - ?2) DESC LIMIT ?3)";
        connection.execute(sql, params![uuid, today.0, excess])?;
    }
    Ok(())
}
