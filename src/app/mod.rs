//! Layer 10. The composition root: builds the parts of the daemon from the settings, connects them,
//! and starts and stops them in order.
//!
//! # Guarantees
//! - The files, the state directory, the ledger and the sockets are usable before a socket answers.
//! - A stop takes less than 10 s, even if a disk or a peer hangs.
//!
//! # Never
//! - It never decides anything about a store.

mod cert_reload;
mod check_config;
mod daemon;
mod exit;
mod init;
mod prepare;
mod process;
mod reload;
mod secret_files;
mod serve;
mod signals;
mod state_disk;
mod tasks;

pub use check_config::check_config;
pub use exit::ExitStatus;
pub use init::init_directory;
pub use prepare::{PreparedDaemon, StartError};
pub use secret_files::SecretFiles;
pub use serve::serve;
pub use signals::stop_at_signals;
