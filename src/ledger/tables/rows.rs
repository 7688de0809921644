//! Reading of rows that have a checksum.

use rusqlite::Connection;

use super::checksum;
use crate::ledger::codec::{DecodeError, Persist, decode_row};

/// An error of reading rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// The checksum does not match the row.
    #[error("a row of table {0} does not match its checksum")]
    Changed(&'static str),
    /// The checksum matches, but the content does not decode: an internal error wrote it.
    #[error("table {table}")]
    Undecodable {
        table: &'static str,
        #[source]
        source: DecodeError,
    },
    /// The row belongs to a store that does not exist.
    #[error("a row of table {0} belongs to no store")]
    Orphan(String),
    /// SQLite returned an error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Verifies the checksum of a row's columns.
pub(super) fn verify_checksum(
    table: &'static str,
    columns: &[&[u8]],
    sum: &[u8],
) -> Result<(), RowError> {
    if checksum::row_checksum(columns) == sum { Ok(()) } else { Err(RowError::Changed(table)) }
}

/// Decodes a verified column.
pub(super) fn decode_column<T: Persist>(table: &'static str, text: &str) -> Result<T, RowError> {
    decode_row(text).map_err(|source| RowError::Undecodable { table, source })
}

/// Parses a verified id column.
pub(super) fn parse_column<T: std::str::FromStr>(
    table: &'static str,
    text: &str,
) -> Result<T, RowError>
where
    T::Err: std::fmt::Display,
{
    let refused = |error: T::Err| DecodeError(error.to_string());
    text.parse().map_err(|error| RowError::Undecodable { table, source: refused(error) })
}

/// Runs a query and reads each of its rows.
pub(crate) fn query_map<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&rusqlite::Row<'_>) -> Result<T, RowError>,
) -> Result<Vec<T>, RowError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}
