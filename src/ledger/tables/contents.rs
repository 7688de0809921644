//! The contents row: the number of rows of each table, and the sum of their checksums. The checksum
//! of a row detects that the row has changed. The contents row detects that a row is missing, and
//! that a row was replaced by an earlier version of itself.
//!
//! The row is part of every transaction. [`ContentsTracker`] counts the rows that SQLite itself
//! reports as inserted, changed or deleted, also by a foreign key.
//!
//! A table is counted if its last column is `sum`, which every table of the ledger has.

use std::sync::{Arc, Mutex};

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{RowError, query_map, row_checksum, verify_checksum};
use crate::common::lock_unpoisoned;
use crate::ledger::codec::DecodeError;

const TABLE: &str = "contents";

/// The rows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TableTotal {
    rows: u64,
    /// The sum of the checksums of all rows, modulo 2^64. It does not depend on their order.
    sums: u64,
}

impl TableTotal {
    fn add_row(&mut self, sum: u64) {
        self.rows = self.rows.wrapping_add(1);
        self.sums = self.sums.wrapping_add(sum);
    }

    fn remove_row(&mut self, sum: u64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sums = self.sums.wrapping_sub(sum);
    }
}

/// The rows of all tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    tables: Arc<[String]>,
    totals: Vec<TableTotal>,
}

impl Contents {
    /// Counts all tables of the database.
    fn count_all(connection: &Connection) -> Result<Self, RowError> {
        let sql = "SELECT t.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
                   WHERE t.type = 'table' AND t.name <> ?1 AND c.name = 'sum' AND c.cid =
                       (SELECT max(cid) FROM pragma_table_info(t.name)) ORDER BY t.name";
        let tables: Arc<[String]> =
            query_map(connection, sql, [TABLE], |row| Ok(row.get(0)?))?.into();
        let totals = tables.iter().map(|table| count_table(connection, table));
        Ok(Self { totals: totals.collect::<Result<_, _>>()?, tables })
    }

    /// Counts a changed row. A checksum is null if there is no row before or after the change.
    fn track_row(&mut self, table: usize, removed: ValueRef<'_>, added: ValueRef<'_>) {
        let Some(total) = self.totals.get_mut(table) else { return };
        if removed != ValueRef::Null {
            total.remove_row(sum_number(removed));
        }
        if added != ValueRef::Null {
            total.add_row(sum_number(added));
        }
    }

    fn named_totals(&self) -> impl Iterator<Item = (&str, &TableTotal)> {
        self.tables.iter().map(String::as_str).zip(&self.totals)
    }

    /// Returns the stored form: `table=rows:sums` for each table, separated by spaces.
    fn to_text(&self) -> String {
        let entry = |(table, total): (&str, &TableTotal)| {
            format!("{table}={}:{:016x}", total.rows, total.sums)
        };
        self.named_totals().map(entry).collect::<Vec<_>>().join(" ")
    }

    fn parse(text: &str) -> Option<Self> {
        let entry = |entry: &str| {
            let (table, total) = entry.split_once('=')?;
            let (rows, sums) = total.split_once(':')?;
            let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
            let (rows, sums) = (rows.parse().ok()?, u64::from_str_radix(sums, 16).ok()?);
            table.chars().all(is_name).then(|| (table.to_owned(), TableTotal { rows, sums }))
        };
        let (tables, totals): (Vec<_>, _) = text.split(' ').map(entry).collect::<Option<_>>()?;
        Some(Self { tables: tables.into(), totals })
    }

    fn load(connection: &Connection) -> Result<Self, RowError> {
        let lost = |what: &str| RowError::Undecodable {
            table: TABLE,
            source: DecodeError(what.to_owned()),
        };
        let sql = "SELECT tables, sum FROM contents";
        let row = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let row: Option<(String, Vec<u8>)> = row.optional()?;
        let (text, sum) = row.ok_or_else(|| lost("there is no row"))?;
        verify_checksum(TABLE, &[text.as_bytes()], &sum)?;
        Self::parse(&text).ok_or_else(|| lost("not a list of tables"))
    }

    fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let text = self.to_text();
        let sum = row_checksum(&[text.as_bytes()]);
        let mut upsert = connection.prepare_cached(
            "INSERT INTO contents (id, tables, sum) VALUES (1, ?1, ?2)
             ON CONFLICT (id) DO UPDATE SET tables = excluded.tables, sum = excluded.sum",
        )?;
        upsert.execute(params![text, sum])?;
        Ok(())
    }
}

/// Counts all tables and writes the contents row, after a migration or at the creation of a ledger.
pub(crate) fn record_contents(connection: &Connection) -> Result<(), RowError> {
    Ok(Contents::count_all(connection)?.save(connection)?)
}

/// Checks that a contents row that parses is written as one that parses to the same value.
#[cfg(any(test, fuzzing))]
pub(in crate::ledger) fn check_parsed(text: &str) {
    let Some(contents) = Contents::parse(text) else { return };
    assert_eq!(Contents::parse(&contents.to_text()), Some(contents));
}

/// Compares the tables with the contents row. `is_complete` returns true for a table whose
/// checksums are compared. The rows of the other tables are only counted.
pub(crate) fn verify_contents(
    connection: &Connection,
    is_complete: impl Fn(&str) -> bool,
) -> Result<(), RowError> {
    let recorded = Contents::load(connection)?;
    let (mut miscounted, mut replaced) = (Vec::new(), None);
    for (table, recorded) in recorded.named_totals() {
        let found = match is_complete(table) {
            true => count_table(connection, table)?,
            // SQLite counts the cells of the smallest index, and reads no row.
            false => TableTotal {
                rows: connection
                    .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
                    .map(i64::unsigned_abs)?,
                ..*recorded
            },
        };
        if found.rows != recorded.rows {
            let (found, recorded) = (found.rows, recorded.rows);
            miscounted.push(format!("table {table} has {found} rows, but {recorded} were written"));
        } else if found != *recorded {
            replaced.get_or_insert(table.to_owned());
        }
    }
    match replaced {
        _ if !miscounted.is_empty() => Err(RowError::Miscounted(miscounted.join(", "))),
        Some(table) => Err(RowError::Replaced(table)),
        None => Ok(()),
    }
}

fn count_table(connection: &Connection, table: &str) -> Result<TableTotal, RowError> {
    let mut statement = connection.prepare(&format!("SELECT sum FROM {table}"))?;
    let (mut rows, mut total) = (statement.query([])?, TableTotal::default());
    while let Some(row) = rows.next()? {
        total.add_row(sum_number(row.get_ref(0)?));
    }
    Ok(total)
}

/// Returns the checksum of a row as a number. A malformed one is a number too, because a damaged
/// row must not prevent its own replacement. The row itself is verified when it is read.
fn sum_number(sum: ValueRef<'_>) -> u64 {
    let bytes = if let ValueRef::Blob(bytes) = sum { bytes } else { &[] };
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_be_bytes(number)
}

/// Keeps the contents row of an open ledger. It follows each row that the connection changes.
#[derive(Debug)]
pub(crate) struct ContentsTracker(Arc<Mutex<Contents>>);

impl ContentsTracker {
    /// Loads the contents row, and follows all later changes of this connection.
    ///
    /// Temporary triggers report the changed rows. They belong to the connection and are not
    /// written to the database, so that an operator's `sqlite3` works on the tables as before.
    ///
    /// # Errors
    /// Returns [`RowError`] if there is no valid contents row.
    pub(crate) fn follow(connection: &Connection) -> Result<Self, RowError> {
        let contents = Contents::load(connection)?;
        let tables = Arc::clone(&contents.tables);
        let tracked = Arc::new(Mutex::new(contents));
        let shared = Arc::clone(&tracked);
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        connection.create_scalar_function("track_row", 3, flags, move |row| {
            let table = row.get::<i64>(0)?;
            let table = usize::try_from(table).unwrap_or(usize::MAX);
            lock_unpoisoned(&shared).track_row(table, row.get_raw(1), row.get_raw(2));
            Ok(Null)
        })?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // Without this, a row that another one replaces on a conflict would not be reported.
        connection.pragma_update(None, "recursive_triggers", true)?;
        for (index, table) in tables.iter().enumerate() {
            let report = |event: &str, removed: &str, added: &str| {
                format!(
                    "CREATE TEMP TRIGGER track_{table}_{event} AFTER {event} ON main.{table}
                     BEGIN SELECT track_row({index}, {removed}, {added}); END;"
                )
            };
            let triggers = [
                report("INSERT", "NULL", "NEW.sum"),
                report("UPDATE", "OLD.sum", "NEW.sum"),
                report("DELETE", "OLD.sum", "NULL"),
            ];
            connection.execute_batch(&triggers.concat())?;
        }
        Ok(Self(tracked))
    }

    /// Returns the contents as they are now, with the changes that are not committed.
    pub(crate) fn current(&self) -> Contents {
        lock_unpoisoned(&self.0).clone()
    }

    /// Goes back to earlier contents, because the changes since then were rolled back.
    pub(crate) fn restore(&self, earlier: Contents) {
        *lock_unpoisoned(&self.0) = earlier;
    }

    /// Writes the contents row if it differs from `before`, within the caller's transaction.
    ///
    /// # Errors
    /// Returns the error of SQLite, which must roll the transaction back.
    pub(crate) fn save_since(
        &self,
        before: &Contents,
        connection: &Connection,
    ) -> rusqlite::Result<()> {
        let contents = self.current();
        if contents == *before { Ok(()) } else { contents.save(connection) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(entries: &[(&str, u64, u64)]) -> Contents {
        Contents {
            tables: entries.iter().map(|(table, ..)| (*table).to_owned()).collect(),
            totals: entries
                .iter()
                .map(|(_, rows, sums)| TableTotal { rows: *rows, sums: *sums })
                .collect(),
        }
    }

    #[test]
    fn the_stored_form_reads_back_and_no_other_text_does() {
        let all = contents(&[("meta", 3, u64::MAX), ("of_two", 0, 0)]);
        assert_eq!(all.to_text(), "meta=3:ffffffffffffffff of_two=0:0000000000000000");
        assert_eq!(Contents::parse(&all.to_text()), Some(all));
        for bad in
            ["", "meta", "meta=3", "meta=x:00", "meta=3:xx", "meta=-1:00", "a;b=1:00", "a=1:0 "]
        {
            assert_eq!(Contents::parse(bad), None, "{bad:?}");
        }
    }

    /// The model counts what SQL says; the tracker counts what SQLite reports.
    #[test]
    fn the_tracker_agrees_with_a_new_count_after_every_kind_of_statement() {
        let connection = Connection::open_in_memory().unwrap();
        let schema = "
            PRAGMA foreign_keys = ON;
            CREATE TABLE contents (id INTEGER PRIMARY KEY, tables TEXT NOT NULL, sum BLOB NOT NULL);
            CREATE TABLE parents (name TEXT PRIMARY KEY, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;
            CREATE TABLE children (id INTEGER PRIMARY KEY, text TEXT UNIQUE,
                parent TEXT REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE,
                sum BLOB NOT NULL) STRICT;
            CREATE TABLE others (sum BLOB, text TEXT);";
        connection.execute_batch(schema).unwrap();
        record_contents(&connection).unwrap();
        let tracker = ContentsTracker::follow(&connection).unwrap();
        let statements = [
            "INSERT INTO parents VALUES ('a', x'0102030405060708'), ('b', x'ffffffffffffffff')",
            "INSERT INTO children VALUES (1, 'x', 'a', x'01'), (2, 'y', 'a', x''), (3, 'z', 'b', x'03')",
            "INSERT INTO children VALUES (1, 'x', 'b', x'09') ON CONFLICT (id) DO UPDATE SET sum = excluded.sum",
            "INSERT OR REPLACE INTO children VALUES (2, 'z', 'b', x'0a0b0c0d0e0f1011')",
            "UPDATE parents SET name = 'c', sum = x'07' WHERE name = 'a'",
            "INSERT INTO others VALUES (x'01', 'not counted')",
            "DELETE FROM parents WHERE name = 'c'",
            "DELETE FROM children",
            "DELETE FROM parents",
        ];
        for statement in statements {
            let before = tracker.current();
            connection.execute_batch(statement).unwrap();
            assert_eq!(tracker.current(), Contents::count_all(&connection).unwrap(), "{statement}");
            tracker.save_since(&before, &connection).unwrap();
            verify_contents(&connection, |_| true).unwrap();
        }
    }
}
