//! The generation of the ledger, which tells a reader of the history that its position is one of
//! another ledger or of an earlier copy.
//!
//! The ledger knows the file that it is in. A copy is another file, so that a restored ledger
//! begins a new generation. It remembers where each former generation ended in it, because a reader
//! may have a position of that time.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rusqlite::Connection;

use super::{RowError, meta};
use crate::common::Timestamp;
use crate::ledger::codec::DecodeError;
use crate::model::LedgerGeneration;

const GENERATION_KEY: &str = "generation";
const FILE_KEY: &str = "generation_file";
const FORMER_KEY: &str = "former_generations";

/// Maximum number of former generations that are remembered. A ledger is restored a few times in
/// its life, and each entry has about 60 bytes.
const MAX_FORMER: usize = 16;

/// A generation that ended when the ledger was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FormerGeneration {
    pub(crate) generation: LedgerGeneration,
    /// The newest event that the copy had.
    pub(crate) newest: u64,
    /// The first start with the copy.
    pub(crate) restored_at: Timestamp,
}

impl FormerGeneration {
    /// Returns the id that the restore has taken. No line has it: it is behind the lines of the
    /// copy, and before those that followed.
    pub(crate) fn gap_id(&self) -> u64 {
        self.newest.saturating_add(1)
    }
}

/// Returns the text that distinguishes a file from its copies: the inode, and the time at which the
/// file was created, if the filesystem keeps it. The device does not count, because its number
/// changes at a boot.
#[expect(clippy::disallowed_methods, reason = "the ledger's own file, in the state directory")]
pub(crate) fn file_identity(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    let created = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(match created {
        Some(created) => format!("{}:{}", metadata.ino(), created.as_nanos()),
        None => metadata.ino().to_string(),
    })
}

/// Begins a new generation if the ledger is new, or is in another file than it was.
pub(crate) fn adopt_file(
    connection: &Connection,
    file: &str,
    fresh: LedgerGeneration,
    now: Timestamp,
) -> Result<(), RowError> {
    let known_file = meta::get_value(connection, FILE_KEY)?;
    if known_file.as_deref() == Some(file) {
        return load_generation(connection).map(drop);
    }
    let mut generation = fresh;
    if meta::get_value(connection, GENERATION_KEY)?.is_some() {
        let before = load_generation(connection)?;
        generation = before.restored(fresh);
        let ended = FormerGeneration {
            generation: before,
            newest: super::events::newest_id(connection)?,
            restored_at: now,
        };
        let mut former = load_former(connection)?;
        former.insert(0, ended);
        former.truncate(MAX_FORMER);
        super::events::skip_id(connection)?;
        let entry = |former: &FormerGeneration| {
            format!("{}:{}:{}", former.generation, former.newest, former.restored_at.0)
        };
        let text = former.iter().map(entry).collect::<Vec<_>>().join(" ");
        meta::put_value(connection, FORMER_KEY, &text)?;
    }
    meta::put_value(connection, GENERATION_KEY, &generation.to_string())?;
    Ok(meta::put_value(connection, FILE_KEY, file)?)
}

/// Verifies the facts about the generations. A ledger that has just been created or migrated has
/// none yet.
pub(crate) fn verify_facts(connection: &Connection) -> Result<(), RowError> {
    if meta::get_value(connection, FILE_KEY)?.is_some() {
        load_generation(connection)?;
    }
    load_former(connection).map(drop)
}

/// Loads the generation. It is damage if there is none.
pub(crate) fn load_generation(connection: &Connection) -> Result<LedgerGeneration, RowError> {
    let text = meta::get_value(connection, GENERATION_KEY)?;
    let text = text.ok_or_else(|| undecodable("there is no generation"))?;
    text.parse().map_err(|_| undecodable("not a generation"))
}

/// Loads the former generations, the newest first.
pub(crate) fn load_former(connection: &Connection) -> Result<Vec<FormerGeneration>, RowError> {
    let text = meta::get_value(connection, FORMER_KEY)?.unwrap_or_default();
    let entry = |entry: &str| {
        let mut parts = entry.splitn(3, ':');
        Some(FormerGeneration {
            generation: parts.next()?.parse().ok()?,
            newest: parts.next()?.parse().ok()?,
            restored_at: Timestamp(parts.next()?.parse().ok()?),
        })
    };
    let former = text.split_whitespace().map(entry).collect::<Option<Vec<_>>>();
    former.ok_or_else(|| undecodable("not a list of former generations"))
}

fn undecodable(what: &str) -> RowError {
    RowError::Undecodable { table: "meta", source: DecodeError(what.to_owned()) }
}
