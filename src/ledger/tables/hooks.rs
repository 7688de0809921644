//! Rows of web hooks to which results of jobs are owed. A row goes with its job.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{RowError, jobs, query_map, row_checksum, verify_checksum};
use crate::ledger::SecretSealer;
use crate::ledger::codec::DecodeError;
use crate::ledger::error::OperationError;
use crate::model::{JobHook, JobId, JobRequest, OwedHook, StoredHook};

const TABLE: &str = "hooks";
const COLUMNS: &str = "job, turn, destination, sealed, sum";
/// The field of a job that is sealed.
const URL_KIND: &str = "hook";

/// The columns of a row, without the checksum.
struct HookRow {
    job: String,
    turn: u32,
    destination: String,
    sealed: Vec<u8>,
}

impl HookRow {
    /// Reads the columns [`COLUMNS`], and verifies their checksum.
    fn read(row: &Row<'_>) -> Result<Self, RowError> {
        let (job, turn): (String, i64) = (row.get(0)?, row.get(1)?);
        let turn = u32::try_from(turn).map_err(|_| RowError::Changed(TABLE))?;
        let read = Self { job, turn, destination: row.get(2)?, sealed: row.get(3)? };
        read.with_columns(|columns| verify_checksum(TABLE, columns, &row.get::<_, Vec<u8>>(4)?))?;
        Ok(read)
    }

    fn with_columns<T>(&self, use_columns: impl FnOnce(&[&[u8]]) -> T) -> T {
        let turn = self.turn.to_be_bytes();
        use_columns(&[self.job.as_bytes(), &turn, self.destination.as_bytes(), &self.sealed])
    }

    fn into_stored(self) -> Result<StoredHook, RowError> {
        let job = self.job.parse().map_err(|_| undecodable("not the id of a job"))?;
        Ok(StoredHook { job, destination: self.destination })
    }
}

fn undecodable(what: &str) -> RowError {
    RowError::Undecodable { table: TABLE, source: DecodeError(what.to_owned()) }
}

/// Returns the owner of the sealed URL.
fn owner(job: &str) -> String {
    format!("job {job}")
}

fn load_row(connection: &Connection, job: &str) -> Result<Option<HookRow>, RowError> {
    let sql = format!("SELECT {COLUMNS} FROM hooks WHERE job = ?1");
    let rows = query_map(connection, &sql, [job], HookRow::read)?;
    Ok(rows.into_iter().next())
}

/// Writes the web hook of the job of this request, if that job is there.
pub(crate) fn owe_hook(
    connection: &Connection,
    request: &JobRequest,
    hook: &JobHook,
    sealer: &SecretSealer,
) -> Result<(), OperationError> {
    let job = request.job.expose_digits();
    let sql = "SELECT 1 FROM jobs WHERE job = ?1 AND caller = ?2 AND request = ?3";
    let identity = params![job, request.caller, request.request];
    let found = connection.query_row(sql, identity, |row| row.get::<_, i64>(0)).optional()?;
    if found.is_none() {
        return Ok(());
    }
    let turn = load_row(connection, &job)?.map_or(0, |row| row.turn).saturating_add(1);
    let sealed =
        sealer.seal(owner(&job), URL_KIND, &hook.url).map_err(OperationError::Unsealable)?;
    let row = HookRow { job, turn, destination: hook.destination.clone(), sealed };
    let sum = row.with_columns(row_checksum);
    let mut upsert = connection.prepare_cached(
        "INSERT INTO hooks (job, turn, destination, sealed, sum) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (job) DO UPDATE SET turn = excluded.turn,
             destination = excluded.destination, sealed = excluded.sealed, sum = excluded.sum",
    )?;
    upsert.execute(params![row.job, row.turn, row.destination, row.sealed, sum])?;
    Ok(())
}

pub(crate) fn delete_hook(
    connection: &Connection,
    job: JobId,
    turn: u32,
) -> Result<(), OperationError> {
    let sql = "DELETE FROM hooks WHERE job = ?1 AND turn = ?2";
    connection.prepare_cached(sql)?.execute(params![job.expose_digits(), turn])?;
    Ok(())
}

/// Loads the web hook of a job, and the result if there is one.
pub(crate) fn load_owed_hook(
    connection: &Connection,
    job: JobId,
    sealer: &SecretSealer,
) -> Result<Option<OwedHook>, RowError> {
    let Some(HookRow { job: digits, turn, destination, sealed }) =
        load_row(connection, &job.expose_digits())?
    else {
        return Ok(None);
    };
    let unsealed = sealer.unseal(owner(&digits), URL_KIND, &sealed);
    let url = unsealed.map_err(|fault| undecodable(&fault.to_string()))?;
    let result = jobs::load_result(connection, job)?;
    Ok(Some(OwedHook { hook: JobHook { url, destination }, turn, result }))
}

/// Loads all web hooks without their URLs, and verifies their checksums.
pub(crate) fn load_hooks(connection: &Connection) -> Result<Vec<StoredHook>, RowError> {
    let sql = format!("SELECT {COLUMNS} FROM hooks ORDER BY rowid");
    query_map(connection, &sql, [], |row| HookRow::read(row)?.into_stored())
}
