//! Layer 5. The ledger: all durable state, in one SQLite database in the state directory.
//!
//! Promises: what [`Ledger::commit`] has answered survives a crash of the daemon and of the machine;
//! the parts of one [`LedgerChange`] are durable together or not at all; a record that cannot be read back
//! exactly stops the start and is left as it was; secrets are sealed before they are written.
//! Never: defaults what it cannot read, writes beside a ledger that is damaged or newer, touches an
//! image directory.

mod change;
mod codec;
mod commit;
mod durable_file;
mod error;
mod handle;
mod open;
mod sealer;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

pub use change::LedgerChange;
pub use error::CommitError;
pub use handle::{Ledger, ReadError};
pub use open::state_dir::{StateDir, StateDirError};
pub use open::{OpenError, OpenedLedger, open_ledger};
pub use sealer::{MasterKeyError, SecretSealer};
pub use tables::outbox::OutboxDepth;
pub use tables::stores::LoadedStore;
pub use writer::LedgerWriter;
