//! Rows of rejected logins: at most one for each store, and one for each trial login.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use rusqlite::{Connection, params};

use super::{RowError, decode_column, parse_column, query_map, row_checksum, verify_checksum};
use crate::common::Timestamp;
use crate::ledger::codec::{DecodeError, encode_row};
use crate::ledger::error::OperationError;
use crate::model::{LoginDigest, LoginRejections, MAX_TRIAL_LOGINS, StoreUuid, TrialRejections};

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
/// `expired` are removed too, and the oldest rows beyond the maximum.
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
        let sum = row_checksum(&[digest.as_bytes(), &at.to_be_bytes(), entry.as_bytes()]);
        let sql = "INSERT INTO trial_rejections (digest, at, entry, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![digest, at, entry, sum])?;
        let sql = "DELETE FROM trial_rejections WHERE digest IN (SELECT digest FROM
                   trial_rejections WHERE digest <> ?1 ORDER BY at DESC LIMIT -1 OFFSET ?2)";
        connection.execute(sql, params![digest, MAX_TRIAL_LOGINS - 1])?;
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
        let columns = [digest.as_bytes(), &at.to_be_bytes(), entry.as_bytes()];
        verify_checksum(TABLE, &columns, &row.get::<_, Vec<u8>>(3)?)?;
        let bytes = HEXLOWER.decode(digest.as_bytes()).ok().and_then(|all| all.try_into().ok());
        let bytes = bytes.ok_or_else(|| RowError::Undecodable {
            table: TABLE,
            source: DecodeError("not the digest of a login".to_owned()),
        })?;
        Ok((LoginDigest(bytes), decode_column(TABLE, &entry)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_changed_differs_from_one_that_was_written_wrong() {
        let load = |digest: &str, sum: [u8; 8]| {
            let connection = Connection::open_in_memory().unwrap();
            let sql = "CREATE TABLE trial_rejections (digest, at, entry, sum)";
            connection.execute_batch(sql).unwrap();
            let sql = "INSERT INTO trial_rejections VALUES (?1, 7, ?2, ?3)";
            connection.execute(sql, params![digest, ENTRY, sum]).unwrap();
            load_trial_rejections(&connection)
        };
        const ENTRY: &str = r#"{"at":[7],"reason":"credentials_refused"}"#;
        let sum = |digest: &str| {
            row_checksum(&[digest.as_bytes(), &7_i64.to_be_bytes(), ENTRY.as_bytes()])
        };
        let good = "0".repeat(64);
        assert_eq!(load(&good, sum(&good)).unwrap().len(), 1);
        assert!(matches!(load(&good, [0; 8]), Err(RowError::Changed(_))));
        for bad in ["", "0", &"g".repeat(64), &"0".repeat(62)] {
            let loaded = load(bad, sum(bad));
            assert!(matches!(loaded, Err(RowError::Undecodable { .. })), "{bad}: {loaded:?}");
        }
    }
}
