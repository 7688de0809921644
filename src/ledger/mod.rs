//! Layer 5. The ledger: all durable state, in one SQLite database in the state directory.
//!
//! # Guarantees
//! - A change that [`Ledger::commit`] has acknowledged survives a crash of the daemon and of the
//!   machine.
//! - The parts of one [`LedgerChange`] become durable together or not at all.
//! - A record that the daemon needs and cannot read back exactly stops the start, and the ledger
//!   stays unchanged.
//! - Secrets are sealed before they are written.
//!
//! # Never
//! - It never substitutes a default for a record that it cannot read.
//! - It never writes next to a ledger that is damaged or newer.
//! - It never touches an image directory.

mod change;
mod codec;
mod database;
mod durable_file;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handle;
mod open;
mod place;
mod sealer;
mod stats;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

pub use change::LedgerChange;
pub use error::CommitError;
pub use handle::{Ledger, ReadError};
pub use open::copy::LedgerCopy;
pub use open::migrations::LEDGER_FORMAT;
pub use open::state_dir::{
    LOCK_FILE, NODE_ID_FILE, StateDir, StateDirError, UnsafeStatePath, inspect_state_dir,
    read_node_id,
};
pub use open::{LEDGER_FILE, OpenError, OpenedLedger, open_ledger};
pub use sealer::{MASTER_KEY_FILE, MasterKeyError, SecretSealer};
pub use stats::LedgerStats;
pub use tables::outbox::OutboxDepth;
pub use tables::stores::LoadedStore;
pub use writer::LedgerWriter;
