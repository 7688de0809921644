//! Rows of jobs. The checksum of a row covers its result, so that no client gets a damaged one.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, params};

use super::{RowError, query_map, row_checksum, verify_checksum};
use crate::common::{Timestamp, crash_point};
use crate::ledger::codec::DecodeError;
use crate::ledger::error::OperationError;
use crate::model::{JobDigest, JobId, JobRequest, JobResult, StoredJob, StoredJobEnd};

const TABLE: &str = "jobs";
const COLUMNS: &str = "job, caller, request, began, changed, ended, succeeded, result, sum";

/// The columns of a row, without the checksum.
struct JobRow {
    job: String,
    caller: Vec<u8>,
    request: Vec<u8>,
    began: i64,
    changed: bool,
    /// `None` while the job runs.
    end: Option<RowEnd>,
}

struct RowEnd {
    at: i64,
    succeeded: bool,
    result: Vec<u8>,
}

impl JobRow {
    fn new(request: &JobRequest) -> Self {
        Self {
            job: request.job.expose_digits(),
            caller: request.caller.to_vec(),
            request: request.request.to_vec(),
            began: request.began.0,
            changed: false,
            end: None,
        }
    }

    /// Reads the columns [`COLUMNS`], and verifies their checksum.
    fn read(row: &Row<'_>) -> Result<Self, RowError> {
        let end: (Option<i64>, Option<bool>, Option<Vec<u8>>) =
            (row.get(5)?, row.get(6)?, row.get(7)?);
        let end = match end {
            (None, None, None) => None,
            (Some(at), Some(succeeded), Some(result)) => Some(RowEnd { at, succeeded, result }),
            _ => return Err(RowError::Changed(TABLE)),
        };
        let (caller, request) = (row.get(1)?, row.get(2)?);
        let (began, changed) = (row.get(3)?, row.get(4)?);
        let read = Self { job: row.get(0)?, caller, request, began, changed, end };
        read.with_columns(|columns| verify_checksum(TABLE, columns, &row.get::<_, Vec<u8>>(8)?))?;
        Ok(read)
    }

    fn with_columns<T>(&self, use_columns: impl FnOnce(&[&[u8]]) -> T) -> T {
        let (began, changed) = (self.began.to_be_bytes(), [u8::from(self.changed)]);
        let mut columns: Vec<&[u8]> =
            vec![self.job.as_bytes(), &self.caller, &self.request, &began, &changed];
        let Some(end) = &self.end else { return use_columns(&columns) };
        let (at, succeeded) = (end.at.to_be_bytes(), [u8::from(end.succeeded)]);
        columns.extend([&at[..], &succeeded, &end.result]);
        use_columns(&columns)
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sum = self.with_columns(row_checksum);
        let end = self.end.as_ref();
        let mut upsert = connection.prepare_cached(
            "INSERT INTO jobs (job, caller, request, began, changed, ended, succeeded, result, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (job) DO UPDATE SET changed = excluded.changed, ended = excluded.ended,
                 succeeded = excluded.succeeded, result = excluded.result, sum = excluded.sum",
        )?;
        let columns: [&dyn ToSql; 9] = [
            &self.job,
            &self.caller,
            &self.request,
            &self.began,
            &self.changed,
            &end.map(|end| end.at),
            &end.map(|end| end.succeeded),
            &end.map(|end| &end.result),
            &sum,
        ];
        upsert.execute(columns.as_slice())?;
        Ok(())
    }

    fn into_stored(self) -> Result<StoredJob, RowError> {
        let decode_error = |what: &str| RowError::Undecodable {
            table: TABLE,
            source: DecodeError(what.to_owned()),
        };
        let digest = |bytes: Vec<u8>| {
            JobDigest::try_from(bytes).map_err(|_| decode_error("a digest of another length"))
        };
        Ok(StoredJob {
            request: JobRequest {
                job: self.job.parse().map_err(|_| decode_error("not the id of a job"))?,
                caller: digest(self.caller)?,
                request: digest(self.request)?,
                began: Timestamp(self.began),
            },
            changed_definition: self.changed,
            ended: self.end.map(|end| StoredJobEnd {
                at: Timestamp(end.at),
                bytes: u64::try_from(end.result.len()).unwrap_or(u64::MAX),
            }),
        })
    }
}

fn load_row(connection: &Connection, job: JobId) -> Result<Option<JobRow>, RowError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE job = ?1");
    let rows = query_map(connection, &sql, [job.expose_digits()], JobRow::read)?;
    Ok(rows.into_iter().next())
}

pub(crate) fn insert_job(
    connection: &Connection,
    request: &JobRequest,
) -> Result<(), OperationError> {
    let row = JobRow::new(request);
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE job = ?1)";
    if connection.query_row(sql, [&row.job], |row| row.get(0))? {
        return Err(OperationError::Conflict("the id of the job is taken".to_owned()));
    }
    Ok(row.write(connection)?)
}

/// Changes a row that is there and has not ended. A damaged row stays as it is, as evidence: it
/// must not prevent the record of a status.
fn change_row(
    connection: &Connection,
    job: JobId,
    change: impl FnOnce(&mut JobRow),
) -> Result<(), OperationError> {
    match load_row(connection, job) {
        Ok(Some(mut row)) if row.end.is_none() => {
            change(&mut row);
            Ok(row.write(connection)?)
        }
        Err(RowError::Sqlite(error)) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(crate) fn mark_change(connection: &Connection, job: JobId) -> Result<(), OperationError> {
    change_row(connection, job, |row| row.changed = true)
}

pub(crate) fn finish_job(
    connection: &Connection,
    job: JobId,
    result: &JobResult,
) -> Result<(), OperationError> {
    crash_point("job.finish");
    let JobResult { succeeded, body, ended } = result;
    let end = RowEnd { at: ended.0, succeeded: *succeeded, result: body.clone() };
    change_row(connection, job, |row| row.end = Some(end))
}

pub(crate) fn delete_job(connection: &Connection, job: JobId) -> Result<(), OperationError> {
    let mut delete = connection.prepare_cached("DELETE FROM jobs WHERE job = ?1")?;
    delete.execute(params![job.expose_digits()])?;
    Ok(())
}

/// Returns the result of a job, or `None` if the job is running or gone.
pub(crate) fn load_result(
    connection: &Connection,
    job: JobId,
) -> Result<Option<JobResult>, RowError> {
    let end = load_row(connection, job)?.and_then(|row| row.end);
    Ok(end.map(|RowEnd { at, succeeded, result }| JobResult {
        succeeded,
        body: result,
        ended: Timestamp(at),
    }))
}

/// Loads all jobs without their results, and verifies their checksums. Those that have not ended
/// come first, and the others in the order of their ends.
pub(crate) fn load_jobs(connection: &Connection) -> Result<Vec<StoredJob>, RowError> {
    // An order in the query would carry all results through the sorter of SQLite.
    let sql = format!("SELECT {COLUMNS} FROM jobs");
    let mut jobs = query_map(connection, &sql, [], |row| JobRow::read(row)?.into_stored())?;
    jobs.sort_unstable_by_key(|StoredJob { request, ended, .. }| {
        (ended.map(|end| end.at), request.began, request.job)
    });
    Ok(jobs)
}
