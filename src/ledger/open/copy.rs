//! A copy of a ledger that another process may use, read without that process.

use std::path::Path;

use super::integrity::{Integrity, check_integrity};
use super::{OpenError, migrations, open_connection};
use crate::common::ErrorChain;
use crate::ledger::tables::stores::LoadedStore;
use crate::ledger::tables::{RowError, outbox, stores};
use crate::model::Position;

/// The contents of a copied ledger.
#[derive(Debug)]
pub struct LedgerCopy {
    /// The stores.
    pub stores: Vec<LoadedStore>,
    /// The number of notices of each store that wait, in the order of `stores`.
    pub pending: Vec<u64>,
    /// True if any secret is stored.
    pub has_secrets: bool,
}

impl LedgerCopy {
    /// Reads a copy of the ledger `original`. The copy belongs to the caller: an older one is
    /// migrated. The call blocks on the disk of the copy.
    ///
    /// # Errors
    /// Returns [`OpenError`] with the path of the original if the ledger is damaged or newer.
    /// Returns `Ok(None)` if there is no ledger.
    pub fn read(copy: &Path, original: &Path) -> Result<Option<Self>, OpenError> {
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
        read_contents(copy).map(Some).map_err(|error| match error {
            RowError::Sqlite(source) => OpenError::Sqlite { path, source },
            bad => OpenError::Damaged { path, what: ErrorChain(&bad).to_string() },
        })
    }
}

fn read_contents(copy: &Path) -> Result<LedgerCopy, RowError> {
    let mut connection = open_connection(copy)?;
    migrations::run_migrations(&mut connection, migrations::MIGRATIONS)?;
    let loaded = stores::load_stores(&connection)?;
    let pending = |loaded: &LoadedStore| {
        let depth = outbox::outbox_depth(&connection, loaded.store.uuid, Position::default())?;
        Ok::<_, RowError>(depth.count)
    };
    let pending = loaded.iter().map(pending).collect::<Result<_, _>>();
    Ok(LedgerCopy {
        pending: pending?,
        has_secrets: stores::has_secrets(&connection)?,
        stores: loaded,
    })
}
