//! A copy of a ledger that another process may use, read without that process.

use std::path::Path;

use super::integrity::{Integrity, check_integrity, open_unchanged};
use super::{OpenError, kept_copy, migrations, open_connection};
use crate::common::{ErrorChain, Timestamp};
use crate::ledger::sealer::SecretSealer;
use crate::ledger::tables::stores::LoadedStore;
use crate::ledger::tables::{RowError, events, generation, meta, outbox, stores};
use crate::lifecycle::{EventItem, EventQuery};
use crate::model::{EventCursor, Fault, Position, StoreUuid};

/// The contents of a copied ledger.
#[derive(Debug)]
pub struct LedgerCopy {
    /// The stores.
    pub stores: Vec<LoadedStore>,
    /// The number of notices of each store that wait, in the order of `stores`.
    pub pending: Vec<u64>,
    /// True if any secret is stored.
    pub has_secrets: bool,
    /// The newest time: that of the last start or add, or of the last change of a status.
    pub newest_record: Timestamp,
}

impl LedgerCopy {
    /// Reads a copy of the ledger `original`. The copy belongs to the caller: an older one is
    /// migrated. The call blocks on the disk of the copy, and for a newer one on that of the
    /// original, beside which a kept copy may lie.
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
                let copy = kept_copy::find_copy(original, newest_known);
                return Err(OpenError::Newer { path, found, newest_known, written_by, copy });
            }
            Integrity::Damaged(what) => return Err(OpenError::Damaged { path, what }),
        }
        read_contents(copy).map(Some).map_err(|error| match error {
            RowError::Sqlite(source) => OpenError::Sqlite { path, source },
            bad => OpenError::Damaged { path, what: ErrorChain(&bad).to_string() },
        })
    }

    /// Tries the key on each stored secret of a copy, and leaves the copy unchanged. Returns the
    /// number of those that it opens, or the fault of the first one that it does not open. Returns
    /// `None` if the copy cannot be read. The call blocks on the disk of the copy.
    pub fn try_key(copy: &Path, sealer: &SecretSealer) -> Option<Result<usize, Fault>> {
        let connection = open_unchanged(copy).ok()?;
        stores::try_key(&connection, sealer).ok()
    }

    /// Returns the newest events of a store, or of all stores, in a copy that was read, with the
    /// gaps between them, at most `count`, oldest first. The call blocks on the disk of the copy.
    ///
    /// # Errors
    /// Returns [`OpenError`] if the copy cannot be read.
    pub fn newest_events(
        copy: &Path,
        store: Option<StoreUuid>,
        count: usize,
    ) -> Result<Vec<EventItem>, OpenError> {
        read_newest_events(copy, store, count).map_err(|error| match error {
            RowError::Sqlite(source) => OpenError::Sqlite { path: copy.to_owned(), source },
            bad => {
                let what = ErrorChain(&bad).to_string();
                OpenError::Damaged { path: copy.to_owned(), what }
            }
        })
    }
}

/// The factor by which the number of searched ids grows until enough events are found.
const SEARCH_GROWTH: u64 = 16;
/// The number of events of one read.
const PAGE_EVENTS: u32 = 256;

fn read_newest_events(
    copy: &Path,
    store: Option<StoreUuid>,
    count: usize,
) -> Result<Vec<EventItem>, RowError> {
    let connection = open_connection(copy)?;
    let generation = generation::load_generation(&connection)?;
    let newest = events::newest_id(&connection)?;
    let mut span = u64::try_from(count).unwrap_or(u64::MAX);
    loop {
        let id = newest.saturating_sub(span);
        let mut after = EventCursor { generation, id };
        let mut found = Vec::new();
        loop {
            let query =
                EventQuery { after: Some(after), store, kinds: Vec::new(), limit: PAGE_EVENTS };
            let page = events::read_page(&connection, &query)?;
            found.extend(page.items);
            found.drain(..found.len().saturating_sub(count));
            if page.is_last {
                break;
            }
            after = page.next;
        }
        if found.len() >= count || span >= newest {
            return Ok(found);
        }
        span = span.saturating_mul(SEARCH_GROWTH);
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
    let changes = loaded.iter().map(|loaded| loaded.durable.since);
    let newest_record = changes.fold(meta::last_epoch(&connection)?, Timestamp::max);
    Ok(LedgerCopy {
        newest_record,
        pending: pending?,
        has_secrets: stores::has_secrets(&connection)?,
        stores: loaded,
    })
}
