//! Reading rows that carry a checksum.

use rusqlite::Connection;

use super::checksum;
use crate::ledger::codec::{Stored, Undecodable, decode};

/// A row that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadRow {
    /// Its checksum does not fit.
    #[error("a row of table {0} does not match its checksum")]
    Changed(&'static str),
    /// Its checksum fits, its content does not: written by a fault of ours.
    #[error("table {table}")]
    Undecodable {
        table: &'static str,
        #[source]
        source: Undecodable,
    },
    /// It belongs to a store that is not there.
    #[error("a row of table {0} belongs to no store")]
    Orphan(String),
    /// SQLite refuses.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Compares a row's columns with its checksum.
pub(super) fn verify(table: &'static str, columns: &[&[u8]], sum: &[u8]) -> Result<(), BadRow> {
    if checksum::of(columns) == sum { Ok(()) } else { Err(BadRow::Changed(table)) }
}

/// Decodes a column that has been verified.
pub(super) fn decoded<T: Stored>(table: &'static str, text: &str) -> Result<T, BadRow> {
    decode(text).map_err(|source| BadRow::Undecodable { table, source })
}

/// Parses an id column that has been verified.
pub(super) fn parsed<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, BadRow>
where
    T::Err: std::fmt::Display,
{
    let refused = |error: T::Err| Undecodable(error.to_string());
    text.parse().map_err(|error| BadRow::Undecodable { table, source: refused(error) })
}

/// Runs a query and reads each of its rows.
pub(crate) fn each<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&rusqlite::Row<'_>) -> Result<T, BadRow>,
) -> Result<Vec<T>, BadRow> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}
