//! A copy of a ledger that another process may use, read without that process.

use std::path::Path;

use super::integrity::{Integrity, check_integrity};
use super::{OpenError, migrations, open_connection};
use crate::common::ErrorChain;
use crate::ledger::tables::stores::LoadedStore;
use crate::ledger::tables::{RowError, history, meta, outbox, stores};
use crate::lifecycle::HistoryEntry;
use crate::model::{Position, StoreUuid};

/// The contents of a copied ledger.
#[derive(Debug)]
pub struct LedgerCopy {
    /// The stores.
    pub stores: Vec<LoadedStore>,
    /// The number of notices of each store that wait, and the newest lines of its history. The
    /// order is that of `stores`.
    pub details: Vec<StoreDetails>,
    /// True if any secret is stored.
    pub has_secrets: bool,
    /// The version of the program that wrote the format of the ledger.
    pub written_by: Option<String>,
}

/// The rows of a store that its record does not contain.
#[derive(Debug)]
pub struct StoreDetails {
    /// The number of notices that wait.
    pub pending: u64,
    /// The newest lines of the history, newest first.
    pub history: Vec<HistoryEntry>,
}

impl LedgerCopy {
    /// Reads a copy of the ledger `original`. The copy belongs to the caller: an older one is
    /// migrated. `history` limits the lines of each store. The call blocks on the disk of the copy.
    ///
    /// # Errors
    /// Returns [`OpenError`] with the path of the original if the ledger is damaged or newer.
    /// Returns `Ok(None)` if there is no ledger.
    pub fn read(copy: &Path, original: &Path, history: u32) -> Result<Option<Self>, OpenError> {
        let path = original.to_owned();
        let known = migrations::MIGRATIONS;
        let unusable = |source| OpenError::Unusable { path: path.clone(), source };
        match check_integrity(copy, known).map_err(unusable)? {
            Integrity::Good => {}
            Integrity::Absent => return Ok(None),
            Integrity::Newer { found, written_by } => {
                let newest_known = migrations::latest_version(known);
                return Err(OpenError::Newer { path, found, newest_known, written_by });
            }
            Integrity::Damaged(what) => return Err(OpenError::Damaged { path, what }),
        }
        read_contents(copy, history).map(Some).map_err(|error| match error {
            RowError::Sqlite(source) => OpenError::Sqlite { path, source },
            bad => OpenError::Damaged { path, what: ErrorChain(&bad).to_string() },
        })
    }
}

fn read_contents(copy: &Path, limit: u32) -> Result<LedgerCopy, RowError> {
    let mut connection = open_connection(copy)?;
    migrations::run_migrations(&mut connection, migrations::MIGRATIONS)?;
    let loaded = stores::load_stores(&connection)?;
    let details = |uuid: StoreUuid| {
        Ok::<_, RowError>(StoreDetails {
            pending: outbox::outbox_depth(&connection, uuid, Position::default())?.count,
            history: history::newest_entries(&connection, uuid, limit)?.lines,
        })
    };
    let details = loaded.iter().map(|loaded| details(loaded.store.uuid)).collect::<Result<_, _>>();
    Ok(LedgerCopy {
        details: details?,
        has_secrets: stores::has_secrets(&connection)?,
        written_by: meta::read_written_by(&connection),
        stores: loaded,
    })
}
