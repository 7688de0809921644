//! Rows of rejected logins, at most one for each store.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{RowError, decode_column, parse_column, query_map, row_checksum, verify_checksum};
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::model::{LoginRejections, StoreUuid};

/// Replaces the rejected logins of a store, or removes them.
pub(crate) fn save_rejections(
    connection: &Connection,
    store: StoreUuid,
    rejections: Option<&LoginRejections>,
) -> Result<(), OperationError> {
    let uuid = store.to_string();
    connection.execute("DELETE FROM rejections WHERE store = ?1", [&uuid])?;
    if let Some(rejections) = rejections {
        let entry = encode_row(rejections)?;
        let sum = row_checksum(&[uuid.as_bytes(), entry.as_bytes()]);
        let sql = "INSERT INTO rejections (store, entry, sum) VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![uuid, entry, sum])?;
    }
    Ok(())
}

/// Loads the rejected logins of all stores.
pub(super) fn load_rejections(
    connection: &Connection,
) -> Result<BTreeMap<StoreUuid, LoginRejections>, RowError> {
    let rows = query_map(connection, "SELECT store, entry, sum FROM rejections", [], |row| {
        let (uuid, entry): (String, String) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), entry.as_bytes()];
        verify_checksum("rejections", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        Ok((parse_column("rejections", &uuid)?, decode_column("rejections", &entry)?))
    })?;
    Ok(rows.into_iter().collect())
}
