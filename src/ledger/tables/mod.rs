//! The tables of the ledger: their statements, the rows that these read and write, and the checksum
//! of each row. The checksum detects rows that a disk error or a manual edit has changed. The
//! contents row detects rows that are missing or outdated ([`contents`]).

pub(super) mod capacity;
pub(super) mod contents;
pub(super) mod events;
pub(super) mod generation;
pub(super) mod history;
pub(super) mod hooks;
pub(super) mod jobs;
pub(super) mod meta;
pub(super) mod outbox;
pub(super) mod rejections;
pub(super) mod stores;

use ring::digest::{Context, SHA256};
use rusqlite::Connection;

use super::codec::{DecodeError, Persist, decode_row};

/// An error of reading rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// The checksum does not match the row.
    #[error("a row of table {0} does not match its checksum")]
    Changed(&'static str),
    /// The checksum matches, but the content does not decode: an internal error wrote it.
    #[error("a row of table {table} cannot be decoded")]
    Undecodable {
        table: &'static str,
        #[source]
        source: DecodeError,
    },
    /// The row belongs to a store that does not exist.
    #[error("a row of table {0} belongs to no store")]
    Orphan(String),
    /// The number of rows of some tables is not the recorded one. The text names each of them.
    #[error("{0}")]
    Miscounted(String),
    /// The number of rows is right, but not all of them are those that were written last.
    #[error("a row of table {0} is not the one that was written last")]
    Replaced(String),
    /// SQLite returned an error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Returns the first eight bytes of the SHA-256 of the columns. The length of each column precedes
/// it, so that no two rows have the same encoding.
pub(super) fn row_checksum(columns: &[&[u8]]) -> [u8; 8] {
    let mut context = Context::new(&SHA256);
    for column in columns {
        let length = u64::try_from(column.len()).unwrap_or(u64::MAX);
        context.update(&length.to_be_bytes());
        context.update(column);
    }
    let mut sum = [0; 8];
    for (to, from) in sum.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    sum
}

/// Verifies the checksum of a row's columns.
fn verify_checksum(table: &'static str, columns: &[&[u8]], sum: &[u8]) -> Result<(), RowError> {
    if row_checksum(columns) == sum { Ok(()) } else { Err(RowError::Changed(table)) }
}

/// Decodes a verified column.
fn decode_column<T: Persist>(table: &'static str, text: &str) -> Result<T, RowError> {
    decode_row(text).map_err(|source| RowError::Undecodable { table, source })
}

/// Parses a verified id column.
fn parse_column<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, RowError>
where
    T::Err: std::fmt::Display,
{
    let decode_error = |error: T::Err| DecodeError(error.to_string());
    text.parse().map_err(|error| RowError::Undecodable { table, source: decode_error(error) })
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

#[cfg(test)]
mod tests {
    use super::row_checksum;

    #[test]
    fn columns_do_not_run_into_each_other() {
        assert_ne!(row_checksum(&[b"ab", b"c"]), row_checksum(&[b"a", b"bc"]));
        assert_ne!(row_checksum(&[b"ab"]), row_checksum(&[b"ab", b""]));
        assert_eq!(row_checksum(&[b"ab"]), row_checksum(&[b"ab"]));
    }
}
