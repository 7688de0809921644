//! The part of the migration to format 5 that fills the new tables from the rows of format 4: the
//! figures of each day from the history, and the newest of the pruned lines.
//!
//! A sampled figure counts until the next line that ends it: another figure, a move, a status of
//! Disconnected, a restart. It counts for at most a day, because a line is written only if a figure
//! changes, and no line tells that the daemon did not run. After the newest line nothing counts.

use std::collections::BTreeMap;

use rusqlite::types::ToSql;
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::Value;

use crate::ledger::codec::DecodeError;
use crate::ledger::tables::{RowError, query_map, row_checksum};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A line of format 4. The kinds of events that end no figure are left out.
#[derive(Deserialize)]
struct LineV4 {
    event: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Deserialize)]
struct SpaceV4 {
    total: i64,
    available: i64,
}

#[derive(Clone, Copy, Deserialize)]
struct MeasuredV4 {
    capacity: SpaceV4,
    inodes: Option<SpaceV4>,
}

/// Total, and used: least, greatest, last.
type UseV5 = [i64; 4];

struct DayV5 {
    series: i64,
    space: UseV5,
    inodes: Option<UseV5>,
    covered_ms: i64,
}

/// The days of one store.
#[derive(Default)]
struct StoreDays {
    series: i64,
    /// The figure that counts, and since when.
    current: Option<(i64, MeasuredV4)>,
    days: BTreeMap<i64, DayV5>,
}

/// Fills the tables of format 5.
pub(super) fn backfill_v5(connection: &Connection) -> Result<(), RowError> {
    let stores = query_map(connection, "SELECT uuid, definition FROM stores", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    for (uuid, definition) in stores {
        let definition: Value = serde_json::from_str(&definition).map_err(undecodable)?;
        let place = definition.get("place").map(Value::to_string);
        let place = place.ok_or_else(|| undecodable("a store without a mount"))?;
        let days = read_days(connection, &uuid)?;
        for (day, figures) in &days.days {
            insert_day(connection, &uuid, *day, figures)?;
        }
        let columns = [uuid.as_bytes(), &days.series.to_be_bytes(), place.as_bytes()];
        let sum = row_checksum(&columns);
        let sql = "INSERT INTO capacity_series (store, series, place, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![uuid, days.series, place, sum])?;
        complete_pruned_lines(connection, &uuid)?;
    }
    Ok(())
}

fn undecodable(what: impl ToString) -> RowError {
    RowError::Undecodable { table: "stores", source: DecodeError(what.to_string()) }
}

/// Reads the history of a store.
fn read_days(connection: &Connection, uuid: &str) -> Result<StoreDays, RowError> {
    let mut days = StoreDays { series: 1, ..StoreDays::default() };
    let sql = "SELECT at, entry, sum FROM history WHERE store = ?1 ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([uuid])?;
    let mut newest = i64::MIN;
    while let Some(row) = rows.next()? {
        let (at, entry): (i64, String) = (row.get(0)?, row.get(1)?);
        let sum = row_checksum(&[uuid.as_bytes(), &at.to_be_bytes(), entry.as_bytes()]);
        // A damaged line may have been anything.
        let line = match row.get::<_, Vec<u8>>(2)? == sum {
            true => serde_json::from_str(&entry).ok(),
            false => None,
        };
        days.add_line(at, line.as_ref());
        newest = newest.max(at);
    }
    days.end_figure(newest);
    Ok(days)
}

impl StoreDays {
    fn add_line(&mut self, at: i64, line: Option<&LineV4>) {
        let Some((kind, content)) = line.and_then(|line| line.event.iter().next()) else {
            return self.end_figure(at);
        };
        match kind.as_str() {
            "measured" => {
                self.end_figure(at);
                let measured = MeasuredV4::deserialize(content).ok();
                let measured = measured.filter(|measured| is_plausible(measured.capacity));
                if let Some(measured) = measured {
                    self.count(at.div_euclid(DAY_MS), &measured, 0);
                    self.current = Some((at, measured));
                }
            }
            "moved" => {
                self.end_figure(at);
                self.series = self.series.saturating_add(1);
            }
            "interrupted_by_restart" => self.end_figure(at),
            "changed" if content.get("new").and_then(Value::as_str) == Some("Disconnected") => {
                self.end_figure(at);
            }
            _ => {}
        }
    }

    /// Ends the figure that counts, and adds the time for which it did.
    fn end_figure(&mut self, at: i64) {
        let Some((since, measured)) = self.current.take() else { return };
        let end = at.min(since.saturating_add(DAY_MS));
        let mut from = since;
        while from < end {
            let day = from.div_euclid(DAY_MS);
            let midnight = day.saturating_add(1).saturating_mul(DAY_MS);
            let to = end.min(midnight);
            self.count(day, &measured, to.saturating_sub(from));
            from = to;
        }
    }

    /// Adds a figure to a day. A new series replaces the figures of the one before.
    fn count(&mut self, day: i64, measured: &MeasuredV4, covered_ms: i64) {
        let fresh = DayV5 {
            series: self.series,
            space: use_of(measured.capacity),
            inodes: measured.inodes.filter(|inodes| is_plausible(*inodes)).map(use_of),
            covered_ms: 0,
        };
        let series = self.series;
        let stored = self.days.remove(&day).filter(|stored| stored.series == series);
        let stored = stored.unwrap_or(DayV5 { ..fresh });
        let day_figures = DayV5 {
            series,
            space: merge(stored.space, fresh.space),
            inodes: match (stored.inodes, fresh.inodes) {
                (Some(stored), Some(fresh)) => Some(merge(stored, fresh)),
                (stored, fresh) => fresh.or(stored),
            },
            covered_ms: stored.covered_ms.saturating_add(covered_ms).min(DAY_MS),
        };
        self.days.insert(day, day_figures);
    }
}

fn is_plausible(SpaceV4 { total, available }: SpaceV4) -> bool {
    total > 0 && (0..=total).contains(&available)
}

fn use_of(SpaceV4 { total, available }: SpaceV4) -> UseV5 {
    let used = total.saturating_sub(available);
    [total, used, used, used]
}

fn merge([_, min, max, _]: UseV5, [total, later_min, later_max, last]: UseV5) -> UseV5 {
    [total, min.min(later_min), max.max(later_max), last]
}

fn insert_day(
    connection: &Connection,
    uuid: &str,
    day: i64,
    figures: &DayV5,
) -> Result<(), RowError> {
    let [total, min, max, last] = figures.space;
    let covered = figures.covered_ms.saturating_add(500) / 1000;
    let numbers = [day, figures.series, total, min, max, last, covered];
    let inodes = figures.inodes.map_or([None; 4], |inodes| inodes.map(Some));
    let columns: Vec<Option<i64>> = numbers.map(Some).into_iter().chain(inodes).collect();
    let bytes: Vec<Vec<u8>> = columns
        .iter()
        .map(|column| column.map_or_else(Vec::new, |number| number.to_be_bytes().to_vec()))
        .collect();
    let checked: Vec<&[u8]> =
        std::iter::once(uuid.as_bytes()).chain(bytes.iter().map(Vec::as_slice)).collect();
    let sum = row_checksum(&checked);
    let mut insert = connection.prepare_cached(
        "INSERT INTO capacity_days (day, series, total, used_min, used_max, used_last, covered,
             inodes_total, inodes_min, inodes_max, inodes_last, store, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    let mut parameters: Vec<&dyn ToSql> = Vec::new();
    parameters.extend(columns.iter().map(|column| column as &dyn ToSql));
    parameters.extend([&uuid as &dyn ToSql, &sum]);
    insert.execute(parameters.as_slice())?;
    Ok(())
}

/// Adds the newest pruned line to the number of them. It is the one before the oldest line that is
/// kept, or at the latest that.
fn complete_pruned_lines(connection: &Connection, uuid: &str) -> Result<(), RowError> {
    let key = format!("history_gone.{uuid}");
    let counted = query_map(connection, "SELECT value FROM meta WHERE key = ?1", [&key], |row| {
        Ok(row.get::<_, String>(0)?)
    })?;
    let Some(count) = counted.first() else { return Ok(()) };
    // A number that cannot be read stays as it is, as evidence.
    if count.parse::<u64>().is_err() {
        return Ok(());
    }
    let sql = "SELECT id - 1, at FROM history WHERE store = ?1 ORDER BY id LIMIT 1";
    let oldest = query_map(connection, sql, [uuid], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let newest_of_all = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'history'";
    let (id, at) = match oldest.first() {
        Some(oldest) => *oldest,
        None => (connection.query_row(newest_of_all, [], |row| row.get(0))?, 0),
    };
    let value = format!("{count} {id} {at}");
    let sum = row_checksum(&[key.as_bytes(), value.as_bytes()]);
    connection
        .execute("UPDATE meta SET value = ?2, sum = ?3 WHERE key = ?1", params![key, value, sum])?;
    Ok(())
}
