//! Rows of stores: definition, durable record, sealed secrets, stuck workers.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{
    RowError, decode_column, events, history, meta, parse_column, query_map, rejections,
    row_checksum, verify_checksum,
};
use crate::common::ErrorChain;
use crate::ledger::codec::encode_row;
use crate::ledger::error::OperationError;
use crate::ledger::sealer::SecretSealer;
use crate::lifecycle::{DurableRecord, HistoryEntry};
use crate::model::{
    Fault, LoginRejections, ProcessId, Reason, Remedy, Secret, SshCredentials, Store, StoreUuid,
};

/// A store as the ledger holds it.
#[derive(Clone, Debug)]
pub struct LoadedStore {
    /// The definition.
    pub store: Store,
    /// The last committed health. Opening the ledger moves its position into the epoch of this run.
    pub durable: DurableRecord,
    /// A worker of an earlier run that could not be killed.
    pub stuck_worker: Option<ProcessId>,
    /// The recent logins that the server of the store has rejected.
    pub rejections: Option<LoginRejections>,
}

const PASSWORD_KIND: &str = "password";
const PRIVATE_KEY_KIND: &str = "private_key";
const PASSPHRASE_KIND: &str = "passphrase";

/// Loads all stores and verifies their checksums.
pub(crate) fn load_stores(connection: &Connection) -> Result<Vec<LoadedStore>, RowError> {
    let mut workers = stuck_workers(connection)?;
    let mut rejections = rejections::load_rejections(connection)?;
    let sql = "SELECT s.uuid, s.image_dir, s.definition, s.sum, t.standing, t.sum
               FROM stores s LEFT JOIN standings t ON t.store = s.uuid ORDER BY s.uuid";
    query_map(connection, sql, [], |row| {
        let uuid: String = row.get(0)?;
        let image_dir: String = row.get(1)?;
        let definition: String = row.get(2)?;
        let columns = [uuid.as_bytes(), image_dir.as_bytes(), definition.as_bytes()];
        verify_checksum("stores", &columns, &row.get::<_, Vec<u8>>(3)?)?;
        let (Some(durable), Some(sum)) =
            (row.get::<_, Option<String>>(4)?, row.get::<_, Option<Vec<u8>>>(5)?)
        else {
            return Err(RowError::Changed("standings"));
        };
        verify_checksum("standings", &[uuid.as_bytes(), durable.as_bytes()], &sum)?;
        let store: Store = decode_column("stores", &definition)?;
        if store.uuid.to_string() != uuid || store.image_dir.as_str() != image_dir {
            return Err(RowError::Changed("stores"));
        }
        let durable = decode_column("standings", &durable)?;
        let stuck_worker = workers.remove(&store.uuid);
        let rejections = rejections.remove(&store.uuid);
        Ok(LoadedStore { store, durable, stuck_worker, rejections })
    })
}

fn stuck_workers(connection: &Connection) -> Result<BTreeMap<StoreUuid, ProcessId>, RowError> {
    let sql = "SELECT store, pid, start_time, sum FROM workers";
    let rows = query_map(connection, sql, [], |row| {
        let (uuid, pid, start_time): (String, i32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if worker_checksum(&uuid, pid, start_time).as_slice() != row.get::<_, Vec<u8>>(3)? {
            return Err(RowError::Changed("workers"));
        }
        let start_time = u64::try_from(start_time).map_err(|_| RowError::Changed("workers"))?;
        Ok((parse_column("workers", &uuid)?, ProcessId { pid, start_time }))
    })?;
    Ok(rows.into_iter().collect())
}

fn worker_checksum(uuid: &str, pid: i32, start_time: i64) -> [u8; 8] {
    row_checksum(&[uuid.as_bytes(), &pid.to_be_bytes(), &start_time.to_be_bytes()])
}

pub(crate) fn insert_store(
    connection: &Connection,
    store: &Store,
    credentials: &SshCredentials,
    durable: &DurableRecord,
    sealer: &SecretSealer,
) -> Result<(), OperationError> {
    let (uuid, dir, definition) =
        (store.uuid.to_string(), store.image_dir.as_str(), encode_row(store)?);
    let sum = row_checksum(&[uuid.as_bytes(), dir.as_bytes(), definition.as_bytes()]);
    let mut insert = connection.prepare_cached(
        "INSERT INTO stores (uuid, image_dir, definition, sum) VALUES (?1, ?2, ?3, ?4)",
    )?;
    insert.execute(params![uuid, dir, definition, sum])?;
    save_credentials(connection, store.uuid, credentials, sealer)?;
    save_record(connection, store.uuid, durable)
}

pub(crate) fn update_store(connection: &Connection, store: &Store) -> Result<(), OperationError> {
    let (uuid, dir, definition) =
        (store.uuid.to_string(), store.image_dir.as_str(), encode_row(store)?);
    let sum = row_checksum(&[uuid.as_bytes(), dir.as_bytes(), definition.as_bytes()]);
    let mut update = connection.prepare_cached(
        "UPDATE stores SET image_dir = ?2, definition = ?3, sum = ?4 WHERE uuid = ?1",
    )?;
    match update.execute(params![uuid, dir, definition, sum])? {
        0 => Err(OperationError::Conflict(format!("there is no store {uuid}"))),
        _ => Ok(()),
    }
}

pub(crate) fn save_record(
    connection: &Connection,
    store: StoreUuid,
    durable: &DurableRecord,
) -> Result<(), OperationError> {
    let (uuid, durable) = (store.to_string(), encode_row(durable)?);
    let sum = row_checksum(&[uuid.as_bytes(), durable.as_bytes()]);
    let mut upsert = connection.prepare_cached(
        "INSERT INTO standings (store, standing, sum) VALUES (?1, ?2, ?3)
         ON CONFLICT (store) DO UPDATE SET standing = excluded.standing, sum = excluded.sum",
    )?;
    upsert.execute(params![uuid, durable, sum])?;
    Ok(())
}

/// Removes a store. Foreign keys remove its rows in the other tables. Its removal is kept.
pub(crate) fn delete_store(
    connection: &Connection,
    store: StoreUuid,
    removed: &HistoryEntry,
) -> Result<(), OperationError> {
    let store = store.to_string();
    let sql = "SELECT EXISTS (SELECT 1 FROM stores WHERE uuid = ?1)";
    if !connection.query_row(sql, [&store], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    let last = history::last_line(connection, &store)?;
    events::add_removal(connection, &store, removed, last)?;
    connection.execute("DELETE FROM stores WHERE uuid = ?1", [&store])?;
    meta::clear_pruned_lines(connection, &store)?;
    Ok(())
}

pub(crate) fn set_stuck_worker(
    connection: &Connection,
    store: StoreUuid,
    worker: Option<ProcessId>,
) -> Result<(), OperationError> {
    let store = store.to_string();
    connection.execute("DELETE FROM workers WHERE store = ?1", [&store])?;
    if let Some(ProcessId { pid, start_time }) = worker {
        // The unit is clock ticks: a larger value would exceed the age of the universe.
        let start_time = i64::try_from(start_time).map_err(|_| {
            OperationError::Conflict(format!("the start time {start_time} is out of range"))
        })?;
        let sum = worker_checksum(&store, pid, start_time);
        let sql = "INSERT INTO workers (store, pid, start_time, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![store, pid, start_time, sum])?;
    }
    Ok(())
}

/// Replaces the secrets of a store, even if the old ones cannot be read.
pub(crate) fn replace_credentials(
    connection: &Connection,
    store: StoreUuid,
    credentials: &SshCredentials,
    sealer: &SecretSealer,
) -> Result<(), OperationError> {
    connection.execute("DELETE FROM secrets WHERE store = ?1", [store.to_string()])?;
    save_credentials(connection, store, credentials, sealer)
}

fn save_credentials(
    connection: &Connection,
    store: StoreUuid,
    credentials: &SshCredentials,
    sealer: &SecretSealer,
) -> Result<(), OperationError> {
    let uuid = store.to_string();
    let fields = [
        (PASSWORD_KIND, &credentials.password),
        (PRIVATE_KEY_KIND, &credentials.private_key),
        (PASSPHRASE_KIND, &credentials.passphrase),
    ];
    for (field, secret) in fields {
        let Some(secret) = secret else { continue };
        let sealed = sealer.seal(store, field, secret).map_err(OperationError::Unsealable)?;
        let sum = row_checksum(&[uuid.as_bytes(), field.as_bytes(), &sealed]);
        let sql = "INSERT INTO secrets (store, field, sealed, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![uuid, field, sealed, sum])?;
    }
    Ok(())
}

/// Returns the definition of a store, or `None` if there is no such store.
fn load_definition(connection: &Connection, uuid: &str) -> Result<Option<Store>, RowError> {
    let sql = "SELECT image_dir, definition, sum FROM stores WHERE uuid = ?1";
    let rows = query_map(connection, sql, [uuid], |row| {
        let (image_dir, definition): (String, String) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), image_dir.as_bytes(), definition.as_bytes()];
        verify_checksum("stores", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        decode_column("stores", &definition)
    })?;
    Ok(rows.into_iter().next())
}

/// Returns true if any secret is sealed. A lost master key is then not replaced by a new one.
pub(crate) fn has_secrets(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM secrets)", [], |row| row.get(0))
}

/// Tries the key on each stored secret. Returns the number of those that it opens, or the fault of
/// the first one that it does not open.
pub(crate) fn try_key(
    connection: &Connection,
    sealer: &SecretSealer,
) -> Result<Result<usize, Fault>, RowError> {
    let sql = "SELECT store, field, sealed FROM secrets";
    let rows = query_map(connection, sql, [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    let mut opened = rows.iter().map(|(store, field, sealed)| sealer.unseal(store, field, sealed));
    Ok(opened.try_fold(0, |count: usize, secret| secret.map(|_| count.saturating_add(1))))
}

/// Returns the unsealed secrets of a store, if the ledger holds them for the login of this
/// definition. Both rows are read between the same two commits, so that no secret is paired with
/// the address of another login. A disk error has a different reason than an unreadable secret,
/// because the secret may be intact.
pub(crate) fn load_credentials(
    connection: &Connection,
    store: &Store,
    sealer: &SecretSealer,
) -> Result<SshCredentials, Fault> {
    let unreadable = |error: RowError| {
        let details = format!("the stored secrets cannot be read: {}", ErrorChain(&error));
        match error {
            RowError::Sqlite(_) => {
                Fault::new(Reason::StateDiskTrouble, details).with_remedy(Remedy::RepairStateDisk)
            }
            RowError::Changed(_)
            | RowError::Undecodable { .. }
            | RowError::Orphan(_)
            | RowError::Miscounted(_)
            | RowError::Replaced(_) => Fault::new(Reason::SecretUnreadable, details),
        }
    };
    let uuid = store.uuid.to_string();
    let committed = load_definition(connection, &uuid).map_err(unreadable)?;
    if committed.is_some_and(|committed| !committed.covers_login_of(store)) {
        let details = "the login of the store was changed in the meantime";
        return Err(Fault::new(Reason::AgentBusy, details));
    }
    let sql = "SELECT field, sealed, sum FROM secrets WHERE store = ?1";
    let rows = query_map(connection, sql, [&uuid], |row| {
        let (field, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), field.as_bytes(), &sealed];
        verify_checksum("secrets", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        Ok((field, sealed))
    })
    .map_err(unreadable)?;
    if rows.is_empty() {
        // Every store is added with a secret, so its rows have been lost.
        let details = "the ledger no longer contains a secret of this store";
        return Err(Fault::new(Reason::SecretUnreadable, details));
    }
    let unseal = |wanted_field: &str| -> Result<Option<Secret>, Fault> {
        let found = rows.iter().find(|(field, _)| field == wanted_field);
        found.map(|(field, sealed)| sealer.unseal(store.uuid, field, sealed)).transpose()
    };
    Ok(SshCredentials {
        password: unseal(PASSWORD_KIND)?,
        private_key: unseal(PRIVATE_KEY_KIND)?,
        passphrase: unseal(PASSPHRASE_KIND)?,
    })
}
