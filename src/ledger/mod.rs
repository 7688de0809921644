//! Floor 3. The ledger: all durable state, in one SQLite database in the state directory.
//!
//! Promises: what [`Ledger::commit`] has answered survives a crash of the daemon and of the machine;
//! the parts of one [`Change`] are durable together or not at all; a record that cannot be read back
//! exactly stops the start and is left as it was; secrets are sealed before they are written.
//! Never: defaults what it cannot read, writes beside a ledger that is damaged or newer, touches an
//! image directory.

mod change;
mod checksum;
mod codec;
mod commit;
mod connect;
mod durable_file;
mod examine;
mod handle;
mod history;
mod meta;
mod open;
mod outbox;
mod refusal;
mod rows;
mod schema;
mod seal;
mod state_dir;
mod stores;
mod writer;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use handle::{Ledger, ReadError};
pub use open::{OpenError, Opened, open};
pub use outbox::Waiting;
pub use refusal::CommitError;
pub use seal::{MasterKeyError, Sealer};
pub use state_dir::{StateDir, StateDirError};
pub use stores::{LoadedStore, StuckWorker};
pub use writer::Writer;
