//! Rows of notices that the management node has not acknowledged.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{RowError, decode_column, parse_column, query_map, row_checksum, verify_checksum};
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::model::{Epoch, Notice, Position, Seq, StoreUuid};

/// Number of waiting notices of one store, and the newest position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxDepth {
    /// The number of notices.
    pub count: u64,
    /// The position of the newest notice of the store, or `None` if there is none.
    pub newest: Option<Position>,
}

/// Returns the columns of a position. SQLite's integers are signed: an epoch of 2^63 is past the
/// year 292 million.
fn position_columns(position: Position) -> Result<(i64, i64), OperationError> {
    let column = |number: u64| {
        i64::try_from(number).map_err(|_| {
            OperationError::Conflict(format!("the position {position} is out of range"))
        })
    };
    Ok((column(position.epoch.0)?, column(position.seq.0)?))
}

fn notice_checksum(uuid: &str, epoch: i64, seq: i64, notice: &str) -> [u8; 8] {
    let (epoch, seq) = (epoch.to_be_bytes(), seq.to_be_bytes());
    row_checksum(&[uuid.as_bytes(), &epoch, &seq, notice.as_bytes()])
}

pub(crate) fn insert_notice(
    connection: &Connection,
    notice: &Notice,
) -> Result<(), OperationError> {
    let (uuid, text) = (notice.store.to_string(), encode_row(notice)?);
    let (epoch, seq) = position_columns(notice.position)?;
    let sum = notice_checksum(&uuid, epoch, seq, &text);
    let mut insert = connection.prepare_cached(
        "INSERT INTO outbox (store, epoch, seq, notice, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute(params![uuid, epoch, seq, text, sum])?;
    Ok(())
}

pub(crate) fn delete_acknowledged(
    connection: &Connection,
    store: StoreUuid,
    position: Position,
) -> Result<(), OperationError> {
    let (epoch, seq) = position_columns(position)?;
    let mut delete = connection
        .prepare_cached("DELETE FROM outbox WHERE store = ?1 AND epoch = ?2 AND seq = ?3")?;
    delete.execute(params![store.to_string(), epoch, seq])?;
    Ok(())
}

/// Replaces all notices up to and including `through` with one notice.
pub(crate) fn coalesce(
    connection: &Connection,
    through: Position,
    into: &Notice,
) -> Result<(), OperationError> {
    let (epoch, seq) = position_columns(through)?;
    connection.execute(
        "DELETE FROM outbox WHERE store = ?1 AND (epoch, seq) <= (?2, ?3)",
        params![into.store.to_string(), epoch, seq],
    )?;
    insert_notice(connection, into)
}

const NOTICES_BEHIND: &str = "SELECT epoch, seq, notice, sum FROM outbox
    WHERE store = ?1 AND (epoch, seq) > (?2, ?3) ORDER BY epoch, seq LIMIT ?4";

/// Returns the first notices of a store behind a position, lowest position first. The notices
/// before it are not read.
pub(crate) fn notices_behind(
    connection: &Connection,
    store: StoreUuid,
    behind: Position,
    limit: u32,
) -> Result<Vec<Notice>, RowError> {
    let uuid = store.to_string();
    let (epoch, seq) = bound_columns(behind);
    query_map(connection, NOTICES_BEHIND, params![uuid, epoch, seq, limit], |row| {
        let notice: String = row.get(2)?;
        verify_notice(&uuid, row.get(0)?, row.get(1)?, &notice, &row.get::<_, Vec<u8>>(3)?)?;
        decode_column("outbox", &notice)
    })
}

/// Returns how many notices of a store wait behind this position, and the newest position. Counting
/// walks all counted rows, in an index of about 50 bytes per row. The table itself is as large as
/// its notices.
pub(crate) fn outbox_depth(
    connection: &Connection,
    store: StoreUuid,
    behind: Position,
) -> rusqlite::Result<OutboxDepth> {
    let uuid = store.to_string();
    let mut newest = connection.prepare_cached(
        "SELECT epoch, seq FROM outbox WHERE store = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1",
    )?;
    let newest = newest.query_row([&uuid], |row| {
        let (epoch, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Position { epoch: Epoch(epoch.unsigned_abs()), seq: Seq(seq.unsigned_abs()) })
    });
    let newest = newest.optional()?;
    let mut count = connection.prepare_cached(
        "SELECT count(*) FROM outbox WHERE store = ?1 AND (epoch, seq) > (?2, ?3)",
    )?;
    let (epoch, seq) = bound_columns(behind);
    let count: i64 = count.query_row(params![uuid, epoch, seq], |row| row.get(0))?;
    Ok(OutboxDepth { count: count.unsigned_abs(), newest })
}

/// Returns the stores that have waiting notices.
pub(crate) fn stores_with_pending(connection: &Connection) -> Result<Vec<StoreUuid>, RowError> {
    let sql = "SELECT uuid FROM stores WHERE EXISTS (SELECT 1 FROM outbox WHERE store = uuid)";
    query_map(connection, sql, [], |row| parse_column("stores", &row.get::<_, String>(0)?))
}

/// Verifies the checksum of every waiting notice. A changed notice would be delivered to the
/// management node as valid.
pub(crate) fn verify_all(connection: &Connection) -> Result<(), RowError> {
    let mut statement = connection.prepare("SELECT store, epoch, seq, notice, sum FROM outbox")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (uuid, notice): (String, String) = (row.get(0)?, row.get(3)?);
        verify_notice(&uuid, row.get(1)?, row.get(2)?, &notice, &row.get::<_, Vec<u8>>(4)?)?;
    }
    Ok(())
}

fn verify_notice(
    uuid: &str,
    epoch: i64,
    seq: i64,
    notice: &str,
    found: &[u8],
) -> Result<(), RowError> {
    let (epoch, seq) = (epoch.to_be_bytes(), seq.to_be_bytes());
    verify_checksum("outbox", &[uuid.as_bytes(), &epoch, &seq, notice.as_bytes()], found)
}

/// Returns the columns of a bound. No row can lie behind a position that no row can have.
fn bound_columns(position: Position) -> (i64, i64) {
    let column = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (column(position.epoch.0), column(position.seq.0))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus::VmStep;

    use super::*;

    #[test]
    fn the_notices_before_a_position_are_not_read() {
        let steps = [1, 10, 10_000].map(|delivered: i64| {
            let connection = Connection::open_in_memory().unwrap();
            let schema = "CREATE TABLE outbox (store TEXT, epoch INTEGER, seq INTEGER, notice TEXT,
                sum BLOB, PRIMARY KEY (store, epoch, seq)) STRICT, WITHOUT ROWID";
            connection.execute_batch(schema).unwrap();
            for seq in 1..=delivered + 5 {
                let sql = "INSERT INTO outbox VALUES ('a', 7, ?1, '{}', x'00')";
                connection.execute(sql, [seq]).unwrap();
            }
            let mut first = connection.prepare(NOTICES_BEHIND).unwrap();
            let seq: i64 =
                first.query_row(params!["a", 7, delivered, 1], |row| row.get(1)).unwrap();
            assert_eq!(seq, delivered + 1);
            first.get_status(VmStep)
        });
        assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
    }
}
