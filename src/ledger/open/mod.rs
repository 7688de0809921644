//! Opening the ledger when the daemon starts.

mod backfill;
pub(super) mod copy;
pub(super) mod integrity;
mod kept_copy;
pub(super) mod migrations;
pub(super) mod state_dir;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::hmac;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::info;

use super::database::{LedgerDatabase, LedgerTransaction};
use super::place::LedgerPlace;
use super::tables::RowError;
use super::tables::contents;
use super::tables::generation;
use super::tables::hooks;
use super::tables::jobs;
use super::tables::meta;
use super::tables::rejections::load_trial_rejections;
use super::tables::stores;
use super::tables::stores::LoadedStore;
use super::{Ledger, LedgerWriter, MasterKeyError, SecretSealer, StateDir, durable_file, writer};
use crate::common::{ErrorChain, Random as _, SystemRandom, Timestamp};
use crate::model::{
    Epoch, LedgerGeneration, LoginDigest, Position, StoredHook, StoredJob, TrialRejections,
};
use crate::settings;
use integrity::{Integrity, check_integrity, sibling_path};
use migrations::Migration;

/// Name of the database file in the state directory.
pub const LEDGER_FILE: &str = "ledger.sqlite";
/// Maximum size of the write-ahead log between checkpoints, in bytes (8 MiB). Keeping no log would
/// double the cost of a commit.
const MAX_LOG_BYTES: i64 = 8 << 20;

/// An open ledger.
#[derive(Debug)]
pub struct OpenedLedger {
    /// Handle for reads and commits.
    pub ledger: Ledger,
    /// The thread that owns the database. It is closed last.
    pub writer: LedgerWriter,
    /// The stores in the ledger.
    pub stores: Vec<LoadedStore>,
    /// The recent trial logins that a server has rejected.
    pub trial_rejections: Vec<(LoginDigest, TrialRejections)>,
    /// The key of their digests.
    pub login_digest_key: hmac::Key,
    /// The jobs in the ledger, in the order of their ends. Those that have not ended come first.
    pub jobs: Vec<StoredJob>,
    /// The web hooks to which results of these jobs are owed.
    pub hooks: Vec<StoredHook>,
    /// The key of the digests of jobs.
    pub job_key: hmac::Key,
    /// The epoch of this run, already committed.
    pub epoch: Epoch,
}

/// An error of opening the ledger.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger is damaged, and it was left unchanged. The message names all of its files,
    /// because a database adopts the log of another database.
    #[error(
        "the ledger {path} is damaged and was not changed: {what}; the database consists of this file \
         and, if they exist, {path}-wal, {path}-shm and {path}-journal: restore all of them from one \
         copy, or move all of them away and add the stores again"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// A description of the damage.
        what: String,
    },
    /// A newer program wrote the ledger, and it was left unchanged.
    #[error("the ledger {path} has format {found}, but this program knows formats up to {newest_known} only{}{}", written_by_note(.written_by), copy_note(.path, .copy))]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version of its format.
        found: i32,
        /// The newest version that this program knows.
        newest_known: i32,
        /// The version of the program that wrote it.
        written_by: Option<String>,
        /// The copy that was kept before its migration from a format that this program knows.
        copy: Option<PathBuf>,
    },
    /// The system returned an error.
    #[error("cannot use the ledger {path}")]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// SQLite rejected a ledger that passed the integrity check, most likely because of the disk.
    #[error("cannot open the ledger {path}{}", shortage_note(.source))]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// The error of SQLite.
        #[source]
        source: rusqlite::Error,
    },
    /// The master key cannot be created.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
}

fn written_by_note(version: &Option<String>) -> String {
    version.as_ref().map_or_else(String::new, |version| format!("; version {version} wrote it"))
}

/// Returns the way back to this program.
fn copy_note(path: &Path, copy: &Option<PathBuf>) -> String {
    let (path, Some(copy)) = (path.display(), copy) else { return String::new() };
    let copy = copy.display();
    format!(
        "; {copy} is its copy of before the migration: to go back to it and lose all changes since \
         then, move {path}, {path}-wal and {path}-shm away, and run cp -p {copy} {path}"
    )
}

/// Returns the remedy for an error of SQLite that a full disk causes. Without a free inode SQLite
/// cannot create the log or its index, and its error does not name the cause.
fn shortage_note(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            ", because the disk of state.dir is full: free some space on it, a start needs less \
             than 1 MiB"
        }
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
            ": check that the disk of state.dir is writable, and that it has free space (df) and \
             free inodes (df -i)"
        }
        _ => "",
    }
}

/// Opens the ledger, or creates it at a first start, and starts a new epoch. The epoch is
/// `max(stored + 1, now in Unix ms)`, committed before it is used. `credentials` is the directory
/// of systemd credentials, if there is one.
///
/// # Errors
/// Returns [`OpenError`] if the ledger cannot be opened. A damaged or newer ledger stays unchanged,
/// byte for byte.
pub fn open_ledger(
    dir: &StateDir,
    state: &settings::StateSettings,
    credentials: Option<&Path>,
    now: Timestamp,
) -> Result<OpenedLedger, OpenError> {
    open_with_migrations(migrations::MIGRATIONS, dir, state, credentials, now)
}

/// Does the work of [`open_ledger`] with the given migrations, which tests replace.
pub(super) fn open_with_migrations(
    migration_list: &[Migration],
    dir: &StateDir,
    state: &settings::StateSettings,
    credentials: Option<&Path>,
    now: Timestamp,
) -> Result<OpenedLedger, OpenError> {
    let path = dir.path().join(LEDGER_FILE);
    let unusable = |source| OpenError::Unusable { path: path.clone(), source };
    let sqlite_error = |source| OpenError::Sqlite { path: path.clone(), source };
    match check_integrity(&path, migration_list).map_err(unusable)? {
        Integrity::Good => {}
        Integrity::Absent => create_ledger(migration_list, dir.path(), &path)?,
        Integrity::Newer { found, written_by } => {
            let newest_known = migrations::latest_version(migration_list);
            let copy = kept_copy::find_copy(&path, newest_known);
            return Err(OpenError::Newer { path, found, newest_known, written_by, copy });
        }
        Integrity::Damaged(what) => return Err(OpenError::Damaged { path, what }),
    }
    let to_open_error = |error| match error {
        RowError::Sqlite(source) => sqlite_error(source),
        bad => OpenError::Damaged { path: path.clone(), what: ErrorChain(&bad).to_string() },
    };
    let mut connection = open_connection(&path).map_err(sqlite_error)?;
    let latest = migrations::latest_version(migration_list);
    let format = migrations::schema_version(&connection).map_err(sqlite_error)?;
    if format < latest {
        kept_copy::keep_copy(&connection, &path, format)?;
        migrations::run_migrations(&mut connection, migration_list).map_err(&to_open_error)?;
        info!(from = format, to = latest, "ledger migrated");
    }
    let mut database = LedgerDatabase::new(connection).map_err(&to_open_error)?;
    let file = generation::file_identity(&path).map_err(unusable)?;
    let fresh = u128::from_be_bytes(SystemRandom::default().bytes16());
    let start_epoch = |all: &mut LedgerTransaction<'_>| {
        let fresh = LedgerGeneration::from_u128(fresh);
        generation::adopt_file(all.connection(), &file, fresh, now)?;
        meta::next_epoch(all.connection(), now)
    };
    let epoch = commit_in_log_space(&mut database, start_epoch).map_err(&to_open_error)?;
    let sealed_before = stores::has_secrets(database.reader()).map_err(sqlite_error)?;
    let sealer = SecretSealer::load_key(state, credentials, sealed_before)?;
    let no_randomness = || unusable(io::Error::other("the system has no randomness"));
    let login_digest_key = sealer.login_digest_key().ok_or_else(no_randomness)?;
    let job_key = sealer.job_key().ok_or_else(no_randomness)?;
    let trial_rejections = load_trial_rejections(database.reader()).map_err(&to_open_error)?;
    let jobs = jobs::load_jobs(database.reader()).map_err(&to_open_error)?;
    let hooks = hooks::load_hooks(database.reader()).map_err(&to_open_error)?;
    let mut stores = stores::load_stores(database.reader()).map_err(to_open_error)?;
    for store in &mut stores {
        store.durable.position = Position::start_of(epoch);
    }
    // The log exists since the commit of the epoch.
    let place = LedgerPlace::record(
        [dir.path().to_owned(), dir.lock_path()],
        [(path.clone(), None), (sibling_path(&path, "-wal"), Some(MAX_LOG_BYTES))],
    );
    database.keep_place(path.clone(), place.map_err(unusable)?);
    let (ledger, writer) = writer::start_writer(database, sealer).map_err(unusable)?;
    Ok(OpenedLedger {
        ledger,
        writer,
        stores,
        trial_rejections,
        login_digest_key,
        jobs,
        hooks,
        job_key,
        epoch,
    })
}

/// Runs the first transaction. After a kill, the log on a full disk has no room for it. The
/// database then takes over the contents of the log, and the log begins anew in the space that it
/// has.
fn commit_in_log_space<T>(
    database: &mut LedgerDatabase,
    work: impl Fn(&mut LedgerTransaction<'_>) -> Result<T, RowError>,
) -> Result<T, RowError> {
    match database.transact(&work) {
        Err(RowError::Sqlite(full)) if full.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            database.restart_log()?;
            database.transact(&work)
        }
        result => result,
    }
}

/// Creates an empty ledger under a temporary name and renames it once it is complete. An existing
/// but empty ledger is therefore always damage and never a first start.
fn create_ledger(migration_list: &[Migration], dir: &Path, path: &Path) -> Result<(), OpenError> {
    let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
    let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let fresh = sibling_path(path, ".new");
    durable_file::discard_file(&fresh).map_err(unusable)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&fresh, flags).map_err(sqlite_error)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite_error)?;
    let written = migrations::run_migrations(&mut connection, migration_list)
        .and_then(|()| Ok(meta::initialize(&connection)?))
        .and_then(|()| contents::record_contents(&connection));
    written.map_err(|error| match error {
        RowError::Sqlite(source) => sqlite_error(source),
        bad => unusable(io::Error::other(bad)),
    })?;
    connection.close().map_err(|(_, error)| sqlite_error(error))?;
    durable_file::publish_file(dir, &fresh, path).map_err(unusable)
}

/// Opens a connection with all options that durability and safety depend on
/// (docs/decisions/0001-sqlite.md).
///
/// # Errors
/// Returns the error of SQLite.
pub(super) fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Only an operator's `sqlite3` can hold this lock. The lock of the state directory excludes
    // other daemons.
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
