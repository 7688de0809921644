//! Rows of rejected logins: at most one for each store, and one for each trial login.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use rusqlite::{Connection, params};

use super::{RowError, decode_column, parse_column, query_map, row_checksum, verify_checksum};
use crate::common::Timestamp;
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::model::{LoginDigest, LoginRejections, StoreUuid, TrialRejections};

/// Maximum number of trial logins whose rejections are stored. It is that of the memory of the
/// daemon (`agent::login::trial`). The oldest row is removed first.
const MAX_TRIAL_ROWS: i64 = 256;

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

/// Replaces the rejections of a trial login, or removes them. Rows whose last rejection is before
/// `expired` are removed too.
pub(crate) fn save_trial_rejections(
    connection: &Connection,
    digest: LoginDigest,
    rejections: Option<&TrialRejections>,
    expired: Timestamp,
) -> Result<(), OperationError> {
    let digest = HEXLOWER.encode(&digest.0);
    let sql = "DELETE FROM trial_rejections WHERE digest = ?1 OR at < ?2";
    connection.execute(sql, params![digest, expired.0])?;
    let newest = |rejections: &TrialRejections| rejections.rejected_at.iter().max().copied();
    if let Some((rejections, at)) = rejections.and_then(|all| Some((all, newest(all)?.0))) {
        let entry = encode_row(rejections)?;
        let sum = trial_checksum(&digest, at, &entry);
        let sql = "INSERT INTO trial_rejections (digest, at, entry, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![digest, at, entry, sum])?;
        let sql = "DELETE FROM trial_rejections WHERE digest IN (SELECT digest FROM
                   trial_rejections WHERE digest <> ?1 ORDER BY at DESC LIMIT -1 OFFSET ?2)";
        connection.execute(sql, params![digest, MAX_TRIAL_ROWS - 1])?;
    }
    Ok(())
}

/// Loads the rejections of all trial logins.
pub(crate) fn load_trial_rejections(
    connection: &Connection,
) -> Result<Vec<(LoginDigest, TrialRejections)>, RowError> {
    const TABLE: &str = "trial_rejections";
    let sql = "SELECT digest, at, entry, sum FROM trial_rejections ORDER BY digest";
    query_map(connection, sql, [], |row| {
        let (digest, at, entry): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if trial_checksum(&digest, at, &entry).as_slice() != row.get::<_, Vec<u8>>(3)? {
            return Err(RowError::Changed(TABLE));
        }
        let bytes = HEXLOWER.decode(digest.as_bytes()).ok().and_then(|all| all.try_into().ok());
        let bytes = bytes.ok_or(RowError::Changed(TABLE))?;
        Ok((LoginDigest(bytes), decode_column(TABLE, &entry)?))
    })
}

fn trial_checksum(digest: &str, at: i64, entry: &str) -> [u8; 8] {
    row_checksum(&[digest.as_bytes(), &at.to_be_bytes(), entry.as_bytes()])
}
