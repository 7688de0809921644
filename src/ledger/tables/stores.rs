//! Rows of stores: definition, standing, sealed secrets, stuck workers.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::rows::{BadRow, decoded, each, parsed, verify};
use super::{checksum, meta};
use crate::ledger::codec::encode;
use crate::ledger::error::Refusal;
use crate::ledger::sealer::Sealer;
use crate::lifecycle::DurableRecord;
use crate::model::{Fault, Reason, Secret, SshCredentials, Store, StoreUuid};

/// A store as the ledger holds it.
#[derive(Clone, Debug)]
pub struct LoadedStore {
    /// Its definition.
    pub store: Store,
    /// Its health when last committed, already in this run's epoch.
    pub standing: DurableRecord,
    /// A worker of an earlier run that would not die.
    pub stuck_worker: Option<StuckWorker>,
}

/// A process in uninterruptible sleep, told from a later one with the same number by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckWorker {
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot (`proc_pid_stat(5)`).
    pub start_time: u64,
}

const PASSWORD: &str = "password";
const PRIVATE_KEY: &str = "private_key";
const PASSPHRASE: &str = "passphrase";

/// All stores, checked.
pub(crate) fn load(connection: &Connection) -> Result<Vec<LoadedStore>, BadRow> {
    let mut workers = workers(connection)?;
    let sql = "SELECT s.uuid, s.image_dir, s.definition, s.sum, t.standing, t.sum
               FROM stores s LEFT JOIN standings t ON t.store = s.uuid ORDER BY s.uuid";
    each(connection, sql, [], |row| {
        let uuid: String = row.get(0)?;
        let image_dir: String = row.get(1)?;
        let definition: String = row.get(2)?;
        let columns = [uuid.as_bytes(), image_dir.as_bytes(), definition.as_bytes()];
        verify("stores", &columns, &row.get::<_, Vec<u8>>(3)?)?;
        let (Some(standing), Some(sum)) =
            (row.get::<_, Option<String>>(4)?, row.get::<_, Option<Vec<u8>>>(5)?)
        else {
            return Err(BadRow::Changed("standings"));
        };
        verify("standings", &[uuid.as_bytes(), standing.as_bytes()], &sum)?;
        let store: Store = decoded("stores", &definition)?;
        if store.uuid.to_string() != uuid || store.image_dir.as_str() != image_dir {
            return Err(BadRow::Changed("stores"));
        }
        let standing = decoded("standings", &standing)?;
        let stuck_worker = workers.remove(&store.uuid);
        Ok(LoadedStore { store, standing, stuck_worker })
    })
}

fn workers(connection: &Connection) -> Result<BTreeMap<StoreUuid, StuckWorker>, BadRow> {
    let sql = "SELECT store, pid, start_time, sum FROM workers";
    let rows = each(connection, sql, [], |row| {
        let (uuid, pid, start_time): (String, i32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if worker_sum(&uuid, pid, start_time).as_slice() != row.get::<_, Vec<u8>>(3)? {
            return Err(BadRow::Changed("workers"));
        }
        let start_time = u64::try_from(start_time).map_err(|_| BadRow::Changed("workers"))?;
        Ok((parsed("workers", &uuid)?, StuckWorker { pid, start_time }))
    })?;
    Ok(rows.into_iter().collect())
}

fn worker_sum(uuid: &str, pid: i32, start_time: i64) -> [u8; 8] {
    checksum::of(&[uuid.as_bytes(), &pid.to_be_bytes(), &start_time.to_be_bytes()])
}

pub(crate) fn add(
    connection: &Connection,
    store: &Store,
    credentials: &SshCredentials,
    standing: &DurableRecord,
    sealer: &Sealer,
) -> Result<(), Refusal> {
    let (uuid, dir, definition) =
        (store.uuid.to_string(), store.image_dir.as_str(), encode(store)?);
    let sum = checksum::of(&[uuid.as_bytes(), dir.as_bytes(), definition.as_bytes()]);
    let mut insert = connection.prepare_cached(
        "INSERT INTO stores (uuid, image_dir, definition, sum) VALUES (?1, ?2, ?3, ?4)",
    )?;
    insert.execute(params![uuid, dir, definition, sum])?;
    save_credentials(connection, store.uuid, credentials, sealer)?;
    save_standing(connection, store.uuid, standing)
}

pub(crate) fn save(connection: &Connection, store: &Store) -> Result<(), Refusal> {
    let (uuid, dir, definition) =
        (store.uuid.to_string(), store.image_dir.as_str(), encode(store)?);
    let sum = checksum::of(&[uuid.as_bytes(), dir.as_bytes(), definition.as_bytes()]);
    let mut update = connection.prepare_cached(
        "UPDATE stores SET image_dir = ?2, definition = ?3, sum = ?4 WHERE uuid = ?1",
    )?;
    match update.execute(params![uuid, dir, definition, sum])? {
        0 => Err(Refusal::Conflict(format!("no store {uuid}"))),
        _ => Ok(()),
    }
}

pub(crate) fn save_standing(
    connection: &Connection,
    store: StoreUuid,
    standing: &DurableRecord,
) -> Result<(), Refusal> {
    let (uuid, standing) = (store.to_string(), encode(standing)?);
    let sum = checksum::of(&[uuid.as_bytes(), standing.as_bytes()]);
    let mut upsert = connection.prepare_cached(
        "INSERT INTO standings (store, standing, sum) VALUES (?1, ?2, ?3)
         ON CONFLICT (store) DO UPDATE SET standing = excluded.standing, sum = excluded.sum",
    )?;
    upsert.execute(params![uuid, standing, sum])?;
    Ok(())
}

/// Forgets a store; the tables that refer to it follow by their foreign keys.
pub(crate) fn remove(connection: &Connection, store: StoreUuid) -> Result<(), Refusal> {
    let store = store.to_string();
    connection.execute("DELETE FROM stores WHERE uuid = ?1", [&store])?;
    meta::forget_gone(connection, &store)?;
    Ok(())
}

pub(crate) fn leave_worker(
    connection: &Connection,
    store: StoreUuid,
    worker: Option<StuckWorker>,
) -> Result<(), Refusal> {
    let store = store.to_string();
    connection.execute("DELETE FROM workers WHERE store = ?1", [&store])?;
    if let Some(StuckWorker { pid, start_time }) = worker {
        // In clock ticks: past this is past the age of the universe.
        let start_time = i64::try_from(start_time)
            .map_err(|_| Refusal::Conflict(format!("start time {start_time}")))?;
        let sum = worker_sum(&store, pid, start_time);
        let sql = "INSERT INTO workers (store, pid, start_time, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![store, pid, start_time, sum])?;
    }
    Ok(())
}

/// The secrets of a store, in the place of those before, whether those can be read or not.
pub(crate) fn replace_credentials(
    connection: &Connection,
    store: StoreUuid,
    credentials: &SshCredentials,
    sealer: &Sealer,
) -> Result<(), Refusal> {
    connection.execute("DELETE FROM secrets WHERE store = ?1", [store.to_string()])?;
    save_credentials(connection, store, credentials, sealer)
}

fn save_credentials(
    connection: &Connection,
    store: StoreUuid,
    credentials: &SshCredentials,
    sealer: &Sealer,
) -> Result<(), Refusal> {
    let uuid = store.to_string();
    let fields = [
        (PASSWORD, &credentials.password),
        (PRIVATE_KEY, &credentials.private_key),
        (PASSPHRASE, &credentials.passphrase),
    ];
    for (field, secret) in fields {
        let Some(secret) = secret else { continue };
        let sealed = sealer.seal(store, field, secret).map_err(Refusal::Unsealable)?;
        let sum = checksum::of(&[uuid.as_bytes(), field.as_bytes(), &sealed]);
        let sql = "INSERT INTO secrets (store, field, sealed, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![uuid, field, sealed, sum])?;
    }
    Ok(())
}

/// Whether anything is sealed: then a lost master key is not replaced by a new one.
pub(crate) fn has_secrets(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM secrets)", [], |row| row.get(0))
}

/// The secrets of a store, unsealed. A disk that refuses is told from a secret that cannot be read: the
/// secret may be whole.
pub(crate) fn credentials(
    connection: &Connection,
    store: StoreUuid,
    sealer: &Sealer,
) -> Result<SshCredentials, Fault> {
    let unreadable = |error: BadRow| {
        let details = format!("the stored secrets cannot be read: {error}");
        match error {
            BadRow::Sqlite(_) => Fault::new(Reason::StateDiskTrouble, details)
                .with_remedy("check the disk of state.dir and repair it"),
            BadRow::Changed(_) | BadRow::Undecodable { .. } | BadRow::Orphan(_) => {
                Fault::new(Reason::SecretUnreadable, details)
            }
        }
    };
    let uuid = store.to_string();
    let sql = "SELECT field, sealed, sum FROM secrets WHERE store = ?1";
    let rows = each(connection, sql, [&uuid], |row| {
        let (field, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let columns = [uuid.as_bytes(), field.as_bytes(), &sealed];
        verify("secrets", &columns, &row.get::<_, Vec<u8>>(2)?)?;
        Ok((field, sealed))
    })
    .map_err(unreadable)?;
    if rows.is_empty() {
        // No store is added without one: its rows are gone.
        let details = "the ledger holds no secret of this store any more";
        return Err(Fault::new(Reason::SecretUnreadable, details));
    }
    let unseal = |wanted: &str| -> Result<Option<Secret>, Fault> {
        let found = rows.iter().find(|(field, _)| field == wanted);
        found.map(|(field, sealed)| sealer.unseal(store, field, sealed)).transpose()
    };
    Ok(SshCredentials {
        password: unseal(PASSWORD)?,
        private_key: unseal(PRIVATE_KEY)?,
        passphrase: unseal(PASSPHRASE)?,
    })
}
